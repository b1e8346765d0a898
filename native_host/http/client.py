"""A caller over HTTP as the dispatcher sees one, and the ways to ask it: for a result, or for the first answer.

Above it: the routers. Below it: `native_host.dispatcher`, which native ports use too; nothing of models or jobs is
done here. An answer that goes on while its caller reads is `native_host.http.answer_streams`.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from messages.actions import ActionType
from messages.errors import ErrorCode, HostError
from messages.frames import JsonObject
from messages.replies import Accepted, Failure, Reply, Success
from messages.requests import AnyRequest, CountTokens, Embed, Generate
from native_host.context import Client
from native_host.dispatcher import Message, dispatch
from native_host.host import Host
from native_host.http.errors import HttpError

_ResultT = TypeVar("_ResultT")


class LastReply:
    """The `Client` of a request of which only the end matters; `job_id` once a job has been made of it."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.job_id: str | None = None
        self._last: Success | Failure | None = None

    async def send(self, reply: Reply) -> None:
        """Take a reply."""
        if isinstance(reply, Success | Failure):
            self._last = reply
        elif isinstance(reply, Accepted):
            self.job_id = reply.job_id

    @property
    def is_over(self) -> bool:
        """True once the last reply was sent."""
        return self._last is not None

    @property
    def failure(self) -> Failure | None:
        """The last reply, if the request failed."""
        return self._last if isinstance(self._last, Failure) else None

    def result(self) -> Success:
        """The last reply of a request that was carried out. HttpError if it failed."""
        assert self._last is not None
        return result_of(self._last)


class _UnlessUnloaded:
    """Passes replies on to a client, but not that the model is not loaded, if that is the first of them."""

    def __init__(self, client: Client) -> None:
        self.origin = client.origin
        self.was_unloaded = False
        self._client = client
        self._has_begun = False

    async def send(self, reply: Reply) -> None:
        """Take a reply."""
        if not self._has_begun and isinstance(reply, Failure) and reply.error.code is ErrorCode.MODEL_NOT_LOADED:
            self.was_unloaded = True
            return
        self._has_begun = True
        await self._client.send(reply)


class _FirstReply:
    """The `Client` of a request that is left once it has been answered for the first time."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.first: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    async def send(self, reply: Reply) -> None:
        """Take a reply."""
        if not self.first.done():
            self.first.set_result(reply)


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


async def carry_out(request: Request, message: Message, client: Client) -> None:
    """Carry out a request of the wire protocol; its answers go to `client`, its Success or Failure last.

    The model that a request names was loaded before; if it has been unloaded since, it is loaded once more.
    """
    if not isinstance(message, Generate | Embed | CountTokens) or message.model is None:
        await _carry_out(request, message, client)
        return
    first = _UnlessUnloaded(client)
    await _carry_out(request, message, first)
    if first.was_unloaded:
        load = LastReply(client.origin)
        await _carry_out(request, {"id": "http", "action": str(ActionType.LOAD), "model": message.model}, load)
        if load.failure is None:
            await _carry_out(request, message, client)
        else:
            await client.send(load.failure)


async def _carry_out(request: Request, message: Message, client: Client) -> None:
    takes_more = asyncio.Event()
    takes_more.set()
    await dispatch(host_of(request), client, message, arrived_at(request), takes_more)


async def ask(request: Request, action: ActionType, fields: JsonObject | None = None) -> Success:
    """Carry out a request and return its result. HttpError if it fails, ClientDisconnect if the caller has gone."""
    return await ask_for(request, {"id": "http", **(fields or {}), "action": str(action)})


async def ask_for(request: Request, message: Message) -> Success:
    """Carry out a message, as `ask` does."""
    client = LastReply(origin_of(request))
    await unless_gone(request, carry_out(request, message, client))
    return client.result()


async def first_reply(request: Request, wanted: AnyRequest) -> Reply:
    """Carry out a request until its first answer, and leave it; a job that it began goes on for its grace."""
    client = _FirstReply(origin_of(request))
    work = asyncio.create_task(carry_out(request, wanted, client))
    try:
        return await unless_gone(request, client.first)
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


async def unless_gone(request: Request, work: Awaitable[_ResultT]) -> _ResultT:
    """Wait for work, or give it up and raise ClientDisconnect when the caller has gone. The body must be read."""
    task = asyncio.ensure_future(work)
    gone = asyncio.create_task(wait_gone(request))
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


async def wait_gone(request: Request) -> None:
    """Wait until the caller has gone. The body must be read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


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


def count_from_now(request: Request) -> None:
    """Have the figures of what is done next for a request count from now, and not from its arrival."""
    request.state.arrived_at = time.monotonic()


def break_off(request: Request) -> None:
    """End a request's connection amid its answer, so that nobody takes what has gone out for all of it.

    The connection's protocol (`native_host.http.protocol`) has left the means with the request.
    """
    request.state.break_off()


def stop_job(request: Request, job_id: str) -> None:
    """Cancel a job of the caller's, if it is still there."""
    with contextlib.suppress(HostError):
        host_of(request).jobs.get(job_id, origin_of(request)).cancel()
