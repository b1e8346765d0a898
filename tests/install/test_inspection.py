"""Inspection finds what keeps a browser from starting the host."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.install_machine import Machine

from installer import browsers
from installer.context import Options
from installer.inspection import ProblemCode, inspect, launcher_problems

CHROMIUM = ".config/chromium/NativeMessagingHosts"


@pytest.fixture
def installed(prepared: Machine) -> Machine:
    prepared.add_browser("chromium")
    prepared.install(Options("install", prove=False))
    return prepared


def codes(machine: Machine) -> list[ProblemCode]:
    context = machine.context
    (registration,) = inspect(context.platform, context.host_name, context.prefix, context.registry)
    assert all(problem.text and problem.remedy for problem in registration.problems)
    return [problem.code for problem in registration.problems]


def change(**fields: object) -> Callable[[Machine], None]:
    def edit(machine: Machine) -> None:
        path = machine.manifest(CHROMIUM)
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return edit


def break_interpreter(machine: Machine) -> None:
    machine.context.environment.python.unlink()


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (change(description=""), ProblemCode.INVALID),
        (change(name="com.example.other"), ProblemCode.WRONG_NAME),
        (change(path="relative/launcher"), ProblemCode.RELATIVE_PATH),
        (change(path="/nowhere/launcher"), ProblemCode.LAUNCHER_MISSING),
        (lambda machine: machine.context.launcher.chmod(0o600), ProblemCode.LAUNCHER_NOT_EXECUTABLE),
        (change(allowed_origins=[]), ProblemCode.NO_EXTENSION),
        (break_interpreter, ProblemCode.INTERPRETER_MISSING),
        (lambda machine: machine.manifest(CHROMIUM).unlink(), ProblemCode.NOT_REGISTERED),
    ],
)
def test_each_fault_is_found_and_comes_with_a_remedy(
    installed: Machine, damage: Callable[[Machine], None], code: ProblemCode
) -> None:
    assert codes(installed) == []
    damage(installed)
    assert codes(installed) == [code]


def test_a_manifest_that_cannot_be_read_is_named(installed: Machine) -> None:
    path = installed.manifest(CHROMIUM)
    path.unlink()
    path.mkdir()
    assert codes(installed) == [ProblemCode.UNREADABLE]


def test_a_browser_that_all_users_share_needs_no_manifest_of_ones_own(
    installed: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = installed.root / "etc"
    shared.mkdir()
    installed.manifest(CHROMIUM).rename(shared / installed.manifest(CHROMIUM).name)
    (row,) = (browser for browser in browsers.table() if browser.name == "chromium")
    seat = replace(row.seats["linux"], system=str(shared))
    monkeypatch.setattr(browsers, "table", lambda: (replace(row, seats={"linux": seat}),))
    assert codes(installed) == []


def test_a_shell_launcher_is_taken_as_it_is() -> None:
    assert list(launcher_problems(Path("/bin/sh"))) == []
