"""From a JSON object to its one result: parses the request, calls its handler, turns every exception into an error.

Above it: `native_host.connection`. Below it: `native_host.handlers`. This is the one place that catches everything.
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from messages.errors import ErrorCode, HostError
from messages.frames import JsonObject
from messages.replies import Accepted, Failure, Reply, Success
from messages.requests import AnyRequest, action_of, parse, request_id
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
    request = _background_request(host, client, message)
    if request is None:
        return _answer(host, client, message, arrived_at, takes_more)
    context = RequestContext(host, client, request.id, str(request.action), arrived_at, takes_more)
    job = ActionJob(client.origin, context.action, getattr(request, "model", None))
    host.background.start(job, _carry_out(replace(context, client=job, request_id=job.job_id), request, job))
    return _tell(context, request, job)


async def _answer(host: Host, client: Client, message: Message, arrived_at: float, takes_more: asyncio.Event) -> None:
    _log_request(host, client, message)
    reply = await _result(host, client, message, arrived_at, takes_more)
    await _send_last(host, client, reply)


async def _result(host: Host, client: Client, message: Message, arrived_at: float, takes_more: asyncio.Event) -> Reply:
    if isinstance(message, dict):
        identity, action = request_id(message), action_of(message)
    else:
        identity, action = message.id, str(message.action)
    try:
        _check_origin(host, client.origin)
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
        return Failure(identity, action, _internal(error))


def _background_request(host: Host, client: Client, message: Message) -> AnyRequest | None:
    """A request that becomes a job here; None for any other, and for one that is wrong, which its answer tells."""
    if not isinstance(message, dict) or not message.get("background") or action_of(message) in MAKE_THEIR_JOB:
        return None
    try:
        _check_origin(host, client.origin)
        return parse(message)
    except HostError:
        return None
    except Exception:
        logger.exception("reading a request failed")
        return None


async def _carry_out(context: RequestContext, request: AnyRequest, job: ActionJob) -> None:
    try:
        job.finish(await HANDLERS[request.action](context, request))
    except HostError as error:
        job.fail(error)
    except Exception as error:
        logger.exception("the request %r failed", job.action)
        job.fail(_internal(error))


async def _tell(context: RequestContext, request: AnyRequest, job: ActionJob) -> None:
    """Tell a client of the job that its request has become, to its result."""
    _log_request(context.host, context.client, request)
    await context.send(Accepted(request.id, job.action, job.job_id))
    reply: Reply
    try:
        fields = await follow_action(context, job, stream=getattr(request, "stream", None) is not False)
        reply = Success(request.id, job.action, fields)
    except JobFailed as failed:
        reply = Failure(request.id, job.action, failed.error, failed.fields)
    await _send_last(context.host, context.client, reply)


def _internal(error: Exception) -> HostError:
    text = f"The host failed ({type(error).__name__}). This is a bug; its log has the details."
    return HostError(ErrorCode.INTERNAL, text)


def _log_request(host: Host, client: Client, message: Message) -> None:
    if host.config.log.log_prompts:
        logger.info("request of %s: %s", client.origin, message)


async def _send_last(host: Host, client: Client, reply: Reply) -> None:
    if host.config.log.log_prompts:
        logger.info("result for %s: %s", client.origin, reply.to_wire())
    await client.send(reply)


def _check_origin(host: Host, origin: str) -> None:
    if not host.config.origins.permits(origin):
        raise HostError(
            ErrorCode.ORIGIN_FORBIDDEN,
            f"{origin} may not use this host: the configuration's [origins] section leaves it out.",
            origin=origin,
        )
