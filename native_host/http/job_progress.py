"""How far a job is, in words and in percent, for those who watch it.

Above it: the job's routes and streams. Below it: `native_host.jobs`. Everything here is made of the job alone, so that
two who watch, and one who comes back, are told the same.
"""

from messages.facts import Fact, JobState
from messages.wording import plural
from native_host.jobs import Job

PREFILL_SHARE = 40
"""Percent at which the prompt is read."""

HALF_WAY_TOKENS = 128
"""Tokens after which half of what is left of the bar is behind: how long an answer will be is not known."""


class JobStatus(Fact):
    """Where a job stands: the fields of a `status_update`.

    status is queued, running, finished, cancelled or failed; step_phase is the job's state; progress_percentage is 0
    to 100 and never goes back; llm_thinking is the newest sign of life, which stays after the end.
    """

    job_id: str
    status: str
    step_phase: JobState
    progress_percentage: int
    current_step: str
    llm_thinking: str | None


def status_of(job: Job) -> JobStatus:
    """The status at this moment."""
    is_running = job.state in (JobState.PREFILL, JobState.DECODE)
    thinking = job.thinking
    return JobStatus(
        job_id=job.job_id,
        status="running" if is_running else str(job.state),
        step_phase=job.state,
        progress_percentage=percentage(job),
        current_step=_step(job),
        llm_thinking=thinking.thinking if thinking is not None else None,
    )


def percentage(job: Job) -> int:
    """0 to 100: by the prompt's tokens, then by the answer's, 100 once it is finished. It never goes back."""
    if job.state is JobState.FINISHED:
        return 100
    if job.tokens > 0:
        left = 0.5 ** (job.tokens / HALF_WAY_TOKENS)
        return PREFILL_SHARE + int((99 - PREFILL_SHARE) * (1 - left))
    if job.prefill_total > 0:
        return PREFILL_SHARE * min(job.prefill_done, job.prefill_total) // job.prefill_total
    return 0


def _step(job: Job) -> str:
    match job.state:
        case JobState.QUEUED:
            return "Waiting for the model"
        case JobState.PREFILL if job.prefill_total > 0:
            return f"Reading the prompt ({job.prefill_done} of {_tokens(job.prefill_total)})"
        case JobState.PREFILL:
            return "Reading the prompt"
        case JobState.DECODE:
            return f"Generating ({_tokens(job.tokens)})"
        case JobState.FINISHED:
            return f"Finished ({_tokens(job.tokens)})"
        case JobState.CANCELLED:
            return f"Cancelled ({_tokens(job.tokens)})"
        case JobState.FAILED:
            return f"Failed: {job.error.message if job.error else 'unknown'}"


def _tokens(count: int) -> str:
    return f"{count} {plural(count, 'token')}"
