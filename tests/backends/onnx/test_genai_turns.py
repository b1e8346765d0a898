"""Turns on genai folders of both kinds of KV cache, cut off anywhere: the next turn is what a fresh start says.

onnxruntime-genai 0.18 gets this wrong by itself where `past_present_share_buffer` is false: tokens appended after a
stop in mid-turn are off by one.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.reference_text import Reference
from support.tiny_genai import load, make_tiny, request, run
from support.turns import (
    LETTERS,
    LONG,
    cancel_in_prefill,
    check_any_order,
    check_next_turn,
    check_rewinds_everywhere,
    check_turn_after_a_stop,
    close_after,
    cut_after,
)

from backends.base import CancelToken, Prefill
from backends.onnx.backend import OnnxBackend
from backends.onnx.genai.engine import Generator
from backends.onnx.interface import EngineError
from messages.errors import ErrorCode, HostError
from messages.options import JsonSchemaFormat, RegexFormat, ResponseFormat

ASKED = [("user", "Tell me of the fox.")]
SCHEMA = JsonSchemaFormat(
    type="json_schema",
    json_schema={
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "maximum": 99}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
)
DATE = RegexFormat(type="regex", regex=r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@pytest.fixture
def reference(folder: Path) -> Reference:
    """The same graph, read anew for every token."""
    return Reference(folder, folder / "model.onnx")


def cold(folder: Path, prompt: str | list[tuple[str, str]], wanted: ResponseFormat) -> str:
    """What a backend that has said nothing yet answers under a constraint."""
    fresh = load(folder)
    try:
        return run(fresh, prompt, wanted, max_tokens=250).text
    finally:
        fresh.close()


@pytest.mark.parametrize("tokens", [1, 2, 7, 40])
def test_a_turn_after_a_stop_in_mid_decode_is_right(backend: OnnxBackend, reference: Reference, tokens: int) -> None:
    cut = cut_after(backend, ASKED, tokens)
    cached = check_next_turn(backend, reference, ASKED, cut.text)
    assert cached >= cut.end.input_tokens + cut.end.output_tokens - 1


@pytest.mark.parametrize("tokens", [1, 2, 7])
def test_a_turn_after_an_answer_that_was_given_up_is_right(
    backend: OnnxBackend, reference: Reference, tokens: int
) -> None:
    text = close_after(backend, ASKED, tokens)
    check_next_turn(backend, reference, ASKED, text)


@pytest.mark.parametrize(
    "settings", [{"max_tokens": 9}, {"stop": ("b", "f", "k", "q"), "max_tokens": 60}], ids=["length", "stop"]
)
def test_a_turn_after_an_answer_cut_by_its_settings_is_right(
    backend: OnnxBackend, reference: Reference, settings: dict[str, Any]
) -> None:
    answer = run(backend, ASKED, LETTERS, **settings)
    check_next_turn(backend, reference, ASKED, answer.text)


def test_many_turns_each_cut_off_stay_right(backend: OnnxBackend, reference: Reference) -> None:
    turns = list(ASKED)
    for tokens in (3, 1, 5, 2, 8):
        cut = cut_after(backend, turns, tokens)
        check_next_turn(backend, reference, turns, cut.text)
        turns += [("assistant", cut.text), ("user", "Go on.")]


@pytest.mark.parametrize("done", [0, 128, 256])
def test_a_turn_after_a_stop_between_two_pieces_of_a_prompt_is_right(
    backend: OnnxBackend, reference: Reference, done: int
) -> None:
    cancel_in_prefill(backend, LONG, done)
    for prompt in (LONG, LONG[:200] + "?", LONG + "And then?"):
        assert run(backend, prompt, max_tokens=8).text == reference.text(prompt, 8)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_turn_after_a_stop_inside_a_piece_of_a_prompt_is_right(
    backend: OnnxBackend, reference: Reference, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    run(backend, LONG[:60])
    cancel, calls, append = CancelToken(), list[int](), Generator.append

    def cancelled(self: Generator, tokens: Sequence[int]) -> None:
        calls.append(len(tokens))
        if len(calls) == call:
            cancel.cancel()
        append(self, tokens)

    monkeypatch.setattr(Generator, "append", cancelled)
    assert run(backend, LONG, cancel=cancel).end.output_tokens == 0
    monkeypatch.undo()
    for prompt in (LONG, LONG[:200] + "?", LONG + "And then?"):
        assert run(backend, prompt, max_tokens=8).text == reference.text(prompt, 8)


@pytest.fixture(scope="module", params=[True, False], ids=["shared", "growing"])
def slow_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A model whose every piece of a prompt takes some milliseconds, so that a cancel can come in the middle."""
    folder = tmp_path_factory.mktemp("models") / "slow"
    return make_tiny(folder, share_buffer=request.param, hidden=256, intermediate=1024, layers=4, context=1024)


