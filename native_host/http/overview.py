"""/api/v1/overview: what the dashboard shows of every caller's work, in one answer. Figures and states, never a text.

Above it: the page of `native_host.http.dashboard`. Below it: the host's tables; stopping goes through the dispatcher.
"""

import asyncio
import os
import time
from typing import Annotated

import psutil
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from messages.actions import ActionType
from messages.errors import ErrorCode, HostError
from messages.facts import Fact, Figures, JobState, ModelState
from messages.replies import Stopped
from native_host import logs, process_memory, runtime
from native_host.host import Host
from native_host.http.client import ask, host_of, origin_of
from native_host.http.errors import json_response, success_response
from native_host.http.schemas import gives
from native_host.jobs import Job
from native_host.origins import HTTP_ORIGIN

MAX_LOG_LINES = 2000


def refuse_other_pages(request: Request) -> None:
    """Only programs and the host's own page see what others do; a page that the configuration lets in does not."""
    if origin_of(request) != HTTP_ORIGIN:
        text = "The overview shows every caller's work; pages of other sites may not see it."
        raise HostError(ErrorCode.ORIGIN_FORBIDDEN, text, origin=origin_of(request)[:100])


router = APIRouter(prefix="/overview", dependencies=[Depends(refuse_other_pages)])


class Memory(Fact):
    """Bytes: what the daemon itself has resident, and the machine's memory."""

    host_bytes: int | None
    total_bytes: int
    available_bytes: int


class RunningJob(Fact):
    """A generation that is not over, whoever asked for it; `created` is seconds since the epoch."""

    job_id: str
    origin: str
    model: str
    state: JobState
    tokens: int
    prefill_done: int
    prefill_total: int
    tokens_per_second: float | None
    time_to_first_token: float | None
    created: float


class Overview(Fact):
    """All that changes from second to second. `generations` counts those that have ended since the start."""

    version: str
    pid: int
    time: float
    started_at: float
    memory: Memory
    active: str | None
    models: list[ModelState]
    jobs: list[RunningJob]
    current: Figures
    generations: int


class LogTail(Fact):
    """The log's last lines, oldest first."""

    lines: list[str]


@router.get("", response_model=Overview)
async def overview(request: Request) -> Response:
    """What is loaded, what runs, and the newest figures, those of every caller."""
    return _answer(_overview(host_of(request)))


@router.get("/log", response_model=LogTail)
async def log(request: Request, lines: Annotated[int, Query(ge=1, le=MAX_LOG_LINES)] = 200) -> Response:
    """The end of the daemon's log."""
    return _answer(LogTail(lines=await asyncio.to_thread(logs.tail, host_of(request).paths.daemon_log, lines)))


@router.delete("/jobs/{job_id}", responses=gives(Stopped))
async def stop(request: Request, job_id: str) -> Response:
    """Stop a running generation, whoever asked for it, in that caller's name."""
    job = next((job for job in host_of(request).jobs.running() if job.job_id == job_id), None)
    if job is None:
        raise HostError(ErrorCode.JOB_NOT_FOUND, "That generation does not run any more.", job_id=job_id[:100])
    request.state.origin = job.origin
    result = await ask(request, ActionType.STOP_GENERATION, {"job_id": job_id})
    return success_response(result)


def _answer(fact: Fact) -> Response:
    return json_response(fact.model_dump(mode="json"))


def _overview(host: Host) -> Overview:
    active = host.models.active
    machine = psutil.virtual_memory()
    return Overview(
        version=runtime.VERSION,
        pid=os.getpid(),
        time=time.time(),
        started_at=host.started_at,
        memory=Memory(
            host_bytes=process_memory.resident_bytes(os.getpid()),
            total_bytes=machine.total,
            available_bytes=machine.available,
        ),
        active=active.source.name if active else None,
        models=[model.get_state() for model in host.models.all()],
        jobs=[_running(job) for job in host.jobs.running()],
        current=host.figures(active),
        generations=sum(figures.outcomes.total() for figures in host.live.models.values()),
    )


def _running(job: Job) -> RunningJob:
    figures = job.read_figures()
    return RunningJob(
        job_id=job.job_id,
        origin=job.origin,
        model=job.model,
        state=job.state,
        tokens=job.tokens,
        prefill_done=job.prefill_done,
        prefill_total=job.prefill_total,
        tokens_per_second=figures.tokens_per_second,
        time_to_first_token=figures.time_to_first_token,
        created=job.created,
    )
