"""`doctor`: looks at everything that an installation needs, in the order in which one thing rests on another.

Standard library only, and checks are imported late: a missing package is a finding here and not a crash.
"""

import importlib
import sys
from collections.abc import Callable, Iterator

from installer.wording import INSTALLER
from native_host.cli.findings import Finding, Level, fail, ok
from native_host.cli.terminal import printable, styled

_PACKAGES = ("pydantic", "pydantic_settings", "platformdirs", "psutil")
_OLDEST_PYTHON = (3, 11)
_REINSTALL = f"Run {INSTALLER} again; it makes the environment anew and keeps everything else."
_STYLE = {Level.OK: "green", Level.NOTE: "dim", Level.WARN: "yellow", Level.FAIL: "red"}
_SUBJECT_WIDTH = 14

Check = Callable[[], Iterator[Finding]]


def doctor() -> int:
    """Print every finding; 1 if one of them is a FAIL."""
    findings: list[Finding] = []
    for check in (check_python, check_packages):
        findings += _show(check)
    if all(finding.level is not Level.FAIL for finding in findings):
        for check in _further_checks():
            findings += _show(check)
    return _conclude(findings)


def check_python() -> Iterator[Finding]:
    """The interpreter's version."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < _OLDEST_PYTHON:
        wanted = ".".join(str(part) for part in _OLDEST_PYTHON)
        yield fail("python", f"{version} at {sys.executable} is too old", f"Install Python {wanted} or newer.")
    else:
        yield ok("python", f"{version} at {sys.executable}")


def check_packages() -> Iterator[Finding]:
    """The packages that the host is built on."""
    broken = False
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            broken = True
            missing = isinstance(error, ModuleNotFoundError) and error.name == name
            text = f"{name} is missing" if missing else f"{name} is installed but does not import: {error}"
            yield fail("packages", text, _REINSTALL)
    if not broken:
        yield ok("packages", ", ".join(_PACKAGES))


def _further_checks() -> tuple[Check, ...]:
    from native_host.cli import check_browsers, check_engines, check_load, check_runtime, check_storage

    return (
        check_storage.check_config,
        check_storage.check_folders,
        check_storage.check_disk,
        check_storage.check_statistics,
        check_engines.check_engines,
        check_engines.check_demo,
        check_load.check_load,
        check_runtime.check_folder,
        check_runtime.check_daemon,
        check_browsers.check_registrations,
        check_browsers.check_sandboxes,
        check_browsers.check_launchers,
    )


def _show(check: Check) -> list[Finding]:
    findings = []
    for finding in _guarded(check):
        _print(finding)
        findings.append(finding)
    return findings


def _guarded(check: Check) -> Iterator[Finding]:
    """A check's findings; one that stumbles over a damaged installation is a finding too, and the next one goes on."""
    try:
        yield from check()
    except (ImportError, OSError) as error:
        subject = check.__name__.removeprefix("check_")
        yield fail(subject, f"could not be checked: {error}", _REINSTALL)


def _print(finding: Finding) -> None:
    """Two lines at most, not wrapped: what is to be typed must be copied whole."""
    level = styled(f"{finding.level:<4}", _STYLE[finding.level], sys.stdout)
    print(f"{level}  {finding.subject:<{_SUBJECT_WIDTH}}  {printable(finding.text)}", flush=True)
    if finding.remedy:
        print(f"{'':<{_SUBJECT_WIDTH + 8}}-> {printable(finding.remedy)}", flush=True)


def _conclude(findings: list[Finding]) -> int:
    failed = sum(finding.level is Level.FAIL for finding in findings)
    warned = sum(finding.level is Level.WARN for finding in findings)
    print()
    if failed:
        print(
            f"{failed} thing(s) do not work{f', {warned} more to look at' if warned else ''}. Mend the first one first."
        )
        return 1
    print(f"It works; {warned} thing(s) to look at." if warned else "All is well.")
    return 0
