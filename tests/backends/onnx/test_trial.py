"""Devices are told usable by trying them, each where it can do no harm."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from support.printing_provider import make_printing_provider

from backends.onnx import plugins, trial
from backends.onnx.devices import CPU, DEVICES, Device, device_of, named_device
from backends.onnx.session import Session
from backends.onnx.trial import MATRIX_PRODUCT, try_device, usable_devices
from native_host.runtime import source_root

AZURE = device_of("AzureExecutionProvider")


def test_the_model_that_is_tried_is_one_multiplication() -> None:
    square = [4, 4]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, square) for name in "ab"]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "a"], ["b"])], "t", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    assert model.SerializeToString() == MATRIX_PRODUCT
    onnx.checker.check_model(onnx.load_from_string(MATRIX_PRODUCT))


def test_the_cpu_works() -> None:
    assert try_device(CPU).problem is None


def test_a_provider_that_the_build_names_and_that_leaves_all_work_to_the_cpu_is_not_usable() -> None:
    """That is what a build says whose provider has nothing to run on, and what this build's Azure provider does."""
    assert AZURE.provider in onnxruntime.get_available_providers()
    named = Device("azure", "Azure", AZURE.provider, AZURE.backend_type)
    assert "assigned to the default CPU EP" in str(try_device(named).problem)


@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
@pytest.mark.parametrize("device", [one for one in DEVICES if one != CPU], ids=lambda one: one.name)
def test_a_provider_that_the_runtime_does_not_have_is_not_usable(device: Device) -> None:
    assert try_device(device).problem is not None


def test_a_device_that_computes_wrongly_is_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "run_arrays", lambda *_: [np.zeros((4, 4), dtype=np.float32)])
    assert try_device(CPU).problem == "it computes wrongly"


def test_what_is_usable_here_is_what_the_build_names_and_works() -> None:
    assert usable_devices() == ("cpu",)


def test_names_alone_make_nothing_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is tried in a process of its own, where this build's runtime does not have it."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", onnxruntime.get_all_providers)
    monkeypatch.setattr(trial, "find_devices", lambda with_plugins: (CPU, named_device("cuda", DEVICES)))
    assert usable_devices() == ("cpu",)


def test_a_provider_that_crashes_or_is_no_library_loses_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = make_printing_provider(tmp_path)
    monkeypatch.setenv(plugins.VARIABLE, f"crashing={library};ghost={tmp_path / 'ghost.so'};quiet={library}")
    assert usable_devices() == ("cpu",)


def test_a_provider_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "TIMEOUT_S", 0.0)
    assert usable_devices() == ("cpu",)


@pytest.mark.parametrize("written", [b"", b"["])
def test_an_answer_that_was_cut_off_is_none(tmp_path: Path, written: bytes) -> None:
    (tmp_path / "answer").write_bytes(written)
    assert trial._read(tmp_path / "answer") == []
    assert trial._read(tmp_path / "nothing") == []


def test_a_trial_writes_what_works_and_logs_what_does_not(tmp_path: Path) -> None:
    for provider, told in (("CPUExecutionProvider", '["cpu"]'), ("CUDAExecutionProvider", "[]")):
        answer = tmp_path / provider
        command = [sys.executable, "-m", "backends.onnx.trial", provider, str(answer)]
        environment = {**os.environ, "PYTHONPATH": source_root()}
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=environment)
        assert answer.read_text() == told
        assert ("cuda cannot be used" in done.stderr) == (told == "[]")
