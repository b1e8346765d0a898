"""The relay's first frame and the daemon's answer: who is calling, and whether this daemon is the one to serve it."""

import secrets
from dataclasses import dataclass
from typing import Any, Literal

from native_host import runtime
from native_host.origins import is_origin


@dataclass(frozen=True, slots=True)
class Hello:
    """Who is calling: origin, the relay's process id, its version, and the user's secret. Empty if not a hello.

    pipes: the relay's file descriptors from and to the browser, which the daemon may take over.
    ahead: how many bytes the relay has read of the browser's and sends once it is greeted, before those in its pipe.
    leave: the daemon is to leave; a signal says the same where there are signals.
    """

    origin: str
    pid: int
    version: str
    secret: str
    pipes: tuple[int, int] | None = None
    ahead: int = 0
    leave: bool = False

    @classmethod
    def read(cls, message: dict[str, Any]) -> "Hello":
        """Read a hello; what is missing or of a wrong type is empty, and is refused by `judge`."""

        def text(name: str) -> str:
            value = message.get(name)
            return value if isinstance(value, str) else ""

        def number(name: str) -> int:
            value = message.get(name)
            return value if type(value) is int and value >= 0 else 0

        pipes = _pipes(message.get("pipes"))
        leave = message.get("leave") is True
        return cls(text("origin"), number("pid"), text("version"), text("secret"), pipes, number("ahead"), leave)


@dataclass(frozen=True, slots=True)
class HelloAnswer:
    """`ok`; `refused`, with the reason; or `draining`: start a newer daemon and ask that.

    pipes: the daemon has the browser's pipes now, and the relay is to leave them alone.
    """

    status: Literal["ok", "refused", "draining"]
    message: str = ""
    pipes: bool = False

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""
        answer = {"type": "hello", "status": self.status, "version": runtime.VERSION, "message": self.message}
        return {**answer, "pipes": self.pipes}


def judge(hello: Hello, secret: str) -> HelloAnswer:
    """Decide on a hello: the secret first, then the origin's form, then the version."""
    if not secret or not secrets.compare_digest(hello.secret.encode(), secret.encode()):
        return HelloAnswer("refused", "The daemon does not know this user's secret. Run `tabagent-host stop`.")
    if not is_origin(hello.origin):
        return HelloAnswer("refused", f"{hello.origin[:100]!r} is not an extension's origin.")
    if version_key(hello.version) > version_key(runtime.VERSION):
        return HelloAnswer("draining", "A newer relay: this daemon finishes its work and leaves.")
    return HelloAnswer("ok")


def _pipes(value: object) -> tuple[int, int] | None:
    match value:
        case [int(reading), int(writing)]:
            return reading, writing
    return None


def version_key(version: str) -> tuple[int, ...]:
    """A version's numbers, for comparison; what is not a number counts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))
