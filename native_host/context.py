"""What a handler is given: the host, the client it answers, and the request's envelope."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from messages.errors import HostError
from messages.facts import Fact
from messages.replies import Reply
from native_host.host import Host


class Client(Protocol):
    """Whoever asked: a port of a browser, or a terminal program."""

    origin: str

    async def send(self, reply: Reply) -> None:
        """Write a reply, waiting while the client does not read."""


class JobFailed(Exception):
    """A generation failed: the error, and what it left."""

    def __init__(self, error: HostError, fields: Fact) -> None:
        super().__init__(error.message)
        self.error = error
        self.fields = fields


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request's surroundings. `arrived_at` is monotonic time.

    `takes_more` is set once the client is known to take more than one message: as long as it has sent but one, it may
    be a `sendNativeMessage`.
    """

    host: Host
    client: Client
    request_id: str | int | None
    action: str
    arrived_at: float
    takes_more: asyncio.Event

    @property
    def origin(self) -> str:
        """Who asked."""
        return self.client.origin

    def takes_result(self, *, accepted: bool) -> bool:
        """True unless the client may be a `sendNativeMessage` that took `accepted` for its reply."""
        return not accepted or self.takes_more.is_set()

    async def send(self, reply: Reply) -> None:
        """Write a reply that is not the last."""
        await self.client.send(reply)
