"""What engines there are is asked once, each in a process of its own, in bounded time."""

import asyncio
from dataclasses import replace

import pytest

from backends.registry import BACKENDS, BackendRow, row
from messages.replies import BackendListing
from native_host import engines
from native_host.engines import EngineProbes

GHOST = replace(row("echo"), name="ghost", modules=("ghost_engine",), extra="onnx", distribution="ghost-engine")


def listings(*times: EngineProbes) -> list[list[BackendListing]]:
    async def ask() -> list[list[BackendListing]]:
        return [await probes.listings() for probes in times]

    return asyncio.run(ask())


@pytest.fixture
def only_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "BACKENDS", (row("echo"),))


def test_every_row_of_the_registry_is_listed_in_its_order() -> None:
    (told,) = listings(EngineProbes())
    assert [one.backend for one in told] == [one.name for one in BACKENDS]
    for one, expected in zip(told, BACKENDS, strict=True):
        assert one.installed == expected.installed
        assert one.usable == (one.problem is None)
        assert (one.install is None) == (one.usable or expected.extra is None)


@pytest.mark.usefixtures("only_echo")
def test_an_engine_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    really = engines._probe

    async def counting(one: BackendRow) -> object:
        asked.append(one.name)
        return await really(one)

    monkeypatch.setattr(engines, "_probe", counting)
    probes = EngineProbes()
    first, second = listings(probes, probes)
    assert first == second
    assert asked == ["echo"]


@pytest.mark.usefixtures("only_echo")
def test_an_engine_that_did_not_start_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(None, "Broken."), (engines.ProbeAnswer(version="1", devices=["cpu"]), None)]

    async def mended(_: BackendRow) -> object:
        return answers.pop(0)

    monkeypatch.setattr(engines, "_probe", mended)
    probes = EngineProbes()
    ((before,), (after,), (later,)) = listings(probes, probes, probes)
    assert (before.usable, before.problem) == (False, "Broken.")
    assert (after.usable, after.problem) == (True, None)
    assert later == after


def test_an_engine_that_is_not_installed_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "BACKENDS", (GHOST,))
    ((told,),) = listings(EngineProbes())
    assert (told.installed, told.usable, told.version) == (False, False, None)
    assert told.problem is not None
    assert told.install is not None
    assert told.install in told.problem


def test_an_engine_for_other_systems_is_listed_without_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "BACKENDS", (replace(row("echo"), extra="onnx", platforms=("darwin",)),))
    ((told,),) = listings(EngineProbes())
    assert (told.usable, told.install) == (False, None)
    assert told.problem == "The echo engine runs on macOS alone; choose a model of another format."


@pytest.mark.usefixtures("only_echo")
def test_an_engine_that_does_not_answer_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "PROBE_TIMEOUT_S", 0.001)
    ((told,),) = listings(EngineProbes())
    assert (told.installed, told.usable) == (True, False)
    assert told.problem == "The echo engine did not start within 0 s."


def test_an_engine_that_fails_is_listed_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "BACKENDS", (replace(row("echo"), name="ghost"),))
    ((told,),) = listings(EngineProbes())
    assert (told.installed, told.usable) == (True, False)
    assert told.problem is not None
    assert "There is no backend 'ghost'" in told.problem


@pytest.mark.usefixtures("only_echo")
def test_whoever_asks_beside_or_after_one_who_is_gone_starts_no_engine_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    begun = asyncio.Event()
    really = engines._probe

    async def counting(one: BackendRow) -> object:
        asked.append(one.name)
        begun.set()
        return await really(one)

    monkeypatch.setattr(engines, "_probe", counting)
    probes = EngineProbes()

    async def ask() -> list[list[BackendListing]]:
        gone = asyncio.create_task(probes.listings())
        await begun.wait()
        gone.cancel()
        return list(await asyncio.gather(probes.listings(), probes.listings()))

    first, second = asyncio.run(ask())
    assert first == second
    assert [one.usable for one in first] == [True]
    assert asked == ["echo"]
