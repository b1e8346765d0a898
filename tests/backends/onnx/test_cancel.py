"""A cancel from another thread, in the middle of the engine's work."""

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from support.tiny_genai import load, make_tiny, request, run

from backends.base import CancelToken, GenerationEnd, Prefill, TokenChunk
from backends.onnx.backend import OnnxBackend
from messages.facts import FinishReason

PROMPT = "abcdefgh" * 375
"""3000 tokens."""


@pytest.fixture(scope="module", params=[True, False], ids=["shared", "growing"])
def slow_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A model that takes about a second to read `PROMPT`."""
    folder = tmp_path_factory.mktemp("models") / "slow"
    sizes = {"hidden": 256, "intermediate": 1024, "layers": 6, "context": 4096}
    return make_tiny(folder, share_buffer=request.param, **sizes)


@pytest.fixture
def slow(slow_folder: Path) -> Iterator[OnnxBackend]:
    """A loaded backend with the slow model, on one thread."""
    backend = load(slow_folder, threads=1)
    yield backend
    backend.close()


def test_a_cancel_in_prefill_ends_it_before_the_piece_is_done(slow: OnnxBackend, slow_folder: Path) -> None:
    cancel = CancelToken()
    cancelled_at = threading.Event()
    moments: list[float] = []

    def cancel_soon() -> None:
        assert cancelled_at.wait(10)
        moments.append(time.perf_counter())
        cancel.cancel()

    thread = threading.Thread(target=cancel_soon)
    thread.start()
    events = []
    for event in slow.generate(request(PROMPT), cancel):
        events.append(event)
        if isinstance(event, Prefill) and event.done >= 256:
            cancelled_at.set()
    ended = time.perf_counter()
    thread.join(10)
    end = events[-1]
    assert isinstance(end, GenerationEnd)
    assert (end.finish_reason, end.output_tokens) == (FinishReason.CANCELLED, 0)
    assert not any(isinstance(event, Prefill) and event.done == event.total for event in events)
    assert ended - moments[0] < 1.0
    outcome = run(slow, PROMPT[:700], max_tokens=8)
    cold = load(slow_folder, threads=1)
    assert outcome.text == run(cold, PROMPT[:700], max_tokens=8).text
    cold.close()


def test_a_cancel_in_decode_ends_it_within_a_step(slow: OnnxBackend) -> None:
    cancel = CancelToken()
    begun = threading.Event()

    def cancel_once_begun() -> None:
        begun.wait(10)
        cancel.cancel()

    thread = threading.Thread(target=cancel_once_begun)
    thread.start()
    seen_after = 0
    for event in slow.generate(request("Hello", max_tokens=2000), cancel):
        if isinstance(event, TokenChunk):
            seen_after += cancel.cancelled
            begun.set()
    thread.join(10)
    assert isinstance(event, GenerationEnd)
    assert event.finish_reason is FinishReason.CANCELLED
    assert seen_after <= 1


def test_other_threads_run_while_a_prompt_is_read(slow: OnnxBackend) -> None:
    beats: list[float] = []
    done = threading.Event()

    def beat() -> None:
        while not done.wait(0.002):
            beats.append(time.perf_counter())

    thread = threading.Thread(target=beat)
    thread.start()
    run(slow, PROMPT, max_tokens=1)
    done.set()
    thread.join(10)
    gaps = [later - earlier for earlier, later in pairwise(beats)]
    assert sorted(gaps)[len(gaps) // 2] < 0.02


def test_a_cancel_that_comes_after_the_end_does_not_hit_the_next_generation(slow: OnnxBackend) -> None:
    cancel = CancelToken()
    first = run(slow, PROMPT[:300], cancel=cancel, max_tokens=4)
    cancel.cancel()
    assert run(slow, PROMPT[:300], max_tokens=4).text == first.text


def test_a_generation_cancelled_before_it_begins_ends_at_once(slow: OnnxBackend) -> None:
    cancel = CancelToken()
    cancel.cancel()
    end = run(slow, PROMPT, cancel=cancel).end
    assert (end.finish_reason, end.output_tokens) == (FinishReason.CANCELLED, 0)
