"""What a watcher of a job is told, as a sequence of events from any place on.

Above it: `native_host.http.streams`, which writes them. Below it: `native_host.jobs`.

An event's id is the place behind it: the number of text pieces that were told, and for the end of the sequence one of
two marks. Whoever comes back with the last id that it saw gets every piece after that once.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from messages.facts import JobState
from messages.frames import JsonObject
from messages.replies import call_deltas
from native_host.http.job_progress import JobStatus, status_of
from native_host.jobs import Job, TextPiece, Thinking

RESULT_TOLD = "result"
ALL_TOLD = "done"
_ID = re.compile(r"(\d{1,9})(?:-(result|done))?")


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name, its fields, and the id with which its reader may come back."""

    name: str
    fields: JsonObject
    id: str


@dataclass(slots=True)
class Place:
    """How much of a job was told: `cursor` text pieces; `mark` is set when its result, or all, was told."""

    cursor: int = 0
    mark: str = ""

    @classmethod
    def read(cls, event_id: str) -> "Place":
        """The place behind an event; what is no id of ours is the beginning, so that nothing is lost."""
        match = _ID.fullmatch(event_id)
        return cls(int(match[1]), match[2] or "") if match else cls()

    def __str__(self) -> str:
        return f"{self.cursor}-{self.mark}" if self.mark else str(self.cursor)


class JobNarrator:
    """Tells one watcher what is new about a job, each time it is asked."""

    def __init__(self, job: Job, place: Place) -> None:
        self._job = job
        self._place = place if place.cursor <= job.next_seq else Place()  # no id of this job's
        self._status: JobStatus | None = None
        self._percentage = 0
        self._thinking: Thinking | None = job.thinking

    @property
    def is_over(self) -> bool:
        """True once all was told."""
        return self._place.mark == ALL_TOLD

    def connected(self) -> Event:
        """The first event."""
        return self._event("connected", {"job_id": self._job.job_id, "model": self._job.model})

    def heartbeat(self, timestamp: float) -> Event:
        """A sign that the connection is alive; `timestamp` is seconds since the epoch."""
        return self._event("heartbeat", {"job_id": self._job.job_id, "timestamp": timestamp})

    def news(self) -> Iterator[Event]:
        """What has come since the last time: status, signs of life, text, and the end."""
        is_over = self._job.is_over
        yield from self._status_news()
        thinking = self._job.thinking
        if thinking is not None and thinking is not self._thinking:
            self._thinking = thinking
            yield from self._text_news(thinking.pieces)
            yield self._event("thinking_update", thinking_fields(self._job, thinking))
        yield from self._text_news(self._job.next_seq)
        if is_over:
            yield from self._end()

    def _status_news(self) -> Iterator[Event]:
        status = status_of(self._job)
        self._percentage = max(self._percentage, status.progress_percentage)
        status = status.model_copy(update={"progress_percentage": self._percentage})
        if self._status is None or _is_news(self._status, status):
            self._status = status
            yield self._event("status_update", status.model_dump(mode="json"))

    def _text_news(self, end: int) -> Iterator[Event]:
        """The pieces before place `end` that were not told yet."""
        for piece in self._job.pieces_since(self._place.cursor)[: max(end - self._place.cursor, 0)]:
            self._place.cursor = piece.seq + 1
            yield self._event("token", _token_fields(self._job, piece))

    def _end(self) -> Iterator[Event]:
        if not self._place.mark and self._job.state is not JobState.CANCELLED:
            self._place.mark = RESULT_TOLD
            failed = self._job.error is not None
            yield self._event("error" if failed else "analysis_complete", result_fields(self._job))
        self._place.mark = ALL_TOLD
        yield self._event("done", {"job_id": self._job.job_id, "status": str(self._job.state)})

    def _event(self, name: str, fields: JsonObject) -> Event:
        return Event(name, fields, str(self._place))


def thinking_fields(job: Job, thinking: Thinking) -> JsonObject:
    """The fields of a `thinking_update` (PROTOCOL.md, section 5)."""
    return {
        "job_id": job.job_id,
        "thinking": thinking.thinking,
        "phase": str(thinking.phase),
        "tokens": thinking.tokens,
        "tokens_per_second": thinking.tokens_per_second,
        "elapsed_ms": thinking.elapsed_ms,
        "eta_ms": thinking.eta_ms,
        "memory_bytes": thinking.memory_bytes,
    }


def result_fields(job: Job) -> JsonObject:
    """What a job that is over has left: its text and figures, and its error if it failed."""
    fields: dict[str, Any] = {
        "job_id": job.job_id,
        "model": job.model,
        "text": job.text,
        "finish_reason": None if job.finish_reason is None else str(job.finish_reason),
        "stats": job.figures.model_dump(mode="json"),
    }
    if reasoning := job.reasoning:
        fields["reasoning"] = reasoning
    if job.tool_calls:
        fields["tool_calls"] = [call.model_dump() for call in job.tool_calls]
    if job.error is not None:
        fields["message"] = job.error.message
        fields["error"] = {"code": str(job.error.code), "details": job.error.details}
    return fields


def _is_news(told: JobStatus, now: JobStatus) -> bool:
    return (told.step_phase, told.progress_percentage, told.llm_thinking) != (
        now.step_phase,
        now.progress_percentage,
        now.llm_thinking,
    )


def _token_fields(job: Job, piece: TextPiece) -> JsonObject:
    fields: JsonObject = {"job_id": job.job_id, "seq": piece.seq, "text": piece.text, "tokens": piece.tokens}
    if piece.reasoning:
        fields["reasoning"] = piece.reasoning
    if piece.tool_calls:
        fields["tool_calls"] = call_deltas(piece.tool_calls, piece.first_call)
    if piece.logprobs is None:
        return fields
    return fields | {"logprobs": [one.model_dump(mode="json") for one in piece.logprobs]}
