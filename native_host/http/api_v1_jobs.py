"""/api/v1/jobs: generations that go on by themselves: begin, list, read, stop.

Above it: `native_host.http.api_v1`. Below it: `native_host.http.client`. `native_host.http.streams` tells of one live.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from messages.actions import ActionType
from messages.job_replies import JobList
from messages.replies import Accepted, Stopped
from messages.requests import Generate, read_as
from native_host.http.answer_schemas import JobBegun, JobNow
from native_host.http.bodies import generate_fields
from native_host.http.client import ask, first_reply, host_of, origin_of, result_of
from native_host.http.errors import json_response, success_response
from native_host.http.job_progress import status_of
from native_host.http.model_use import load_named
from native_host.http.schemas import gives, takes

router = APIRouter(prefix="/jobs")


@router.get("", responses=gives(JobList))
async def jobs(request: Request) -> Response:
    """This caller's jobs, oldest first."""
    return success_response(await ask(request, ActionType.LIST_JOBS))


@router.post("", status_code=202, responses=gives(JobBegun, status=202), openapi_extra=takes(Generate, form=True))
async def begin(request: Request) -> Response:
    """Begin a generation and answer with its job; it goes on whether somebody listens or not."""
    wanted = read_as(Generate, {**await generate_fields(request), "background": True})
    wanted = wanted.model_copy(update={"stream": False})
    await load_named(request, wanted)
    first = await first_reply(request, wanted)
    job_id = first.job_id if isinstance(first, Accepted) else result_of(first).fields.model_dump()["job_id"]
    return json_response({"status": "success", "job_id": job_id, "stream": f"/api/v1/stream/{job_id}"}, 202)


@router.get("/{job_id}", responses=gives(JobNow))
async def read(
    request: Request,
    job_id: str,
    cursor: Annotated[int, Query(ge=0, le=2**31)] = 0,
    wait_ms: Annotated[int, Query(ge=0, le=30_000)] = 0,
) -> Response:
    """A job's text since `cursor`, waiting up to `wait_ms` for some, and where the job stands."""
    asked = {"job_id": job_id, "cursor": cursor, "wait_ms": wait_ms}
    told = (await ask(request, ActionType.READ_JOB, asked)).fields.model_dump(mode="json")
    status = status_of(host_of(request).jobs.get(job_id, origin_of(request)))
    return json_response({"message": None, **status.model_dump(mode="json"), **told})


@router.delete("/{job_id}", responses=gives(Stopped))
async def stop(request: Request, job_id: str) -> Response:
    """Stop a job, and answer when it has stopped; what it said until then can still be read."""
    return success_response(await ask(request, ActionType.STOP_GENERATION, {"job_id": job_id}))
