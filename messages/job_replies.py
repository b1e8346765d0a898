"""What the host says of jobs: fields of list_jobs and read_job, and of what was done in the background.

Above it: the handlers of jobs. Below it: `messages.facts`.
"""

from typing import Any

from pydantic import SerializeAsAny, model_serializer

from messages.content import ToolCall
from messages.facts import Fact, Figures, FinishReason, JobState, TokenLogprob


class JobListing(Fact):
    """One job: a generation, or another action in the background; `created` is seconds since the epoch."""

    job_id: str
    action: str
    state: JobState
    model: str | None
    tokens: int
    created: float


class JobList(Fact):
    """Fields of `list_jobs`."""

    jobs: list[JobListing]


class JobRead(Fact):
    """Fields of `read_job` while the job runs: text and reasoning since the cursor, and the cursor to send next."""

    job_id: str
    text: str
    reasoning: str | None = None
    cursor: int
    state: JobState
    tokens: int


class JobReadEnd(JobRead):
    """Fields of `read_job` once the job is over and read to its end: those of the result too, with all tool calls."""

    model: str
    finish_reason: FinishReason | None
    tool_calls: list[ToolCall] | None = None
    logprobs: list[TokenLogprob] | None = None
    stats: Figures
    error: dict[str, Any] | None = None
    message: str | None = None


class ActionDone(Fact):
    """Fields of what was done in the background, in its own result and in `attach`: its job, and the action's own."""

    job_id: str
    done: SerializeAsAny[Fact]

    @model_serializer
    def _side_by_side(self) -> dict[str, Any]:
        return {"job_id": self.job_id, **self.done.model_dump(mode="json")}


class ActionFailed(Fact):
    """What an action that failed in the background leaves: its job."""

    job_id: str


class _OfAction(JobRead):
    text: str = ""
    tokens: int = 0
    model: str | None
    message: str | None = None


class ActionRead(_OfAction):
    """Fields of `read_job` for an action that is no generation, while it goes on: where its progress stands.

    cursor is how many progress messages there were; those about the progress are as in `Progress`.
    """

    phase: str | None = None
    progress: float | None = None
    loaded_bytes: int | None = None
    total_bytes: int | None = None


class ActionReadEnd(_OfAction):
    """Fields of `read_job` for such an action once it is over: those of its result, or its error."""

    done: SerializeAsAny[Fact] | None
    error: dict[str, Any] | None = None

    @model_serializer
    def _side_by_side(self) -> dict[str, Any]:
        fields = {name: value for name, value in self if name != "done"}
        return fields if self.done is None else {**fields, **self.done.model_dump(mode="json")}
