"""Cancelling: within one step of decoding, and in the middle of a prompt."""

import threading
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


def _cancel_in_the_batch_after(backend: LlamaCppBackend, prompt: str, done: int) -> Answer:
    """Cancel 5 ms after `done` tokens of the prompt are read, while the engine is busy with the next batch."""
    cancel, seen = CancelToken(), []
    timer = threading.Timer(0.005, cancel.cancel)
    for event in backend.generate(request(prompt), cancel):
        seen.append(event)
        if isinstance(event, Prefill) and event.done == done:
            timer.start()
    timer.join()
    return Answer(seen)


@pytest.mark.parametrize("done", [0, 256])
def test_a_cancel_in_the_prefill_stops_within_the_batch(make: Make, slow_model: Path, done: int) -> None:
    prompt = "x y z " * 330
    backend = make(slow_model, threads=1)
    answer = _cancel_in_the_batch_after(backend, prompt, done)
    assert answer.end.finish_reason is FinishReason.CANCELLED
    assert answer.end.output_tokens == 0
    assert answer.prefills[-1].done == backend.get_state().kv_tokens == done
    assert answer.end.input_tokens > 1500
    again = ask(backend, prompt, max_tokens=5)
    assert again.end.cached_tokens == done
    assert again.text == ask(make(slow_model, threads=1), prompt, max_tokens=5).text


def test_a_cancel_that_comes_after_the_end_does_not_reach_the_next_generation(backend: LlamaCppBackend) -> None:
    old = CancelToken()
    ask(backend, "hello", cancel=old)
    for event in backend.generate(request("hello again", max_tokens=5), CancelToken()):
        if isinstance(event, Prefill):
            old.cancel()
        last = event
    assert isinstance(last, GenerationEnd)
    assert last.finish_reason is FinishReason.LENGTH
