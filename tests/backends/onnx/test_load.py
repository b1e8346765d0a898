"""Loading: what is told on the way, what the result says, and what is left behind."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.tiny_genai import load, run

from backends.base import LoadSpec
from backends.onnx.backend import OnnxBackend
from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import BackendType
from messages.options import LoadOptions
from native_host.runtime import source_root

COUNT_THREADS = """
import os, sys
from pathlib import Path
from backends.base import LoadSpec
from backends.onnx.backend import OnnxBackend
from messages.options import LoadOptions
backend = OnnxBackend()
before = len(os.listdir("/proc/self/task"))
backend.load(LoadSpec(Path(sys.argv[1]), LoadOptions(threads=int(sys.argv[2]))), lambda *report: None)
print(len(os.listdir("/proc/self/task")) - before)
"""


def test_loading_tells_its_phases_and_what_was_loaded(tiny_folder: Path) -> None:
    phases: list[tuple[str, float | None]] = []
    backend = OnnxBackend()
    info = backend.load(LoadSpec(tiny_folder, LoadOptions()), lambda phase, share, text: phases.append((phase, share)))
    assert [phase for phase, _ in phases] == ["reading", "loading", "tokenizer", "ready"]
    assert phases[-1] == ("ready", 1.0)
    assert (info.backend_type, info.device, info.context_length) == (BackendType.ONNX_CPU, "cpu", 512)
    assert info.capabilities.json_schema
    assert backend.get_state().kv_tokens == 0
    backend.close()


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc, which only Linux has")
def test_the_threads_option_sets_how_many_the_engine_starts(tiny_folder: Path) -> None:
    counts = []
    for threads in (1, 4):
        command = [sys.executable, "-c", COUNT_THREADS, str(tiny_folder), str(threads)]
        environment = {**os.environ, "PYTHONPATH": source_root()}
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=environment)
        counts.append(int(done.stdout.split()[-1]))
    assert counts[1] - counts[0] == 3


def test_parallel_generations_are_unsupported(tiny_folder: Path) -> None:
    with pytest.raises(HostError) as caught:
        load(tiny_folder, parallel=2)
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION


def test_a_genai_folder_has_no_dtypes_to_choose_from(tiny_folder: Path) -> None:
    with pytest.raises(HostError) as caught:
        load(tiny_folder, dtype="q4")
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION
    load(tiny_folder, dtype="auto").close()


def test_nothing_runs_without_a_model() -> None:
    backend = OnnxBackend()
    with pytest.raises(HostError) as caught:
        backend.count_tokens(PromptInput(prompt="Hello"))
    assert caught.value.code is ErrorCode.MODEL_NOT_LOADED
    backend.close()


def test_many_generations_and_loads_do_not_grow_the_process(tiny_folder: Path) -> None:
    process = psutil.Process()

    def use(times: int) -> int:
        backend = load(tiny_folder)
        for number in range(times):
            run(backend, f"{number} Hello there", max_tokens=20, temperature=0.7)
        backend.close()
        return int(process.memory_info().rss)

    before = max(use(50) for _ in range(3))
    after = max(use(50) for _ in range(4))
    assert after - before < 8_000_000
