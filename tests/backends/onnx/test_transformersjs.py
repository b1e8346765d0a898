"""Decoders in Transformers.js' layout in every form: the text is that of the bare graph, whatever the cache does."""

import json
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.reference_text import ROUNDING, Reference
from support.tiny_genai import load, make_tiny, request, run
from support.tiny_transformersjs import make_transformersjs
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

from backends.base import CancelToken, GenerationEnd, LoadSpec, TokenChunk
from backends.onnx.backend import OnnxBackend
from backends.onnx.transformersjs.decoder import OrtGenerator
from messages.facts import BackendType, FinishReason
from messages.options import JsonSchemaFormat, LoadOptions, RegexFormat
from tools.model_files import SUFFIXES

PROMPTS = ["Hello there", "the the the", "ünï 😀 \n\t", "a", LONG]
EIGHT_BIT = ("int8", "uint8", "q8")
ASKED = [("user", "Tell me of the fox.")]


@dataclass(frozen=True, slots=True)
class Form:
    """One way of exporting a decoder."""

    dtype: str = "fp32"
    preset: str = "tiny"
    changes: tuple[tuple[str, Any], ...] = ()


FORMS = {
    "concat": Form(),
    "without position_ids": Form(changes=(("position_ids", False),)),
    "with num_logits_to_keep": Form(changes=(("num_logits_to_keep", True),)),
    "external data": Form(changes=(("external_data", True),)),
    "merged": Form(preset="tiny-merged"),
    "merged without position_ids": Form(preset="tiny-merged", changes=(("position_ids", False),)),
    "merged q4": Form("q4", "tiny-merged"),
    "merged fp16": Form("fp16", "tiny-merged"),
    "merged q4f16": Form("q4f16", "tiny-merged"),
    "gqa": Form(preset="tiny-gqa"),
    "gqa with position_ids": Form(preset="tiny-gqa", changes=(("position_ids", True),)),
    "gqa with num_logits_to_keep": Form(preset="tiny-gqa", changes=(("num_logits_to_keep", True),)),
    "gqa q4": Form("q4", "tiny-gqa"),
    "gqa fp16": Form("fp16", "tiny-gqa"),
    "gqa q4f16": Form("q4f16", "tiny-gqa"),
    "fp16 with fp32 caches": Form("fp16", changes=(("half_io", False),)),
    "q4 external data": Form("q4", changes=(("external_data", True),)),
    **{dtype: Form(dtype) for dtype in SUFFIXES if dtype != "fp32"},
}
TURN_FORMS = ["concat", "merged", "gqa", "with num_logits_to_keep", "fp16", "gqa q4f16", "merged q4"]
"""Each way of keeping a cache, for what takes longer."""


@dataclass(frozen=True, slots=True)
class Model:
    """A folder, and its graph run bare."""

    folder: Path
    reference: Reference
    in_steps: bool

    def text(self, prompt: str | Sequence[tuple[str, str]], count: int = 24) -> str:
        """The greedy text of the bare graph."""
        return self.reference.text(prompt, count, self.in_steps)

    def text_near(self, told: str, prompt: str) -> str:
        """The same, or `told` if that is as good but for rounding; 8-bit files are to give the very same."""
        return self.text(prompt) if self.in_steps else self.reference.text_near(told, prompt)


