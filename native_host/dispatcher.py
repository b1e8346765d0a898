"""From a JSON object to its one result: parses the request, calls its handler, turns every exception into an error.

Above it: `native_host.connection`. Below it: `native_host.handlers`. This is the one place that catches everything.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from messages.errors import ErrorCode, HostError
from messages.frames import JsonObject
from messages.replies import Accepted, Failure, Reply, Success
from messages.requests import AnyRequest, Load, action_of, model_of, parse, request_id
from native_host.background import ActionJob
from native_host.context import Client, JobFailed, RequestContext
from native_host.handlers import HANDLERS, IMMEDIATE, MAKE_THEIR_JOB
from native_host.handlers.jobs import follow_action
from native_host.host import Host

logger = logging.getLogger("tabagent.dispatcher")


Message = JsonObject | AnyRequest
"""A request as it came, or as somebody has read it already."""


def answers_at_once(message: JsonObject) -> bool:
    """True for an action whose handler waits for nothing, so that it needs no task of its own."""
    return action_of(message) in IMMEDIATE and not message.get("background")


def dispatch(
    host: Host, client: Client, message: Message, arrived_at: float, takes_more: asyncio.Event
) -> Coroutine[Any, Any, None]:
    """Begin one request; what is returned sends its result. The last two are as in `RequestContext`.

    What goes on in the background begins here, as a task of the host, so that requests begin in the order in which
    they came; what is returned only tells of it.
    """
    if isinstance(message, dict) and message.get("background") and action_of(message) not in MAKE_THEIR_JOB:
        return _in_background(host, client, message, arrived_at, takes_more)
    return _answer(host, client, message, arrived_at, takes_more)


def _in_background(
    host: Host, client: Client, message: JsonObject, arrived_at: float, takes_more: asyncio.Event
) -> Coroutine[Any, Any, None]:
    try:
        _check_client(host, client.origin)
        request = parse(message)
        action = str(request.action)
        job = host.background.begin(
            client.origin,
            action,
            model_of(request),
            lambda job: _answer(host, job, request.model_copy(update={"id": job.job_id}), arrived_at, takes_more),
        )
    except HostError as error:
        return client.send(Failure(request_id(message), action_of(message), error))
    except Exception:
        logger.exception("beginning a request failed")
        return _answer(host, client, message, arrived_at, takes_more)  # which fails as this did, and says so
    return _tell(RequestContext(host, client, request.id, action, arrived_at, takes_more), request, job)


async def _tell(context: RequestContext, request: AnyRequest, job: ActionJob) -> None:
    """Tell a client of the job that its request has become, to its result."""
    await context.send(Accepted(request.id, job.action, job.job_id))
    is_alone = isinstance(request, Load) and request.stream is False
    try:
        fields = await follow_action(context, job, stream=not is_alone, accepted=True)
    except JobFailed as failed:
        await context.send(Failure(request.id, job.action, failed.error, failed.fields))
    else:
        await context.send(Success(request.id, job.action, fields))


async def _answer(host: Host, client: Client, message: Message, arrived_at: float, takes_more: asyncio.Event) -> None:
    if host.config.log.log_prompts:
        logger.info("request of %s: %s", client.origin, message)
    reply = await _result(host, client, message, arrived_at, takes_more)
    if host.config.log.log_prompts:
        logger.info("result for %s: %s", client.origin, reply.to_wire())
    await client.send(reply)


async def _result(host: Host, client: Client, message: Message, arrived_at: float, takes_more: asyncio.Event) -> Reply:
    if isinstance(message, dict):
        identity, action = request_id(message), action_of(message)
    else:
        identity, action = message.id, str(message.action)
    try:
        _check_client(host, client.origin)
        request = parse(message) if isinstance(message, dict) else message
        context = RequestContext(host, client, identity, str(request.action), arrived_at, takes_more)
        fields = await HANDLERS[request.action](context, request)
        return Success(identity, str(request.action), fields)
    except JobFailed as failed:
        return Failure(identity, action, failed.error, failed.fields)
    except HostError as error:
        return Failure(identity, action, error)
    except Exception as error:
        logger.exception("the request %r failed", action)
        text = f"The host failed ({type(error).__name__}). This is a bug; its log has the details."
        return Failure(identity, action, HostError(ErrorCode.INTERNAL, text))


def _check_client(host: Host, origin: str) -> None:
    if host.is_closing:
        raise HostError(ErrorCode.CANCELLED, "The host is being stopped; ask again, which starts it anew.")
    if not host.config.origins.permits(origin):
        raise HostError(
            ErrorCode.ORIGIN_FORBIDDEN,
            f"{origin} may not use this host: the configuration's [origins] section leaves it out.",
            origin=origin,
        )