@pytest.fixture
def slow(slow_folder: Path) -> Iterator[OnnxBackend]:
    """A loaded backend with the slow model, on one thread."""
    backend = load(slow_folder, threads=1)
    yield backend
    backend.close()


@pytest.mark.parametrize("delay_ms", [1, 3, 6, 10])
def test_a_turn_after_a_stop_while_the_engine_runs_is_right(
    slow: OnnxBackend, slow_folder: Path, delay_ms: int
) -> None:
    check_turn_after_a_stop(slow, Reference(slow_folder, slow_folder / "model.onnx"), delay_ms)


def test_a_prompt_changed_at_any_place_is_answered_as_from_the_start(
    backend: OnnxBackend, reference: Reference
) -> None:
    check_rewinds_everywhere(backend, reference, LONG[:60])


def test_two_turns_that_end_before_anything_is_read_leave_the_next_one_right(
    backend: OnnxBackend, reference: Reference
) -> None:
    run(backend, LONG[:90])
    for length in (60, 30):
        cancel_in_prefill(backend, LONG[:length] + "?", 0)
    assert run(backend, LONG[:30] + "!").text == reference.text(LONG[:30] + "!")


def test_a_cache_that_cannot_be_cut_is_made_anew_and_nothing_of_it_is_told_as_cached(
    backend: OnnxBackend, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Generator, length: int) -> None:
        raise EngineError("this model cannot be rewound")

    run(backend, LONG)
    monkeypatch.setattr(Generator, "rewind", fail)
    outcome = run(backend, LONG[:200] + "?")
    assert (outcome.text, outcome.end.cached_tokens) == (reference.text(LONG[:200] + "?"), 0)


def test_a_turn_after_an_engine_that_failed_in_prefill_is_right(
    backend: OnnxBackend, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, append = list[int](), Generator.append

    def fail_at_the_second(self: Generator, tokens: Sequence[int]) -> None:
        calls.append(len(tokens))
        if len(calls) == 2:
            raise EngineError("the device is gone")
        append(self, tokens)

    monkeypatch.setattr(Generator, "append", fail_at_the_second)
    with pytest.raises(HostError, match="the device is gone") as caught:
        run(backend, LONG)
    assert caught.value.code is ErrorCode.INTERNAL
    monkeypatch.undo()
    outcome = run(backend, LONG)
    assert (outcome.text, outcome.end.cached_tokens) == (reference.text(LONG), 0)


@pytest.mark.parametrize("seed", range(8))
def test_turns_cut_and_changed_in_any_order_stay_right(backend: OnnxBackend, reference: Reference, seed: int) -> None:
    check_any_order(backend, reference, seed)


@pytest.mark.parametrize("tokens", [1, 4, 11])
def test_constraints_hold_in_the_turns_after_one_that_was_cut(backend: OnnxBackend, folder: Path, tokens: int) -> None:
    cancel, chunks = CancelToken(), 0
    for event in backend.generate(request(ASKED, SCHEMA, max_tokens=250), cancel):
        chunks += not isinstance(event, Prefill)
        if chunks == tokens:
            cancel.cancel()
    whole = run(backend, ASKED, SCHEMA, max_tokens=250)
    assert set(json.loads(whole.text)) == {"name", "age"}
    assert whole.text == cold(folder, ASKED, SCHEMA)
    turns = [*ASKED, ("assistant", whole.text), ("user", "When?")]
    dated = run(backend, turns, DATE, max_tokens=60)
    assert re.fullmatch(DATE.regex, dated.text)
    assert dated.text == cold(folder, turns, DATE)
    assert dated.end.cached_tokens > 0
    turns += [("assistant", dated.text), ("user", "Who?")]
    assert run(backend, turns, SCHEMA, max_tokens=250).text == cold(folder, turns, SCHEMA)


def test_an_unconstrained_turn_after_a_cut_constrained_one_is_free(backend: OnnxBackend, reference: Reference) -> None:
    cancel = CancelToken()
    for event in backend.generate(request(ASKED, DATE), cancel):
        if not isinstance(event, Prefill):
            cancel.cancel()
    assert run(backend, ASKED, max_tokens=12).text == reference.text(ASKED, 12)