class Models:
    """Makes each form's folder once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: dict[str, Model] = {}

    def get(self, name: str) -> Model:
        """The model of a form."""
        if name not in self._made:
            form, folder = FORMS[name], self._root / name.replace(" ", "-")
            make_transformersjs(folder, form.preset, **{"dtypes": (form.dtype,), **dict(form.changes)})
            (graph,) = (folder / "onnx").glob("*.onnx")
            rounding = ROUNDING if form.dtype == "q4f16" else 0.0
            self._made[name] = Model(folder, Reference(folder, graph, rounding=rounding), form.dtype in EIGHT_BIT)
        return self._made[name]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("forms"))


@pytest.fixture(params=FORMS)
def any_model(request: pytest.FixtureRequest, models: Models) -> Model:
    """Each form."""
    return models.get(request.param)


@pytest.fixture(params=TURN_FORMS)
def model(request: pytest.FixtureRequest, models: Models) -> Model:
    """Each way of keeping a cache."""
    return models.get(request.param)


@pytest.fixture
def backend(model: Model) -> Iterator[OnnxBackend]:
    """A loaded backend for each way of keeping a cache."""
    loaded = load(model.folder)
    yield loaded
    loaded.close()


@pytest.fixture
def concat(models: Models) -> Iterator[OnnxBackend]:
    """A loaded backend where the form does not matter."""
    loaded = load(models.get("concat").folder)
    yield loaded
    loaded.close()


def test_greedy_text_is_that_of_the_bare_graph(any_model: Model) -> None:
    backend = load(any_model.folder)
    for prompt in PROMPTS:
        told = run(backend, prompt, max_tokens=24).text
        assert told == any_model.text_near(told, prompt)
    backend.close()


def test_a_second_turn_decodes_only_what_is_new_and_says_the_same(any_model: Model) -> None:
    backend = load(any_model.folder)
    answer = run(backend, ASKED, LETTERS, max_tokens=30)
    turns = [*ASKED, ("assistant", answer.text), ("user", "And then?")]
    following = run(backend, turns, max_tokens=12)
    assert following.end.cached_tokens >= answer.end.input_tokens + answer.end.output_tokens - 1
    assert following.end.input_tokens - following.end.cached_tokens < 40
    if not any_model.in_steps:
        assert following.text == any_model.text(turns, 12)
    backend.close()


@pytest.mark.parametrize("form", ["concat", "gqa", "merged"])
def test_the_text_is_that_of_the_genai_folder_with_the_same_weights(models: Models, tmp_path: Path, form: str) -> None:
    genai, ours = load(make_tiny(tmp_path / "genai")), load(models.get(form).folder)
    for prompt in PROMPTS:
        assert run(ours, prompt, max_tokens=40).text == run(genai, prompt, max_tokens=40).text
    genai.close()
    ours.close()


@pytest.mark.parametrize("dtype", SUFFIXES)
def test_the_dtype_that_was_asked_for_is_the_one_that_runs(tmp_path: Path, dtype: str) -> None:
    folder = make_transformersjs(tmp_path / "all", dtypes=tuple(SUFFIXES))
    backend = OnnxBackend()
    info = backend.load(LoadSpec(folder, LoadOptions.model_validate({"dtype": dtype})), lambda *report: None)
    assert (info.dtype, info.backend_type, info.device) == (dtype, BackendType.ONNX_CPU, "cpu")
    reference = Reference(folder, folder / "onnx" / f"model{SUFFIXES[dtype]}.onnx")
    assert run(backend, "Hello").text == reference.text("Hello", in_steps=True)
    backend.close()


def test_a_prompt_changed_at_any_place_is_answered_as_from_the_start(backend: OnnxBackend, model: Model) -> None:
    check_rewinds_everywhere(backend, model.reference, LONG[:40])


@pytest.mark.parametrize("seed", range(3))
def test_turns_cut_and_changed_in_any_order_stay_right(backend: OnnxBackend, model: Model, seed: int) -> None:
    check_any_order(backend, model.reference, seed)


@pytest.mark.parametrize("form", ["concat", "gqa"])
@pytest.mark.parametrize("seed", range(3))
def test_turns_in_any_order_stay_right_on_the_fast_path(models: Models, form: str, seed: int) -> None:
    backend = load(models.get(form).folder, fast_path=True)
    check_any_order(backend, models.get(form).reference, seed)
    backend.close()


@pytest.mark.parametrize("tokens", [1, 2, 40])
def test_a_turn_after_a_stop_in_mid_decode_is_right(backend: OnnxBackend, model: Model, tokens: int) -> None:
    cut = cut_after(backend, ASKED, tokens)
    cached = check_next_turn(backend, model.reference, ASKED, cut.text)
    assert cached >= cut.end.input_tokens + cut.end.output_tokens - 1
    check_next_turn(backend, model.reference, ASKED, close_after(backend, ASKED, tokens))


@pytest.mark.parametrize("done", [0, 128])
def test_a_turn_after_a_stop_between_two_pieces_of_a_prompt_is_right(
    backend: OnnxBackend, model: Model, done: int
) -> None:
    cancel_in_prefill(backend, LONG, done)
    for prompt in (LONG[:200] + "?", LONG + "And then?"):
        assert run(backend, prompt, max_tokens=8).text == model.text(prompt, 8)


@pytest.mark.parametrize("call", [1, 2])
def test_a_turn_after_a_stop_inside_a_piece_of_a_prompt_is_right(
    backend: OnnxBackend, model: Model, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    run(backend, LONG[:60])
    cancel, calls, append = CancelToken(), list[int](), OrtGenerator.append

    def cancelled(self: OrtGenerator, tokens: Sequence[int]) -> None:
        calls.append(len(tokens))
        if len(calls) == call:
            cancel.cancel()
        append(self, tokens)

    monkeypatch.setattr(OrtGenerator, "append", cancelled)
    end = run(backend, LONG, cancel=cancel).end
    monkeypatch.undo()
    assert (end.finish_reason, end.output_tokens, len(calls)) == (FinishReason.CANCELLED, 0, call)
    for prompt in (LONG[:200] + "?", LONG + "And then?"):
        outcome = run(backend, prompt, max_tokens=8)
        assert outcome.text == model.text(prompt, 8)
        assert outcome.end.cached_tokens > 0


@pytest.fixture(scope="module", params=["tiny", "tiny-gqa"])
def slow_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A model whose every piece of a prompt takes some milliseconds, so that a cancel can come in the middle."""
    shape = {"hidden": 256, "intermediate": 1024, "layers": 4, "context": 1024}
    folder = tmp_path_factory.mktemp("models") / "slow"
    return make_transformersjs(folder, request.param, shape=shape, dtypes=("fp32",))


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
    check_turn_after_a_stop(slow, Reference(slow_folder, slow_folder / "onnx" / "model.onnx"), delay_ms)


