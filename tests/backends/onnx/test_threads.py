"""How many threads a model gets: measured once, remembered, and never at a price that nobody asked for."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime
import psutil
import pytest
from support.browsers.waiting import wait_until
from support.tiny_genai import make_tiny
from support.tiny_transformersjs import make_transformersjs

from backends.base import LoadSpec
from backends.onnx import placement
from backends.onnx.backend import OnnxBackend
from backends.onnx.genai import loader
from backends.onnx.genai.capi import GenaiLibrary
from backends.onnx.interface import EngineError
from backends.onnx.placement import Choice
from backends.onnx.remembered import LARGEST_COUNT, Remembered, weights_key
from backends.onnx.threads import (
    BLOCK,
    BUSY_VALID_S,
    SECONDS,
    STEPS,
    OtherWork,
    physical_cores,
    second_is_faster,
    spinning,
)
from messages.options import LoadOptions

FILE = "onnx-threads.json"
SPIN_NOT = {"session.intra_op.allow_spinning": "0"}


class CpuTimes(NamedTuple):
    """What psutil tells of the whole machine, in seconds."""

    user: float
    system: float


class Clock:
    """A clock that steps move on; it counts them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps: list[str] = []

    def __call__(self) -> float:
        """The time, in seconds."""
        return self.now

    def step(self, name: str, durations: Iterator[float]) -> Callable[[], None]:
        """A step that takes these seconds, one after the other."""

        def run() -> None:
            self.steps.append(name)
            self.now += next(durations)

        return run


def forever(seconds: float) -> Iterator[float]:
    while True:
        yield seconds


def compare(first: Iterator[float], second: Iterator[float]) -> tuple[bool, list[str]]:
    clock = Clock()
    answer = second_is_faster(clock.step("first", first), clock.step("second", second), clock)
    return answer, clock.steps


@pytest.mark.parametrize(("second", "expected"), [(0.008, True), (0.0099, False), (0.01, False), (0.02, False)])
def test_the_second_wins_only_by_more_than_measurements_differ(second: float, expected: bool) -> None:
    assert compare(forever(0.01), forever(second))[0] is expected


