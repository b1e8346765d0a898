"""/api/v1/stream/{job_id} (and /stream/{job_id}): a job as server-sent events, from its beginning or a later place.

Above it: `native_host.http.api_v1`. Below it: `native_host.http.job_events`. Any number of clients may watch a job;
each costs a task that sleeps.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Header, Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from messages.actions import ActionType
from messages.frames import dump
from native_host.http.client import ask, host_of, origin_of
from native_host.http.event_lines import json_line
from native_host.http.job_events import ALL_TOLD, Event, JobNarrator, Place
from native_host.http.schemas import gives
from native_host.jobs import Job

HEARTBEAT_S = 15.0
"""Seconds of quiet after which a heartbeat is sent."""

router = APIRouter()


@router.get("/stream/{job_id}", response_class=EventSourceResponse, responses=gives(streams=True))
async def stream(
    request: Request, job_id: str, last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None
) -> Response:
    """A job's events: connected, status_update, thinking_update, token, heartbeat, analysis_complete, error, done.

    With `Last-Event-ID` it goes on behind that event. Who has seen `done` is answered 204, at which an EventSource
    stops coming back.
    """
    await ask(request, ActionType.READ_JOB, {"job_id": job_id})
    place = Place.read(last_event_id or "")
    if place.mark == ALL_TOLD:
        return Response(status_code=204)
    job = host_of(request).jobs.get(job_id, origin_of(request))
    return EventSourceResponse(_events(job, place), ping=0, sep="\n")


async def _events(job: Job, place: Place) -> AsyncGenerator[ServerSentEvent, None]:
    narrator = JobNarrator(job, place)
    with job.listener(), job.woken() as woken:
        yield _written(narrator.connected())
        beat_at = time.monotonic() + HEARTBEAT_S
        while not narrator.is_over:
            woken.clear()
            for event in narrator.news():
                yield _written(event)
                beat_at = time.monotonic() + HEARTBEAT_S
            if time.monotonic() >= beat_at:
                yield _written(narrator.heartbeat(time.time()))
                beat_at = time.monotonic() + HEARTBEAT_S
            if not narrator.is_over:
                await _wait(woken, beat_at)


async def _wait(woken: asyncio.Event, until: float) -> None:
    """Wait for news until a monotonic time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(until - time.monotonic()):
            await woken.wait()


def _written(event: Event) -> ServerSentEvent:
    return ServerSentEvent(json_line(dump(event.fields)), event=event.name, id=event.id, sep="\n")
