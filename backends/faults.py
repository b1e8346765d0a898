"""Faults on demand, for the tests of everything that has to survive an engine. Off unless the environment says so."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from messages.errors import ErrorCode, HostError

ENVIRONMENT_VARIABLE = "TABAGENT_TEST_FAULTS"
LEAK_BYTES = 16 * 1024 * 1024


def _segfault() -> None:
    ctypes.string_at(0)


def _abort() -> None:
    os.abort()


def _kill() -> None:
    if sys.platform == "win32":
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def _exit() -> None:
    os._exit(3)


def _hang() -> None:
    while True:
        time.sleep(3600)


def _print() -> None:
    os.write(1, b"engine noise on file descriptor 1\n")
    print("engine noise on sys.stdout", flush=True)  # noqa: T201
    print("engine noise on sys.stderr", file=sys.stderr, flush=True)  # noqa: T201


def _raise() -> None:
    raise RuntimeError("a fault was asked for")


class PanicException(BaseException):
    """What pyo3 calls a panic of Rust code."""


def _panic() -> None:
    raise PanicException("a panic was asked for")


def _leak() -> None:
    _LEAKED.append(bytearray(os.urandom(1) * LEAK_BYTES))


_LEAKED: list[bytearray] = []

FAULTS: Mapping[str, Callable[[], None]] = {
    "segfault": _segfault,
    "abort": _abort,
    "kill": _kill,
    "exit": _exit,
    "hang": _hang,
    "print": _print,
    "raise": _raise,
    "panic": _panic,
    "leak": _leak,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault and when it strikes: `load`, or before output token number `token` (from 0)."""

    name: str
    token: int | None

    def strike_at_load(self) -> None:
        """Strike if this is a fault of loading."""
        if self.token is None:
            FAULTS[self.name]()

    def strike_at_token(self, token: int) -> None:
        """Strike if this is the token."""
        if self.token == token:
            FAULTS[self.name]()


def parse_fault(text: str | None) -> Fault | None:
    """Read `name@token` or `name@load`; HostError `unsupported_option` unless faults are switched on."""
    if text is None:
        return None
    if os.environ.get(ENVIRONMENT_VARIABLE) != "1":
        raise HostError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"options.fault is for tests; it needs {ENVIRONMENT_VARIABLE}=1 in the daemon's environment.",
            fields=["options.fault"],
        )
    name, _, when = text.partition("@")
    if name not in FAULTS or not (when == "load" or when.isdecimal()):
        raise HostError(
            ErrorCode.INVALID_REQUEST,
            f"options.fault must be NAME@load or NAME@TOKEN with NAME one of {', '.join(FAULTS)}.",
            fields=["options.fault: not a known fault"],
        )
    return Fault(name, None if when == "load" else int(when))