def test_each_is_run_once_unmeasured_and_then_in_turns() -> None:
    _, steps = compare(forever(0.001), forever(0.001))
    assert steps[:2] == ["first", "second"]
    assert steps[2:] == (["first"] * BLOCK + ["second"] * BLOCK) * (STEPS // BLOCK)


def test_the_first_steps_of_a_cold_engine_do_not_count() -> None:
    assert compare(forever(0.01), iter([9.0] + [0.008] * STEPS))[0]


def test_one_slow_step_among_others_does_not_decide() -> None:
    assert compare(forever(0.01), iter([0.0] + [0.008] * 9 + [0.3] + [0.008] * STEPS))[0]


def test_slow_models_take_no_longer_than_the_bound_and_a_step() -> None:
    _, steps = compare(forever(0.2), forever(0.3))
    assert steps.count("first") == 1 + 3
    assert steps.count("second") == 1 + 2
    _, steps = compare(forever(SECONDS * 10), forever(SECONDS * 10))
    assert steps == ["first", "second", "first", "second"]


def test_a_process_that_may_use_one_core_gets_one_thread() -> None:
    assert 1 <= physical_cores() <= (psutil.cpu_count() or 1)
    process = psutil.Process()
    before = process.cpu_affinity()
    try:
        process.cpu_affinity([before[0]])
        assert physical_cores() == 1
    finally:
        process.cpu_affinity(before)


@pytest.fixture(params=["genai", "transformersjs"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small model in each layout."""
    folder = tmp_path / "model"
    return make_tiny(folder) if request.param == "genai" else make_transformersjs(folder)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "physical_cores", lambda: 2)


def phases_of_a_load(model: Path, cache_path: Path | None, **options: object) -> list[str]:
    backend, phases = OnnxBackend(), list[str]()
    spec = LoadSpec(model, LoadOptions.model_validate(options), cache_path)
    backend.load(spec, lambda phase, share, message: phases.append(phase))
    backend.close()
    return phases


def test_it_is_measured_once_for_a_model_and_remembered(model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "not" / "there" / "yet"
    assert "threads" in phases_of_a_load(model, cache)
    (found,) = json.loads((cache / FILE).read_text()).values()
    assert found["threads"] in (1, 2)
    assert "threads" not in phases_of_a_load(model, cache)


def test_it_is_measured_again_for_other_weights_or_on_another_machine(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases_of_a_load(model, tmp_path)
    (weights, *_) = (
        sorted(model.rglob("*.onnx_data")) or sorted(model.rglob("*.data")) or sorted(model.rglob("*q4.onnx"))
    )
    os.utime(weights, ns=(1, 1))
    assert "threads" in phases_of_a_load(model, tmp_path)
    monkeypatch.setattr(placement, "physical_cores", lambda: 3)
    assert "threads" in phases_of_a_load(model, tmp_path)
    assert len(json.loads((tmp_path / FILE).read_text())) == 3


def test_each_dtype_is_measured_for_itself(tmp_path: Path) -> None:
    folder = make_transformersjs(tmp_path / "model")
    for dtype in ("q4", "fp32"):
        assert "threads" in phases_of_a_load(folder, tmp_path, dtype=dtype)
        assert "threads" not in phases_of_a_load(folder, tmp_path, dtype=dtype)


def test_a_number_that_is_asked_for_is_not_questioned(model: Path, tmp_path: Path) -> None:
    assert "threads" not in phases_of_a_load(model, tmp_path, threads=2)
    assert not (tmp_path / FILE).exists()


def test_nothing_is_measured_where_nothing_can_be_remembered(model: Path) -> None:
    assert "threads" not in phases_of_a_load(model, None)


def test_nothing_is_measured_on_one_core(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "physical_cores", lambda: 1)
    assert "threads" not in phases_of_a_load(model, tmp_path)


def test_nothing_is_measured_where_a_second_copy_has_no_room(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "MARGIN_BYTES", 2**60)
    assert "threads" not in phases_of_a_load(model, tmp_path)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("faster", [True, False])
def test_the_faster_of_the_two_is_kept_and_the_other_is_freed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster: bool
) -> None:
    monkeypatch.setattr(placement, "second_is_faster", lambda first, second: faster)
    phases_of_a_load(model, tmp_path)
    (found,) = json.loads((tmp_path / FILE).read_text()).values()
    assert found["threads"] == (1 if faster else 2)


def test_what_was_measured_on_a_busy_machine_is_measured_again_after_a_day(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OtherWork, "cores", 1.0)
    phases_of_a_load(tiny_folder, tmp_path)
    assert "threads" not in phases_of_a_load(tiny_folder, tmp_path)
    tomorrow = time.time() + BUSY_VALID_S
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    monkeypatch.setattr(OtherWork, "cores", 0.0)
    assert "threads" in phases_of_a_load(tiny_folder, tmp_path)
    monkeypatch.setattr(time, "time", lambda: tomorrow * 2)
    assert "threads" not in phases_of_a_load(tiny_folder, tmp_path)


def test_the_work_of_other_processes_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        work = OtherWork()
        try:
            wait_until("its work", lambda: work.cores > 0.1)
        finally:
            busy.kill()


def test_our_own_work_is_not_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_times", lambda: CpuTimes(user=5.0 + time.process_time(), system=1.0))
    work = OtherWork()
    begin = time.process_time()
    while time.process_time() - begin < 0.05:
        sum(range(1000))
    assert work.cores < 0.01


def test_a_second_copy_that_cannot_be_loaded_costs_nothing(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = loader._start

    def start_once(library: object, folder: object, context: object, adapter: object, choice: Choice) -> object:
        if choice.threads == 1:
            raise EngineError("no memory")
        return start(library, folder, context, adapter, choice)  # type: ignore[arg-type]

    monkeypatch.setattr(loader, "_start", start_once)
    assert "ready" in phases_of_a_load(tiny_folder, tmp_path)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"x": NaN}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_is_measured_anew_and_mended(model: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert "threads" in phases_of_a_load(model, tmp_path)
    assert "threads" not in phases_of_a_load(model, tmp_path)


@pytest.mark.parametrize("value", ["many", 0, -1, 99, None, True, [2], 1.5])
def test_a_remembered_number_that_makes_no_sense_is_measured_anew(
    tmp_path: Path, value: object, tiny_folder: Path
) -> None:
    phases_of_a_load(tiny_folder, tmp_path)
    (key,) = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({key: {"threads": value, "until": None}}))
    assert "threads" in phases_of_a_load(tiny_folder, tmp_path)


def test_a_folder_that_cannot_be_written_costs_a_measurement_and_no_error(model: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_bytes(b"")
    for _ in range(2):
        assert "threads" in phases_of_a_load(model, blocked)


def test_facts_outlive_the_object_and_the_oldest_go_first(tmp_path: Path) -> None:
    for number in range(LARGEST_COUNT + 1):
        Remembered(tmp_path, "facts").put(str(number), number)
    later = Remembered(tmp_path, "facts")
    assert (later.get("0"), later.get("1"), later.get(str(LARGEST_COUNT))) == (None, 1, LARGEST_COUNT)
    assert [file.name for file in tmp_path.iterdir()] == ["facts.json"]


def test_without_a_folder_nothing_is_remembered() -> None:
    nothing = Remembered(None, "facts")
    nothing.put("a", 1)
    assert (nothing.lasting, nothing.get("a")) == (False, None)


def test_the_key_knows_external_data_and_circumstances(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "model")
    graph = folder / "model.onnx"
    keys = [weights_key([graph], "q4"), weights_key([graph], "fp32")]
    os.utime(next(folder.glob("*.data")), ns=(1, 1))
    keys.append(weights_key([graph], "q4"))
    assert len(set(keys)) == 3
    assert weights_key([graph], "q4") == keys[-1]


def test_threads_spin_only_where_each_has_a_core() -> None:
    assert spinning(physical_cores()) == {}
    assert spinning(100_000) == SPIN_NOT


def _load_with(threads: int, folder: Path) -> None:
    backend = OnnxBackend()
    backend.load(LoadSpec(folder, LoadOptions(threads=threads)), lambda *_: None)
    backend.close()


@pytest.mark.parametrize(("threads", "entries"), [(2, {}), (8, SPIN_NOT)])
def test_genai_is_told_whether_threads_spin(
    threads: int, entries: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.onnx.threads._logical_cores", lambda: 2)
    overlays: list[str] = []
    call = GenaiLibrary.call

    def watched(library: GenaiLibrary, name: str, *arguments: Any) -> None:
        if name == "OgaConfigOverlay":
            overlays.append(arguments[1].decode())
        call(library, name, *arguments)

    monkeypatch.setattr(GenaiLibrary, "call", watched)
    _load_with(threads, make_tiny(tmp_path / "model"))
    told = {"intra_op_num_threads": threads, **entries}
    assert overlays
    assert all(json.loads(one) == {"model": {"decoder": {"session_options": told}}} for one in overlays)


@pytest.mark.parametrize(("threads", "entries"), [(2, {}), (8, SPIN_NOT)])
def test_onnxruntime_is_told_whether_threads_spin(
    threads: int, entries: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.onnx.threads._logical_cores", lambda: 2)
    told: list[tuple[str, str]] = []

    class Watched(onnxruntime.SessionOptions):  # type: ignore[misc]
        def add_session_config_entry(self, name: str, value: str) -> None:
            told.append((name, value))
            super().add_session_config_entry(name, value)

    monkeypatch.setattr(onnxruntime, "SessionOptions", Watched)
    _load_with(threads, make_transformersjs(tmp_path / "model"))
    assert {entry for entry in told if "spinning" in entry[0]} == set(entries.items())
