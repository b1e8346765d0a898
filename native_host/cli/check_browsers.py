"""`doctor`'s checks of the browsers: is the host registered with each, and does what they start answer?"""

import time
from collections.abc import Iterator
from pathlib import Path

from installer import sandboxes
from installer.errors import InstallError
from installer.inspection import ProblemCode, Registration, inspect
from installer.platforms import Platform
from installer.wording import INSTALLER
from messages.actions import ActionType
from messages.errors import HostError
from messages.replies import Pong
from native_host.cli.findings import Finding, fail, note, ok, warn
from native_host.client import HostClient, HostGone
from native_host.config import Config, ConfigError, load_config
from native_host.runtime import VERSION

_PING_TIMEOUT_S = 30.0
_UNUSABLE = frozenset(
    {ProblemCode.LAUNCHER_MISSING, ProblemCode.LAUNCHER_NOT_EXECUTABLE, ProblemCode.INTERPRETER_MISSING}
)


def check_registrations() -> Iterator[Finding]:
    """Each browser that is here or has a manifest of this host."""
    try:
        registrations = inspect(Platform.current())
    except InstallError as error:
        yield fail("browsers", str(error), f"Run {INSTALLER} again.")
        return
    for registration in registrations:
        yield from _judge(registration)
    if not registrations:
        yield warn("browsers", "no browser was found", f"Install Chromium or Firefox, then run {INSTALLER}.")
    elif not any(registration.manifest for registration in registrations):
        yield fail("browsers", "no browser knows the host", f"Run {INSTALLER}.")


def check_sandboxes() -> Iterator[Finding]:
    """Browsers in a sandbox, and what is true of them."""
    for sandboxed in sandboxes.detect(Platform.current()):
        first, *rest = sandboxed.truth.splitlines()
        yield note(sandboxed.kind, first, " ".join(rest) or None)


def check_launchers() -> Iterator[Finding]:
    """Start each registered launcher as its browser would, and the relay of this installation if there is none."""
    commands = dict(_registered_commands())
    for path, command in commands.items():
        yield _ping(f"launcher {path}", command)
    if not commands:
        yield _ping("the relay of this installation", None)


def _judge(registration: Registration) -> Iterator[Finding]:
    subject = registration.browser
    for problem in registration.problems:
        level = warn if problem.code is ProblemCode.NOT_REGISTERED else fail
        yield level(subject, problem.text, problem.remedy)
    if registration.manifest is None or registration.problems:
        return
    count = len(registration.manifest.allowed)
    yield ok(subject, f"registered in {registration.path} for {count} extension(s)")
    for origin in registration.manifest.allowed:
        if not _config().origins.permits(origin):
            text = f"{origin} is in the manifest, but the configuration forbids it"
            yield warn(subject, text, "Add it to origins.allowed, or take it out of origins.blocked.")


def _registered_commands() -> Iterator[tuple[Path, list[str]]]:
    """For each launcher that can be started: what a browser would start."""
    try:
        registrations = inspect(Platform.current())
    except InstallError:
        return
    for registration in registrations:
        found = registration.manifest
        if found is None or not found.allowed or any(problem.code in _UNUSABLE for problem in registration.problems):
            continue
        arguments = [str(registration.path)] if found.family == "firefox" else []
        yield Path(found.path), [found.path, *arguments, found.allowed[0]]


def _ping(what: str, command: list[str] | None) -> Finding:
    begin = time.monotonic()
    try:
        with HostClient(command) as client:
            pong = client.call(ActionType.PING, Pong, timeout=_PING_TIMEOUT_S)
    except OSError as error:
        return fail("connection", f"{what} cannot be started: {error.strerror}", f"Run {INSTALLER} again.")
    except (HostGone, HostError, TimeoutError) as error:
        return fail("connection", f"{what} does not answer: {error}", "Look at the log: tabagent-host logs")
    took = f"{(time.monotonic() - begin) * 1000:.0f} ms"
    if pong.version != VERSION:
        text = f"{what} leads to version {pong.version}, this is {VERSION}"
        return warn("connection", text, f"Run {INSTALLER} again, then tabagent-host stop.")
    return ok("connection", f"{what} answered in {took}")


def _config() -> Config:
    try:
        return load_config()
    except ConfigError:
        return Config()
