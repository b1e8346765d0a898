"""Handlers about jobs: list_jobs, attach, read_job, stop_generation."""

import asyncio

from messages.facts import BackendType, JobState
from messages.replies import Generated, JobList, JobRead, JobReadEnd, Stopped
from messages.requests import Attach, ListJobs, ReadJob, StopGeneration
from native_host.context import RequestContext
from native_host.handlers.generation import follow
from native_host.jobs import Job


async def list_jobs(context: RequestContext, request: ListJobs) -> JobList:
    """This origin's jobs."""
    return JobList(jobs=[job.listing() for job in context.host.jobs.of_origin(context.origin)])


async def attach(context: RequestContext, request: Attach) -> Generated:
    """Send a job's partials from a cursor on, then go on live, then its result."""
    job = context.host.jobs.get(request.job_id, context.origin)
    with job.listener():
        return await follow(context, job, request.cursor, stream=True)


async def read_job(context: RequestContext, request: ReadJob) -> JobRead:
    """Answer with a job's text since a cursor, waiting for some if asked to."""
    job = context.host.jobs.get(request.job_id, context.origin)
    with job.listener():
        await job.wait_for_news(request.cursor, request.wait_ms / 1000)
    text, cursor = job.text_since(request.cursor)
    reasoning = job.reasoning_since(request.cursor)
    if not job.is_over:
        return JobRead(
            job_id=job.job_id, text=text, reasoning=reasoning, cursor=cursor, state=job.state, tokens=job.tokens
        )
    return _read_end(job, text, reasoning, cursor)


async def stop_generation(context: RequestContext, request: StopGeneration) -> Stopped:
    """Stop what is asked for, and answer when it has stopped."""
    host = context.host
    if request.job_id is not None:
        jobs = [host.jobs.get(request.job_id, context.origin)]
    else:
        jobs = host.jobs.of_origin(context.origin)
        if request.model is not None:
            name = host.models.find(request.model).source.name
            jobs = [job for job in jobs if job.model == name]
    running = [job for job in jobs if not job.is_over]
    backends = _backends(context, running)
    for job in running:
        job.cancel()
    await asyncio.gather(*(job.over.wait() for job in running))
    stopped = [job.job_id for job in running if job.state is JobState.CANCELLED]
    return Stopped(message=_stop_message(stopped), stopped_jobs=stopped, stopped_backends=backends if stopped else [])


def _read_end(job: Job, text: str, reasoning: str | None, cursor: int) -> JobReadEnd:
    error = job.error
    return JobReadEnd(
        job_id=job.job_id,
        text=text,
        reasoning=reasoning,
        tool_calls=job.tool_calls or None,
        cursor=cursor,
        state=job.state,
        tokens=job.tokens,
        model=job.model,
        finish_reason=None if job.finish_reason is None else str(job.finish_reason),
        logprobs=job.logprobs,
        stats=job.figures,
        error=None if error is None else {"code": str(error.code), "details": error.details},
        message=None if error is None else error.message,
    )


def _backends(context: RequestContext, jobs: list[Job]) -> list[BackendType]:
    names = {job.model for job in jobs}
    kinds = [model.backend_type for model in context.host.models.all() if model.source.name in names]
    return list(dict.fromkeys(kind for kind in kinds if kind is not None))


def _stop_message(stopped: list[str]) -> str:
    if not stopped:
        return "Nothing was running; there is nothing to stop."
    return f"Stopped {len(stopped)} generation{'s' if len(stopped) > 1 else ''}."
