"""Jobs: a generation's buffer, its followers, its cancel. A job outlives the port it was started from.

Above it: handlers, which follow jobs. Below it: `native_host.generation`, which runs them on a model.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import accumulate, takewhile

from messages.actions import ActionType
from messages.content import ToolCall
from messages.errors import HostError
from messages.facts import Figures, FinishReason, JobState, TokenLogprob
from messages.job_replies import JobListing
from native_host.job_table import JobTable
from native_host.kept_jobs import KeptJobs
from native_host.wakers import Wakers

FRAME_CHARACTERS = 40_000
"""Characters that one frame holds whatever they are: of JSON each takes 6 bytes at most."""

PIECE_BYTES = 1000
"""What a piece of text takes, and what a job takes without any."""

SCORE_BYTES = 750
"""What one token's probability takes."""

OVER = frozenset({JobState.FINISHED, JobState.CANCELLED, JobState.FAILED})


def new_job_id() -> str:
    """An id that no other job has, nor can be guessed."""
    return f"j{secrets.token_hex(6)}"


@dataclass(frozen=True, slots=True)
class TextPiece:
    """New text of a job: partial number `seq`, and the output tokens so far; logprobs as in `messages.replies`.

    Reasoning comes before the text, tool calls after it; first_call is the index of the first of them in the answer.
    """

    seq: int
    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...] | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    first_call: int = 0


@dataclass(frozen=True, slots=True)
class Thinking:
    """A sign of life: the fields of a `thinking_update`, and the text pieces that came before it.

    Whoever follows a job is told it between those pieces and the later ones, so that no count goes back.
    """

    thinking: str
    phase: JobState
    tokens: int
    tokens_per_second: float
    elapsed_ms: int
    eta_ms: int | None
    memory_bytes: int | None
    pieces: int = 0


JobNews = TextPiece | Thinking


