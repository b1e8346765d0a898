"""HEAD for whatever answers GET: the same answer without its body.

Above it: `native_host.http.security.Gate`. Below it: the application, whose routes know nothing of it.

Source: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    """The application, which is asked GET for a HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            await self._app({**scope, "method": "GET"}, receive, _without_body(send))
        else:
            await self._app(scope, receive, send)


def _without_body(send: Send) -> Send:
    """Send an answer's head alone; to a stream its reader has then gone, so that it ends."""

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return send_head
