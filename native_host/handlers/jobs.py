"""Handlers about jobs: list_jobs, attach, read_job, stop_generation."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from messages.errors import HostError
from messages.facts import BackendType, JobState
from messages.job_replies import ActionDone, ActionFailed, ActionRead, ActionReadEnd, JobList, JobRead, JobReadEnd
from messages.replies import Accepted, Generated, Stopped
from messages.requests import Attach, ListJobs, ReadJob, StopGeneration
from native_host.background import ActionJob
from native_host.context import JobFailed, RequestContext
from native_host.handlers.generation import follow
from native_host.jobs import Job


async def list_jobs(context: RequestContext, request: ListJobs) -> JobList:
    """This origin's jobs, oldest first."""
    generations = [job.listing() for job in context.host.jobs.of_origin(context.origin)]
    actions = [job.listing() for job in context.host.background.of_origin(context.origin)]
    return JobList(jobs=sorted(generations + actions, key=lambda job: job.created))


async def attach(context: RequestContext, request: Attach) -> Generated | ActionDone:
    """Send a job's partials from a cursor on, or its progress, then go on live, then its result."""
    action = context.host.background.find(request.job_id, context.origin)
    if action is not None:
        await _accept(context, request)
        return await follow_action(context, action, stream=True, accepted=False)
    job = context.host.jobs.get(request.job_id, context.origin)
    with job.listener():
        await _accept(context, request)
        return await follow(context, job, request.cursor, stream=True, accepted=False)


async def follow_action(context: RequestContext, job: ActionJob, *, stream: bool, accepted: bool) -> ActionDone:
    """Send the progress of an action in the background, if it is to be streamed, and return its result.

    JobFailed if it failed.
    """
    if stream:
        async for progress in job.follow():
            await context.send(replace(progress, id=context.request_id, action=context.action, job_id=job.job_id))
    else:
        await job.over.wait()
    if context.takes_result(accepted=accepted):
        context.host.background.note_read(job)
    if job.error is not None:
        raise JobFailed(job.error, ActionFailed(job_id=job.job_id))
    assert job.fields is not None
    return ActionDone(job_id=job.job_id, done=job.fields)


async def read_job(context: RequestContext, request: ReadJob) -> JobRead:
    """Answer with a job's text since a cursor, or an action's progress, waiting for some if asked to.

    What may be a `sendNativeMessage` gets no more of it than one frame holds: of a longer job that is over it reads the
    rest as of one that goes on.
    """
    action = context.host.background.find(request.job_id, context.origin)
    if action is not None:
        await _accept(context, request)
        await action.wait_for_news(request.cursor, request.wait_ms / 1000)
        if action.is_over:
            context.host.background.note_read(action)
        return _action_read(action)
    job = context.host.jobs.get(request.job_id, context.origin)
    with job.listener():
        await _accept(context, request)
        await job.wait_for_news(request.cursor, request.wait_ms / 1000)
    is_port = context.takes_more.is_set()
    pieces = job.pieces_since(request.cursor) if is_port else job.pieces_for_one_frame(request.cursor)
    read = JobRead(
        job_id=job.job_id,
        text="".join(piece.text for piece in pieces),
        reasoning="".join(piece.reasoning for piece in pieces) or None,
        cursor=request.cursor + len(pieces),
        state=JobState.DECODE if job.is_over else job.state,
        tokens=job.tokens,
    )
    if not job.is_over or read.cursor < job.next_seq:
        return read
    context.host.jobs.note_read(job)
    return _read_end(job, read)


async def _accept(context: RequestContext, request: Attach | ReadJob) -> None:
    """Answer first with the job, where that is asked for."""
    if request.background:
        await context.send(Accepted(context.request_id, context.action, request.job_id))


async def stop_generation(context: RequestContext, request: StopGeneration) -> Stopped:
    """Stop what is asked for, and answer when it has stopped."""
    going_on = [job for job in _chosen(context, request) if not job.is_over]
    running = [job for job in going_on if isinstance(job, Job) or job.can_be_stopped]
    backends = _backends(context, running)
    for job in running:
        job.cancel()
    await asyncio.gather(*(job.over.wait() for job in running))
    stopped = [job for job in running if job.state is JobState.CANCELLED]
    return Stopped(
        message=_stop_message(stopped) if running or not going_on else _goes_on_message(going_on),
        stopped_jobs=[job.job_id for job in stopped],
        stopped_backends=backends if stopped else [],
    )


def _chosen(context: RequestContext, request: StopGeneration) -> Sequence[Job | ActionJob]:
    """The job that is named, or generations."""
    host = context.host
    if request.job_id is not None:
        action = host.background.find(request.job_id, context.origin)
        return [action or host.jobs.get(request.job_id, context.origin)]
    jobs = host.jobs.of_origin(context.origin)
    if request.model is None:
        return jobs
    name = host.models.name_of(request.model)
    return [job for job in jobs if job.model == name]


def _action_read(job: ActionJob) -> ActionRead | ActionReadEnd:
    if job.is_over:
        return ActionReadEnd(
            job_id=job.job_id,
            cursor=job.told,
            state=job.state,
            model=job.model,
            done=job.fields,
            error=_told(job.error),
            message=job.error.message if job.error else None,
        )
    now = job.progress
    return ActionRead(
        job_id=job.job_id,
        cursor=job.told,
        state=job.state,
        model=job.model,
        phase=now.phase if now else None,
        progress=now.progress if now else None,
        loaded_bytes=now.loaded_bytes if now else None,
        total_bytes=now.total_bytes if now else None,
        message=now.message if now else None,
    )


def _told(error: HostError | None) -> dict[str, Any] | None:
    return None if error is None else {"code": str(error.code), "details": error.details}


def _read_end(job: Job, read: JobRead) -> JobReadEnd:
    error = job.error
    return JobReadEnd(
        job_id=read.job_id,
        text=read.text,
        reasoning=read.reasoning,
        tool_calls=job.tool_calls or None,
        cursor=read.cursor,
        state=job.state,
        tokens=read.tokens,
        model=job.model,
        finish_reason=job.finish_reason,
        logprobs=job.logprobs,
        stats=job.figures,
        error=_told(error),
        message=None if error is None else error.message,
    )


def _backends(context: RequestContext, jobs: Sequence[Job | ActionJob]) -> list[BackendType]:
    names = {job.model for job in jobs}
    kinds = [model.backend_type for model in context.host.models.all() if model.source.name in names]
    return list(dict.fromkeys(kind for kind in kinds if kind is not None))


def _goes_on_message(jobs: Sequence[Job | ActionJob]) -> str:
    actions = ", ".join(job.action for job in jobs if isinstance(job, ActionJob))
    return f"Nothing was stopped: {actions} goes on to its end once it has begun."


def _stop_message(stopped: Sequence[Job | ActionJob]) -> str:
    if not stopped:
        return "Nothing was running; there is nothing to stop."
    what = "generation" if all(isinstance(job, Job) for job in stopped) else "job"
    return f"Stopped {len(stopped)} {what}{'s' if len(stopped) > 1 else ''}."
