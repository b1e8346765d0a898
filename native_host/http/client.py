"""A caller over HTTP as the dispatcher sees one: what it is answered is put into a queue, and read from there.

Above it: the routers. Below it: `native_host.dispatcher`, which native ports use too; nothing of models or jobs is
done here.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from messages.actions import ActionType
from messages.errors import HostError
from messages.frames import JsonObject
from messages.replies import Accepted, Failure, Reply, Success
from native_host.dispatcher import dispatch
from native_host.host import Host
from native_host.http.errors import HttpError

_ResultT = TypeVar("_ResultT")

QUEUE_LIMIT = 64
"""Replies that wait to be written before the one who makes them waits too."""


class HttpClient:
    """The `Client` of one request. `send` waits while nobody takes what was sent before."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self._replies: asyncio.Queue[Reply] = asyncio.Queue(QUEUE_LIMIT)

    async def send(self, reply: Reply) -> None:
        """Put a reply into the queue."""
        await self._replies.put(reply)

    async def receive(self) -> Reply:
        """Take the next reply."""
        return await self._replies.get()


def host_of(request: Request) -> Host:
    """The host that serves a request."""
    host: Host = request.app.state.host
    return host


def origin_of(request: Request) -> str:
    """Who asks, as `native_host.http.security` found out."""
    origin: str = request.state.origin
    return origin


def arrived_at(request: Request) -> float:
    """Monotonic time of a request's arrival, from which its figures count."""
    at: float = request.state.arrived_at
    return at


async def replies(request: Request, action: ActionType, fields: JsonObject) -> AsyncGenerator[Reply, None]:
    """Carry out a request of the wire protocol and yield what it is answered, its Success or Failure last.

    Closing the generator before leaves the request; a job that it began goes on for its grace.
    """
    client = HttpClient(origin_of(request))
    message = {"id": "http", **fields, "action": str(action)}
    work = asyncio.create_task(dispatch(host_of(request), client, message, arrived_at(request), is_first=False))
    try:
        while True:
            reply = await client.receive()
            yield reply
            if isinstance(reply, Success | Failure):
                return
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


async def ask(request: Request, action: ActionType, fields: JsonObject | None = None) -> Success:
    """Carry out a request and return its result. HttpError if it fails, ClientDisconnect if the caller has gone."""
    return await unless_gone(request, _last(replies(request, action, fields or {})))


async def generation(request: Request, fields: JsonObject) -> AsyncGenerator[Reply, None]:
    """Run a `generate` as a stream; whoever leaves before its end stops it. `fields` are those of the wire."""
    job_id: str | None = None
    answers = replies(request, ActionType.GENERATE, {**fields, "stream": True})
    over = False
    try:
        async for reply in answers:
            job_id = reply.job_id if isinstance(reply, Accepted) else job_id
            over = isinstance(reply, Success | Failure)
            yield reply
    finally:
        await answers.aclose()
        if job_id is not None and not over:
            _cancel(request, job_id)


async def unless_gone(request: Request, work: Awaitable[_ResultT]) -> _ResultT:
    """Wait for work, or give it up and raise ClientDisconnect when the caller has gone. The body must be read."""
    task = asyncio.ensure_future(work)
    gone = asyncio.create_task(_wait_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


def result_of(reply: Reply) -> Success:
    """A request's last answer if it went well, else HttpError."""
    if isinstance(reply, Success):
        return reply
    assert isinstance(reply, Failure)
    raise HttpError.of_failure(reply)


def new_request_times(state: JsonObject, origin: str) -> None:
    """Note who asks and when, for the functions above."""
    state["origin"] = origin
    state["arrived_at"] = time.monotonic()


async def _last(answers: AsyncGenerator[Reply, None]) -> Success:
    async with contextlib.aclosing(answers):
        async for reply in answers:
            if isinstance(reply, Success | Failure):
                return result_of(reply)
    raise RuntimeError("a request was not answered")


async def _wait_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _cancel(request: Request, job_id: str) -> None:
    with contextlib.suppress(HostError):
        host_of(request).jobs.get(job_id, origin_of(request)).cancel()
