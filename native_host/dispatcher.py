"""From a JSON object to its one result: parses the request, calls its handler, turns every exception into an error.

Above it: `native_host.connection`. Below it: `native_host.handlers`. This is the one place that catches everything.
"""

import asyncio
import logging

from messages.errors import ErrorCode, HostError
from messages.frames import JsonObject
from messages.replies import Failure, Reply, Success
from messages.requests import AnyRequest, action_of, parse, request_id
from native_host.context import Client, JobFailed, RequestContext
from native_host.handlers import HANDLERS, IMMEDIATE
from native_host.host import Host

logger = logging.getLogger("tabagent.dispatcher")


Message = JsonObject | AnyRequest
"""A request as it came, or as somebody has read it already."""


def answers_at_once(message: JsonObject) -> bool:
    """True for an action whose handler waits for nothing, so that it needs no task of its own."""
    return action_of(message) in IMMEDIATE


async def dispatch(host: Host, client: Client, message: Message, arrived_at: float, takes_more: asyncio.Event) -> None:
    """Carry out one request and send its result; the last two as in `native_host.context.RequestContext`."""
    reply = await _result(host, client, message, arrived_at, takes_more)
    if host.config.log.log_prompts:
        logger.info("result for %s: %s", client.origin, reply.to_wire())
    await client.send(reply)


async def _result(host: Host, client: Client, message: Message, arrived_at: float, takes_more: asyncio.Event) -> Reply:
    if isinstance(message, dict):
        identity, action = request_id(message), action_of(message)
    else:
        identity, action = message.id, str(message.action)
    if host.config.log.log_prompts:
        logger.info("request of %s: %s", client.origin, message)
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
        text = f"The host failed ({type(error).__name__}). This is a bug; its log has the details."
        return Failure(identity, action, HostError(ErrorCode.INTERNAL, text))


def _check_origin(host: Host, origin: str) -> None:
    if not host.config.origins.permits(origin):
        raise HostError(
            ErrorCode.ORIGIN_FORBIDDEN,
            f"{origin} may not use this host: the configuration's [origins] section leaves it out.",
            origin=origin,
        )
