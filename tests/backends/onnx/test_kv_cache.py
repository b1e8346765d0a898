"""What is kept from one generation to the next, and that it never shows in the text."""

from collections.abc import Generator as Events
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny_genai import load, request, run

from backends.base import CancelToken, GenerationEnd, TokenChunk
from backends.onnx.backend import OnnxBackend
from backends.onnx.genai.engine import Generator
from backends.onnx.interface import EngineError, Logits
from backends.onnx.kv_cache import KvCache
from messages.errors import ErrorCode, HostError
from messages.facts import FinishReason
from messages.options import RegexFormat

LONG = "The quick brown fox jumps over the lazy dog. " * 8


def cold_text(folder: Path, prompt: str | list[tuple[str, str]], **settings: Any) -> str:
    """What a backend that has said nothing yet answers."""
    fresh = load(folder)
    try:
        return run(fresh, prompt, **settings).text
    finally:
        fresh.close()


def test_the_same_prompt_again_decodes_one_token_and_says_the_same(backend: OnnxBackend) -> None:
    first, second = run(backend, LONG), run(backend, LONG)
    assert (first.end.cached_tokens, second.end.cached_tokens) == (0, first.end.input_tokens - 1)
    assert second.text == first.text
    assert second.prefills[0].done == second.end.cached_tokens


def test_a_longer_prompt_decodes_only_what_is_new(backend: OnnxBackend, folder: Path) -> None:
    first = run(backend, LONG)
    second = run(backend, LONG + "And then?")
    assert second.end.cached_tokens == first.end.input_tokens
    assert second.text == cold_text(folder, LONG + "And then?")


@pytest.mark.parametrize(
    "changed", [LONG[:100] + "X" + LONG[101:], LONG[:50], "Z" + LONG], ids=["middle", "cut", "start"]
)
def test_a_changed_prompt_keeps_the_common_beginning_alone(backend: OnnxBackend, folder: Path, changed: str) -> None:
    run(backend, LONG)
    second = run(backend, changed)
    assert second.end.cached_tokens < second.end.input_tokens
    assert second.text == cold_text(folder, changed)


def test_the_next_turn_of_a_conversation_keeps_the_answer_too(backend: OnnxBackend, folder: Path) -> None:
    turns = [("user", LONG)]
    for _ in range(3):
        answer = run(backend, turns, response_format=RegexFormat(type="regex", regex="[a-z ]{20}"))
        turns = [*turns, ("assistant", answer.text), ("user", "And then?")]
        following = run(backend, turns)
        assert following.end.cached_tokens >= answer.end.input_tokens + answer.end.output_tokens - 1
        assert following.end.input_tokens - following.end.cached_tokens < 40


def test_settings_and_constraints_may_change_and_the_cache_stays(backend: OnnxBackend, folder: Path) -> None:
    tokens = run(backend, LONG).end.input_tokens
    changes: list[dict[str, Any]] = [
        {"temperature": 1.0, "seed": 5},
        {"repeat_penalty": 1.5},
        {"temperature": 0.7, "seed": 1, "min_p": 0.1},
    ]
    for settings in changes:
        outcome = run(backend, LONG, **settings)
        assert outcome.end.cached_tokens == tokens - 1
        assert outcome.text == cold_text(folder, LONG, **settings)
    constrained = run(backend, LONG, response_format=RegexFormat(type="regex", regex="[0-9]{4}"))
    assert (constrained.end.cached_tokens, len(constrained.text)) == (tokens - 1, 4)
    assert run(backend, LONG).text == cold_text(folder, LONG)


@pytest.mark.parametrize("after", [1, 5, 23])
def test_a_generation_closed_early_leaves_the_next_one_right(backend: OnnxBackend, folder: Path, after: int) -> None:
    events = backend.generate(request(LONG), CancelToken())
    assert isinstance(events, Events)
    for _ in range(after):
        next(events)
    events.close()
    assert run(backend, LONG + "?").text == cold_text(folder, LONG + "?")


@pytest.mark.parametrize("after", [0, 1, 3, 10])
def test_a_cancelled_generation_leaves_the_next_one_right(backend: OnnxBackend, folder: Path, after: int) -> None:
    cancel = CancelToken()
    events = []
    for event in backend.generate(request(LONG), cancel):
        events.append(event)
        if len(events) == after + 1:
            cancel.cancel()
    end = events[-1]
    assert isinstance(end, GenerationEnd)
    assert end.finish_reason is FinishReason.CANCELLED
    assert len([event for event in events if isinstance(event, TokenChunk)]) == end.output_tokens
    assert run(backend, LONG).text == cold_text(folder, LONG)


def test_an_engine_that_fails_in_mid_turn_leaves_the_next_one_right(
    backend: OnnxBackend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    appended = Generator.append

    def fail_at_the_third(self: Generator, tokens: list[int]) -> None:
        appended(self, tokens)
        calls.append(len(tokens))
        if len(calls) == 3:
            raise EngineError("std::bad_alloc")

    calls: list[int] = []
    monkeypatch.setattr(Generator, "append", fail_at_the_third)
    with pytest.raises(HostError) as caught:
        run(backend, "Hello")
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY
    monkeypatch.undo()
    outcome = run(backend, "Hello")
    assert (outcome.text, outcome.end.cached_tokens) == (cold_text(folder, "Hello"), 0)


class OneBadToken:
    """A generator whose scores after `bad` tokens are all zeros."""

    def __init__(self, *bad: int) -> None:
        self._bad = bad
        self.tokens: list[int] = []

    def append(self, tokens: Sequence[int]) -> None:
        self.tokens.extend(tokens)

    def logits(self) -> Logits:
        (token,) = self.tokens
        return np.zeros(9, np.float32) if token in self._bad else np.arange(9, dtype=np.float32)

    def rewind(self, length: int) -> None:
        del self.tokens[length:]

    def terminate(self) -> None:
        """Nothing runs."""

    resume = close = terminate


@pytest.mark.parametrize("rewindable", [True, False])
def test_a_tried_token_that_says_nothing_is_no_damage_unless_others_do_too(rewindable: bool) -> None:
    cache = KvCache(lambda: OneBadToken(2, 1), rewindable=rewindable, undoes=True)
    cache.try_out(2)
    assert len(cache) == 0
    damaged = KvCache(lambda: OneBadToken(*range(9)), rewindable=rewindable, undoes=True)
    with pytest.raises(EngineError, match="damaged"):
        damaged.try_out(2)


def test_a_long_prompt_is_read_in_pieces_and_each_is_told(tiny: OnnxBackend) -> None:
    outcome = run(tiny, "x" * 300)
    assert [(step.done, step.total, step.cached) for step in outcome.prefills] == [
        (0, 300, 0),
        (128, 300, 0),
        (256, 300, 0),
        (300, 300, 0),
    ]
