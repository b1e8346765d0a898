"""Cancelling: within one step of decoding, and in the middle of a prompt."""

import threading
import time
from pathlib import Path

import pytest
from support.generations import Answer, Make, ask, request, user
from support.tiny_gguf import write_tiny

from backends.base import CancelToken, GenerationEnd, Prefill, TokenChunk
from backends.llamacpp.backend import LlamaCppBackend
from messages.facts import FinishReason


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose prompt of 2,000 tokens takes some tenths of a second."""
    path = tmp_path_factory.mktemp("gguf") / "slow.gguf"
    return write_tiny(path, width=512, layers=6, heads=8, kv_heads=8, feed_forward=1024)


def test_no_token_follows_a_cancel_in_the_decode(backend: LlamaCppBackend) -> None:
    cancel, seen = CancelToken(), []
    for event in backend.generate(request([user("hello")], max_tokens=500), cancel):
        seen.append(event)
        if sum(isinstance(one, TokenChunk) for one in seen) == 7:
            cancel.cancel()
    answer = Answer(seen)
    assert answer.end.finish_reason is FinishReason.CANCELLED
    assert answer.end.output_tokens == 7


def test_a_cancel_before_the_first_step_ends_with_nothing(backend: LlamaCppBackend) -> None:
    cancel = CancelToken()
    cancel.cancel()
    answer = ask(backend, [user("hello")], cancel=cancel)
    assert answer.end == GenerationEnd(FinishReason.CANCELLED, answer.end.input_tokens, 0, 0)
    assert answer.text == ""


def test_a_cancel_in_the_prefill_stops_within_the_batch(make: Make, slow_model: Path) -> None:
    backend = make(slow_model, threads=1)
    prompt = "x y z " * 330
    started = time.monotonic()
    expected = ask(backend, prompt, max_tokens=5)
    whole = time.monotonic() - started
    backend = make(slow_model, threads=1)
    cancel = CancelToken()
    stopped_at: list[float] = []
    cancel.on_cancel(lambda: stopped_at.append(time.monotonic()))
    timer = threading.Timer(whole / 3, cancel.cancel)
    timer.start()
    answer = Answer(list(backend.generate(request(prompt), cancel)))
    delay = time.monotonic() - stopped_at[0]
    timer.join()
    assert answer.end.finish_reason is FinishReason.CANCELLED
    assert answer.end.output_tokens == 0
    assert answer.prefills[-1].done < answer.end.input_tokens
    assert delay < whole / 4
    assert backend.get_state().kv_tokens == answer.prefills[-1].done
    again = ask(backend, prompt, max_tokens=5)
    assert again.end.cached_tokens == answer.prefills[-1].done
    assert again.text == expected.text


def test_a_cancel_that_comes_after_the_end_does_not_reach_the_next_generation(backend: LlamaCppBackend) -> None:
    old = CancelToken()
    ask(backend, "hello", cancel=old)
    for event in backend.generate(request("hello again", max_tokens=5), CancelToken()):
        if isinstance(event, Prefill):
            old.cancel()
        last = event
    assert isinstance(last, GenerationEnd)
    assert last.finish_reason is FinishReason.LENGTH
