"""Runs one job on one model: waits its turn, feeds the job what the worker says, keeps figures, tells signs of life.

Above it: `native_host.handlers.generation`. Below it: `native_host.managed_model` and `native_host.jobs`.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import FinishReason, JobState
from messages.options import ResponseFormat
from messages.settings import InferenceSettings
from messages.tools import ToolChoice
from messages.worker import CancelCommand, EndedEvent, Event, GenerateCommand, PrefillEvent, TokensEvent
from native_host.jobs import Job, Thinking
from native_host.managed_model import ManagedModel
from native_host.performance import GenerationMetrics, Outcome
from native_host.prefill_pace import PrefillPace
from native_host.refusals import refuse_generation
from native_host.worker_process import WorkerAbandoned

logger = logging.getLogger("tabagent.generation")

SHORTEST_INTERVAL_S = 0.05
"""Signs of life come no more often than this, in seconds: each reads the worker's memory and wakes every follower."""


class Generation:
    """One job's run. `start` makes its task; everything else happens by itself.

    arrived_at is the monotonic time of the request's arrival, from which the figures count; `on_over` is called once.
    """

    def __init__(
        self,
        job: Job,
        model: ManagedModel,
        prompt: PromptInput,
        settings: InferenceSettings,
        response_format: ResponseFormat | None,
        top_logprobs: int | None,
        arrived_at: float,
        on_over: Callable[[Job, ManagedModel, GenerationMetrics], None],
        tool_choice: ToolChoice | None = None,
        parallel_tool_calls: bool = True,
    ) -> None:
        self._job = job
        self._model = model
        self._prompt = prompt
        self._settings = settings
        self._response_format = response_format
        self._top_logprobs = top_logprobs
        self._tool_choice = tool_choice
        self._parallel_tool_calls = parallel_tool_calls
        self._arrived_at = arrived_at
        self._on_over = on_over
        self._metrics: GenerationMetrics = model.tracker.start_generation(arrived_at=arrived_at)
        self._metrics.pictures = None if prompt.has_part("image") else ()
        self._ref: int | None = None
        self._cancelled = False
        self._because: HostError | None = None
        self._pace = PrefillPace()
        self._stop_timer: asyncio.TimerHandle | None = None
        self._sign_timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._job.on_cancel(self._cancel)
        self._job.tells_logprobs = self._top_logprobs is not None
        self._job.read_figures = self._metrics.figures
        self._await_sign(self._arrived_at)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            async with self._model.turn():
                end = await self._generate()
            self._finish(end)
        except asyncio.CancelledError:
            self._finish_cancelled()
        except HostError as error:
            self._finish_error(error)
        except Exception as error:
            logger.exception("a generation failed")
            self._finish_error(HostError(ErrorCode.INTERNAL, f"The host failed: {type(error).__name__}. See its log."))
        finally:
            self._stop_timers()
            self._on_over(self._job, self._model, self._metrics)

    async def _generate(self) -> EndedEvent:
        """Generate, on the next worker too if this one is killed because it did not get past an earlier call."""
        while True:
            try:
                return await self._generate_once()
            except WorkerAbandoned:
                if self._cancelled:
                    raise
                self._ref = None

    async def _generate_once(self) -> EndedEvent:
        if self._model.info is None:
            await self._model.wait_ready()
            refuse_generation(self._model, self._prompt, self._settings, logprobs=self._top_logprobs is not None)
        worker = self._model.worker
        self._model.tracker.mark_queue_left(self._metrics)
        self._job.begin_prefill()
        self._ref = worker.next_ref()
        command = GenerateCommand(
            ref=self._ref,
            prompt=self._prompt,
            settings=self._settings,
            response_format=self._response_format,
            top_logprobs=self._top_logprobs,
            tool_choice=self._tool_choice,
            parallel_tool_calls=self._parallel_tool_calls,
        )
        event = await worker.call(command, self._ref, self._take)
        assert isinstance(event, EndedEvent)
        return event

    def _take(self, event: Event) -> None:
        match event:
            case TokensEvent():
                self._model.tracker.increment_output_tokens(event.count, self._metrics)
                self._job.add_text(event.text, event.count, event.logprobs, event.reasoning, event.tool_calls)
            case PrefillEvent():
                self._job.note_prefill(event.done, event.total)
                self._pace.note(event.done, time.monotonic())
                self._metrics.input_tokens, self._metrics.cached_tokens = event.total, event.cached

    def _cancel(self, because: HostError | None) -> None:
        """Cancel, once the task made by `start` has had its first step: a task cancelled before that never runs."""
        self._cancelled, self._because = True, because
        asyncio.get_running_loop().call_soon(self._cancel_now)

    def _cancel_now(self) -> None:
        """A job that waits leaves the queue, one that runs is stopped by its worker, at worst by a kill.

        One that its worker has, and is not at, ends at once: what the worker is at is not stopped for it.

        Where the worker was closed meanwhile, as by a daemon that leaves, the generation has ended with it.
        """
        if self._job.is_over:
            return
        if self._ref is None:
            if self._task is not None:
                self._task.cancel()
            return
        if not self._model.has_worker:
            return
        worker, limit_s = self._model.worker, self._model.limits.stop_timeout_s
        worker.send(CancelCommand(ref=self._ref))
        if worker.is_at(self._ref):
            self._stop_timer = asyncio.get_running_loop().call_later(limit_s, self._model.abandon_worker)
        elif self._task is not None:
            worker.bound(self._ref, limit_s)  # it may have begun, and the news of it be on its way
            self._task.cancel()

    def _finish(self, end: EndedEvent) -> None:
        self._model.note_success()
        self._metrics.pictures, self._metrics.reasoning_tokens = end.pictures, end.reasoning_tokens
        if self._because is not None:
            self._finish_error(self._because)
            return
        outcome: Outcome = "cancelled" if end.finish_reason is FinishReason.CANCELLED else "success"
        self._complete(outcome, end.finish_reason, end)
        self._job.finish(end.finish_reason, self._metrics.figures())

    def _finish_cancelled(self) -> None:
        if self._because is not None:
            self._finish_error(self._because)
            return
        self._complete("cancelled", FinishReason.CANCELLED, None)
        self._job.finish(FinishReason.CANCELLED, self._metrics.figures())

    def _finish_error(self, error: HostError) -> None:
        if self._cancelled and error is not self._because and error.code is ErrorCode.BACKEND_CRASHED:
            self._finish_cancelled()
            return
        if self._because is not None and error.code is ErrorCode.CANCELLED:
            error = self._because  # the worker was closed before it heard of the cancel: it is not why
        cancelled = error.code is ErrorCode.CANCELLED
        self._complete("cancelled" if cancelled else "error", None, None)
        self._job.fail(error, self._metrics.figures())

    def _complete(self, outcome: Outcome, reason: FinishReason | None, end: EndedEvent | None) -> None:
        self._model.tracker.complete_generation(
            self._metrics,
            outcome=outcome,
            finish_reason=None if reason is None else str(reason),
            input_tokens=end.input_tokens if end else None,
            output_tokens=end.output_tokens if end else None,
            cached_tokens=end.cached_tokens if end else None,
            decode_s=end.decode_s if end else None,
        )

    def _stop_timers(self) -> None:
        for timer in (self._stop_timer, self._sign_timer):
            if timer is not None:
                timer.cancel()

    def _await_sign(self, told_at: float) -> None:
        """Tell a sign of life every interval, counted from the request's arrival so that it does not drift."""
        interval = self._settings.thinking_update_interval
        if interval > 0:
            now = time.monotonic()
            due = max(told_at + max(interval, SHORTEST_INTERVAL_S), now)
            self._sign_timer = asyncio.get_running_loop().call_later(due - now, self._give_sign, due)

    def _give_sign(self, due: float) -> None:
        self._job.add_thinking(self._thinking())
        self._await_sign(due)

    def _thinking(self) -> Thinking:
        job = self._job
        rate = self._metrics.tokens_per_second or 0.0
        return Thinking(
            thinking=_in_words(job, rate),
            phase=job.state,
            tokens=job.tokens,
            tokens_per_second=round(rate, 1),
            elapsed_ms=round((time.monotonic() - self._arrived_at) * 1000),
            eta_ms=self._pace.left_ms(job.prefill_total, time.monotonic()) if job.state is JobState.PREFILL else None,
            memory_bytes=self._model.resident_bytes(),
            pieces=job.next_seq,
        )


def _in_words(job: Job, rate: float) -> str:
    """The wording of PROTOCOL.md, section 5, which clients match."""
    if job.state is JobState.QUEUED:
        return "Waiting for the model..."
    if job.state is not JobState.PREFILL:
        return f"Generating analysis... ({job.tokens} tokens, {rate:.1f} tps)"
    if job.prefill_total == 0:  # pictures are being decoded, say
        return "Reading prompt..."
    return f"Reading prompt... ({job.prefill_done} of {job.prefill_total} tokens)"