def test_a_cancel_in_decode_ends_it_within_a_step(slow: OnnxBackend) -> None:
    cancel, begun = CancelToken(), threading.Event()

    def cancel_once_begun() -> None:
        begun.wait(10)
        cancel.cancel()

    thread = threading.Thread(target=cancel_once_begun)
    thread.start()
    seen_after = 0
    for event in slow.generate(request("Hello", LETTERS, max_tokens=900), cancel):
        if isinstance(event, TokenChunk):
            seen_after += cancel.cancelled
            begun.set()
    thread.join(10)
    assert isinstance(event, GenerationEnd)
    assert event.finish_reason is FinishReason.CANCELLED
    assert seen_after <= 1


def test_output_follows_a_schema_and_the_next_is_free(backend: OnnxBackend, model: Model) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer", "maximum": 99}}, "required": ["age"]}
    closed = JsonSchemaFormat(type="json_schema", json_schema={**schema, "additionalProperties": False})
    outcome = run(backend, "Hello", closed, max_tokens=250)
    assert outcome.end.finish_reason is FinishReason.STOP
    assert set(json.loads(outcome.text)) == {"age"}
    assert run(backend, "Hello").text == model.text("Hello")


def test_output_matches_a_regular_expression_whole(backend: OnnxBackend) -> None:
    wanted = RegexFormat(type="regex", regex=r"[A-Z]{2}-\d{3}(yes|no)")
    for seed in range(3):
        assert re.fullmatch(wanted.regex, run(backend, "Hello", wanted, temperature=1.0, seed=seed).text)


def test_a_stop_string_over_several_tokens_is_found_and_not_passed_on(concat: OnnxBackend) -> None:
    digits = RegexFormat(type="regex", regex="1234567890abc")
    outcome = run(concat, "Hello", digits, stop=("678",))
    assert (outcome.text, outcome.end.finish_reason, outcome.end.output_tokens) == ("12345", FinishReason.STOP, 8)
    assert run(concat, "Hello", digits, stop=("0ax",)).text == "1234567890abc"


def test_a_seed_gives_the_same_text_again_and_another_seed_another_text(backend: OnnxBackend) -> None:
    texts = [run(backend, "Hello", temperature=1.0, seed=seed).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_the_same_seed_says_the_same_in_both_layouts(concat: OnnxBackend, tiny: OnnxBackend) -> None:
    settings: dict[str, Any] = {"temperature": 0.8, "top_p": 0.9, "top_k": 30, "repeat_penalty": 1.2, "seed": 11}
    assert run(concat, "Hello", **settings).text == run(tiny, "Hello", **settings).text


def test_characters_of_several_tokens_arrive_whole(concat: OnnxBackend) -> None:
    emoji = RegexFormat(type="regex", regex="😀é漢👨‍👩‍👧")
    chunks = [
        event.text
        for event in concat.generate(request("Hello", emoji, max_tokens=40), CancelToken())
        if isinstance(event, TokenChunk) and event.text
    ]
    assert chunks == ["😀", "é", "漢", "👨", "\u200d", "👩", "\u200d", "👧"]


def test_the_context_s_end_ends_with_length_and_its_last_place_is_right(model: Model) -> None:
    backend = load(model.folder, context_length=40)
    outcome = run(backend, "Hello there", LETTERS, max_tokens=100)
    assert outcome.end.finish_reason is FinishReason.LENGTH
    assert outcome.end.input_tokens + outcome.end.output_tokens == 40
    assert run(backend, "x" * 39, max_tokens=5).text == model.text("x" * 39, 1)
    backend.close()


def test_the_state_tells_the_cached_tokens(backend: OnnxBackend) -> None:
    assert backend.get_state().kv_tokens == 0
    end = run(backend, "Hello there", LETTERS, max_tokens=5).end
    assert backend.get_state().kv_tokens == end.input_tokens + end.output_tokens - 1


@pytest.mark.parametrize(
    "control", ["<|im_start|>", "<|im_end|>", "<|endoftext|>"], ids=["start", "end", "end of text"]
)
def test_a_special_token_in_a_message_is_text(concat: OnnxBackend, control: str) -> None:
    plain = concat.count_tokens(request([("user", "")]).prompt)
    assert concat.count_tokens(request([("user", control)]).prompt) - plain > 1