class Job:
    """One generation of one origin. Lives in the event loop; nothing here waits for an engine."""

    def __init__(self, origin: str, model: str, *, background: bool, grace_s: float) -> None:
        self.job_id = new_job_id()
        self.origin = origin
        self.model = model
        self.background = background
        self.created = time.time()
        self.state = JobState.QUEUED
        self.tokens = 0
        self.tells_logprobs = False
        self.prefill_done = 0
        self.prefill_total = 0
        self.finish_reason: FinishReason | None = None
        self.error: HostError | None = None
        self.figures: Figures = Figures()
        self.read_figures: Callable[[], Figures] = Figures
        """What the figures are at this moment, while the job runs."""
        self.over = asyncio.Event()
        self._grace_s = grace_s
        self.tool_calls: list[ToolCall] = []
        self._pieces: list[TextPiece] = []
        self._thinking: Thinking | None = None
        self._wakers = Wakers()
        self._step_wakers = Wakers()
        self._listeners = 0
        self._cancel: Callable[[HostError | None], None] | None = None
        self._cancelled = False
        self._orphan_timer: asyncio.TimerHandle | None = None

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(piece.text for piece in self._pieces)

    @property
    def logprobs(self) -> list[TokenLogprob] | None:
        """All output tokens so far, None if they were not asked for."""
        if not self.tells_logprobs:
            return None
        return [one for piece in self._pieces for one in piece.logprobs or ()]

    @property
    def reasoning(self) -> str:
        """All reasoning so far."""
        return "".join(piece.reasoning for piece in self._pieces)

    @property
    def is_over(self) -> bool:
        """True once nothing more will come."""
        return self.state in OVER

    @property
    def next_seq(self) -> int:
        """The `seq` of the next piece."""
        return len(self._pieces)

    @property
    def size(self) -> int:
        """About how much memory it takes, in bytes."""
        tokens = (one for piece in self._pieces for one in piece.logprobs or ()) if self.tells_logprobs else ()
        return PIECE_BYTES * (1 + len(self._pieces)) + SCORE_BYTES * sum(1 + len(one.top) for one in tokens)

    def listing(self) -> JobListing:
        """The job as `list_jobs` tells it."""
        return JobListing(
            job_id=self.job_id,
            action=str(ActionType.GENERATE),
            state=self.state,
            model=self.model,
            tokens=self.tokens,
            created=self.created,
        )

    @property
    def thinking(self) -> Thinking | None:
        """The newest sign of life, which stays to be read after the end; None if the end came before the first."""
        return self._thinking

    def begin_prefill(self) -> None:
        """The model has begun to read the prompt."""
        self.state = JobState.PREFILL
        self._step_wakers.wake()

    def note_prefill(self, done: int, total: int) -> None:
        """The model has read `done` of `total` tokens of the prompt; never fewer than before, of one total."""
        if total == self.prefill_total:
            done = max(done, self.prefill_done)
        if (done, total) != (self.prefill_done, self.prefill_total):
            self.prefill_done, self.prefill_total = done, total
            self._step_wakers.wake()

    def add_text(
        self,
        text: str,
        tokens: int,
        logprobs: tuple[TokenLogprob, ...] = (),
        reasoning: str = "",
        calls: tuple[ToolCall, ...] = (),
    ) -> None:
        """New text has come, or reasoning, or tool calls."""
        self.state = JobState.DECODE
        self.tokens += tokens
        told = logprobs if self.tells_logprobs else None
        first_call = len(self.tool_calls)
        self.tool_calls.extend(calls)
        self._pieces.append(TextPiece(len(self._pieces), text, self.tokens, told, reasoning, calls, first_call))
        self._wake()

    def add_thinking(self, thinking: Thinking) -> None:
        """A sign of life, for those who follow now; a later one takes its place."""
        self._thinking = thinking
        self._wake()

    def finish(self, reason: FinishReason, figures: Figures) -> None:
        """The generation is over."""
        self.state = JobState.CANCELLED if reason is FinishReason.CANCELLED else JobState.FINISHED
        self.finish_reason = reason
        self._end(figures)

    def fail(self, error: HostError, figures: Figures) -> None:
        """The generation failed."""
        self.state = JobState.FAILED
        self.error = error
        self._end(figures)

    def on_cancel(self, cancel: Callable[[HostError | None], None]) -> None:
        """Say how this job is cancelled."""
        self._cancel = cancel

    def cancel(self, because: HostError | None = None) -> None:
        """Cancel; with `because` the job fails with it, else it ends as cancelled. The end comes later."""
        if not self.is_over and not self._cancelled and self._cancel is not None:
            self._cancelled = True
            self._cancel(because)

    @contextmanager
    def listener(self) -> Iterator[None]:
        """While this is entered somebody listens, and the job is not cancelled as an orphan."""
        self._listeners += 1
        self._stop_orphan_timer()
        try:
            yield
        finally:
            self._listeners -= 1
            self.start_orphan_timer()

    def start_orphan_timer(self) -> None:
        """Nobody may be listening: if so, cancel when the grace is over."""
        self._stop_orphan_timer()
        if self._listeners == 0 and not self.is_over:
            self._orphan_timer = asyncio.get_running_loop().call_later(self._grace_s, self.cancel)

    async def follow(self, cursor: int) -> AsyncIterator[JobNews]:
        """Yield the pieces from `cursor` on, then what comes, signs of life among it, until the job is over."""
        seen = self._thinking
        with self.woken(by_steps=False) as news:
            while True:
                sign = self._thinking
                if sign is not None and sign is not seen and cursor >= sign.pieces and not self.is_over:
                    seen = sign
                    yield sign
                elif cursor < len(self._pieces):
                    yield self._pieces[cursor]
                    cursor += 1
                elif self.is_over:
                    return
                else:
                    await news.wait()
                    news.clear()

    async def wait_begun(self) -> None:
        """Wait until the model reads the prompt, or there is a sign of life, text, or the end."""
        with self.woken() as news:
            while not (self.prefill_total or self._thinking or self._pieces or self.is_over):
                await news.wait()
                news.clear()

    async def wait_for_news(self, cursor: int, seconds: float) -> None:
        """Wait until there is a piece from `cursor` on, or the job is over, or `seconds` have passed."""
        if cursor < len(self._pieces) or self.is_over:
            return
        with self.woken(by_steps=False) as news, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while cursor >= len(self._pieces) and not self.is_over:
                    await news.wait()
                    news.clear()

    def woken(self, *, by_steps: bool = True) -> AbstractContextManager[asyncio.Event]:
        """An event that is set when there is new text, a sign of life, or the end; with `by_steps` also when the
        prompt's reading begins and moves on, of which those who only tell text need not wake."""
        return (self._step_wakers if by_steps else self._wakers).woken()

    def pieces_since(self, cursor: int) -> list[TextPiece]:
        """The pieces from `cursor` on."""
        return self._pieces[cursor:]

    def pieces_for_one_frame(self, cursor: int) -> list[TextPiece]:
        """The same, but no more than one frame holds: all, or as many as it takes to come nearer to the end."""
        sizes = accumulate(len(piece.text) + len(piece.reasoning) for piece in self._pieces[cursor:])
        fitting = sum(1 for _ in takewhile(lambda size: size <= FRAME_CHARACTERS, sizes))
        return self._pieces[cursor : cursor + max(fitting, 1)]

    def _end(self, figures: Figures) -> None:
        self.figures = figures
        self._cancel = None
        self._stop_orphan_timer()
        self.over.set()
        self._wake()

    def _wake(self) -> None:
        self._wakers.wake()
        self._step_wakers.wake()

    def _stop_orphan_timer(self) -> None:
        if self._orphan_timer is not None:
            self._orphan_timer.cancel()
            self._orphan_timer = None


class Generations(JobTable[Job]):
    """All generations that run or can still be read."""

    def __init__(self, orphan_grace_s: float, finished_ttl_s: float, on_idle: Callable[[], None]) -> None:
        super().__init__(finished_ttl_s, on_idle)
        self._grace_s = {True: finished_ttl_s, False: orphan_grace_s}
        self._kept = KeptJobs()
        self._beyond: set[str] = set()
        """Those for which there is no room, and which nobody has read yet."""

    def create(self, origin: str, model: str, *, background: bool) -> Job:
        """Make a job; it is forgotten some time after it is over."""
        job = Job(origin, model, background=background, grace_s=self._grace_s[background])
        self.add(job)
        return job

    def retire(self, job: Job) -> None:
        """The job is over: keep it to be read, for a while, and of those that were read what there is room for."""
        super().retire(job)
        self._keep(job)

    def note_read(self, job: Job) -> None:
        """Somebody has been told of the job's end: from now on it takes its room as one that has just ended."""
        super().note_read(job)
        if job.job_id in self._beyond:
            self._beyond.remove(job.job_id)
            self._keep(job)

    def forget(self, job_id: str) -> None:
        """The job cannot be read any more."""
        job = self._jobs.get(job_id)
        super().forget(job_id)
        self._beyond.discard(job_id)
        if job is not None:
            self._kept.remove(job.origin, job_id)

    def _keep(self, job: Job) -> None:
        for other in self._kept.add(job.origin, job.job_id, job.size):
            if other in self._read:
                self.forget(other)
            else:
                self._beyond.add(other)
