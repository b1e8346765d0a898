"""The handler of the terminal's own action: open_http."""

from messages.errors import ErrorCode, HostError
from messages.replies import HttpOpened
from messages.requests import OpenHttp
from native_host.context import RequestContext
from native_host.origins import CLI_ORIGIN


async def open_http(context: RequestContext, request: OpenHttp) -> HttpOpened:
    """Offer the HTTP API, for the user in a terminal: no extension decides that other programs may ask."""
    if context.origin != CLI_ORIGIN:
        text = "The HTTP API is opened in a terminal: tabagent-host serve --http"
        raise HostError(ErrorCode.ORIGIN_FORBIDDEN, text, origin=context.origin)
    return await context.host.open_http(request.port, request.token)
