"""Encoder-decoder models (T5's kind) through the backend: the same text as without any cache, and every setting."""

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from support.full_recompute import FullRecompute
from support.tiny_genai import load, request, run
from support.tiny_t5 import T5Graphs, make_t5

from backends.base import CancelToken, GenerationEnd, Prefill, TokenChunk
from backends.onnx.backend import OnnxBackend
from backends.onnx.interface import EngineError
from backends.onnx.onnx_file import read_header
from backends.onnx.session import Session
from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import FinishReason
from messages.options import JsonSchemaFormat, RegexFormat

PROMPTS = ["Hello there, world", "translate English to German: The house is wonderful.", "ä😀 ~", "x" * 200, "?"]


@pytest.fixture(scope="module", params=["tiny", "tiny-split"])
def t5_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a merged decoder, and one with two."""
    return make_t5(tmp_path_factory.mktemp("models") / request.param, request.param)


@pytest.fixture(scope="module")
def slow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes about a second to read 2000 tokens."""
    folder = tmp_path_factory.mktemp("models") / "slow"
    return make_t5(folder, hidden=256, wide=1024, layers=6, context=2048)


@pytest.fixture
def t5(t5_folder: Path) -> Iterator[OnnxBackend]:
    """A loaded backend, for each kind of folder."""
    backend = load(t5_folder)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def reference(t5_folder: Path) -> FullRecompute:
    """The same model without any cache."""
    return FullRecompute(t5_folder)


def test_greedy_text_is_that_of_a_decoder_without_a_cache(t5: OnnxBackend, reference: FullRecompute) -> None:
    for prompt in PROMPTS:
        outcome = run(t5, prompt, max_tokens=40)
        assert outcome.text == reference.text(prompt, 40)
        assert outcome.end.output_tokens == len(reference.tokens(reference.tokenizer.encode(prompt).ids, 40))
        assert outcome.end.cached_tokens == 0


def test_quantized_weights_are_chosen_and_run(tmp_path: Path) -> None:
    folder = make_t5(tmp_path, dtypes=("fp32", "q8"))
    backend = load(folder, dtype="q8")
    graphs = T5Graphs(folder, "_quantized")
    source = FullRecompute(folder).tokenizer.encode("Hello").ids
    outcome = run(backend, "Hello")
    assert outcome.text == FullRecompute(folder).decode(graphs.greedy(source, 24))
    backend.close()


def test_states_caches_and_logits_in_half_precision_stay_so(tmp_path: Path) -> None:
    folder = make_t5(tmp_path, "tiny-split")
    for file in (folder / "onnx").glob("*.onnx"):
        onnx.save(convert_float_to_float16(onnx.load(file), keep_io_types=False), file)
    header = read_header(folder / "onnx" / "decoder_with_past_model.onnx")
    assert {header.outputs["logits"].element, header.inputs["past_key_values.0.encoder.key"].element} == {
        TensorProto.FLOAT16
    }
    backend, reference = load(folder), FullRecompute(folder)
    for prompt in PROMPTS[:2]:
        assert run(backend, prompt, max_tokens=8).text == reference.text(prompt, 8)
    backend.close()


def test_inputs_that_only_some_exports_have_are_filled(t5_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(t5_folder, tmp_path / "more"))
    for file in (folder / "onnx").glob("decoder*.onnx"):
        model = onnx.load(file)
        more: dict[str, tuple[int, list[str | int]]] = {
            "decoder_attention_mask": (TensorProto.INT64, ["batch_size", "total"])
        }
        if "encoder_hidden_states" not in {value.name for value in model.graph.input}:
            more["encoder_hidden_states"] = (TensorProto.FLOAT, ["batch_size", "encoder_sequence_length", 64])
        values = [helper.make_tensor_value_info(name, *kind) for name, kind in more.items()]
        model.graph.input.extend(values)
        onnx.save(model, file)
    backend = load(folder)
    assert run(backend, "Hello").text == FullRecompute(t5_folder).text("Hello")
    backend.close()


def test_another_prompt_is_answered_as_if_it_were_the_first(t5: OnnxBackend, reference: FullRecompute) -> None:
    for prompt in ("Hello there", "Hello there!", "Hello", "Hello there"):
        assert run(t5, prompt).text == reference.text(prompt)


def test_the_same_prompt_is_not_read_again(t5: OnnxBackend) -> None:
    first = run(t5, "Hello there")
    second = run(t5, "Hello there")
    assert first.end.cached_tokens == 0
    assert [(step.done, step.cached) for step in first.prefills] == [(0, 0), (first.end.input_tokens, 0)]
    assert [(step.done, step.cached) for step in second.prefills] == [(first.end.input_tokens, first.end.input_tokens)]
    assert second.end.cached_tokens == second.end.input_tokens
    assert second.text == first.text
    assert run(t5, "Hello there", temperature=1.0, seed=3).text == run(t5, "Hello there", temperature=1.0, seed=3).text


def test_the_end_token_ends_an_answer(tmp_path: Path) -> None:
    folder = make_t5(tmp_path)
    tokens = FullRecompute(folder).tokens(FullRecompute(folder).tokenizer.encode("Hello").ids, 24)
    place = next(place for place, token in enumerate(tokens) if token not in tokens[:place] and place > 2)
    for name in ("config.json", "generation_config.json"):
        (folder / name).write_text(
            json.dumps({**json.loads((folder / name).read_text()), "eos_token_id": tokens[place]})
        )
    backend = load(folder)
    end = run(backend, "Hello").end
    assert (end.finish_reason, end.output_tokens) == (FinishReason.STOP, place)
    backend.close()


def test_prompt_and_answer_each_have_the_whole_context(t5: OnnxBackend) -> None:
    end = run(
        t5,
        "x" * 511,
        max_tokens=2000,
    ).end
    assert (end.input_tokens, end.output_tokens, end.finish_reason) == (512, 512, FinishReason.LENGTH)
    with pytest.raises(HostError) as caught:
        run(t5, "x" * 512)
    assert caught.value.code is ErrorCode.CONTEXT_OVERFLOW
    assert caught.value.details == {"prompt_tokens": 513, "context_length": 512, "most_prompt_tokens": 512}


def test_penalties_look_at_the_answer_and_not_at_the_prompt(t5: OnnxBackend, reference: FullRecompute) -> None:
    told_apart = 0
    for prompt in PROMPTS:
        tokens = reference.tokenizer.encode(prompt).ids
        wanted = reference.text(prompt, presence_penalty=2.0)
        assert run(t5, prompt, presence_penalty=2.0).text == wanted
        told_apart += wanted != reference.text(prompt, presence_penalty=2.0, penalised=tokens)
    assert told_apart


def test_constraints_hold(t5: OnnxBackend) -> None:
    pattern = r"[A-Z]{2}-\d{3}(yes|no)"
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    for seed in range(3):
        outcome = run(t5, "Hello", RegexFormat(type="regex", regex=pattern), temperature=1.0, seed=seed)
        assert re.fullmatch(pattern, outcome.text)
        wanted = JsonSchemaFormat(type="json_schema", json_schema={**schema, "additionalProperties": False})
        outcome = run(t5, "Hello", wanted, temperature=1.0, seed=seed, max_tokens=200)
        if outcome.end.finish_reason is FinishReason.STOP:
            assert isinstance(json.loads(outcome.text)["age"], int)


def test_a_stop_string_ends_the_text_before_it(t5: OnnxBackend) -> None:
    free = run(t5, "Hello there, world", max_tokens=60).text
    stopped = run(t5, "Hello there, world", max_tokens=60, stop=(free[3:5],))
    assert stopped.text == free[: free.index(free[3:5])]
    assert stopped.end.finish_reason is FinishReason.STOP


def test_seeds_repeat_and_differ(t5: OnnxBackend) -> None:
    texts = [run(t5, "Hello", temperature=1.0, seed=seed).text for seed in (1, 2, 1)]
    assert texts[0] == texts[2] != texts[1]


@pytest.mark.parametrize("after", [0, 1, 2, 10])
def test_a_cancelled_generation_leaves_the_next_one_right(
    t5: OnnxBackend, reference: FullRecompute, after: int
) -> None:
    cancel = CancelToken()
    events = []
    for event in t5.generate(request("Hello there"), cancel):
        events.append(event)
        if len(events) == after + 1:
            cancel.cancel()
    end = events[-1]
    assert isinstance(end, GenerationEnd)
    assert end.finish_reason is FinishReason.CANCELLED
    assert len([event for event in events if isinstance(event, TokenChunk)]) == end.output_tokens == max(0, after - 1)
    assert run(t5, "Hello there").text == reference.text("Hello there")


def test_a_generation_closed_early_leaves_the_next_one_right(t5: OnnxBackend, reference: FullRecompute) -> None:
    for after in (1, 2, 5):
        events = iter(t5.generate(request("Hello there"), CancelToken()))
        for _ in range(after):
            next(events)
        del events
        assert run(t5, "Hello there").text == reference.text("Hello there")


def test_a_cancel_ends_the_encoder_in_mid_run(slow_folder: Path) -> None:
    backend = load(slow_folder, threads=1)
    began = time.perf_counter()
    run(backend, "a" * 2000, max_tokens=1)
    whole = time.perf_counter() - began
    cancel = CancelToken()
    events = []
    for event in backend.generate(request("b" * 2000), cancel):
        events.append(event)
        if isinstance(event, Prefill):
            began = time.perf_counter()
            threading.Timer(whole / 10, cancel.cancel).start()
    assert time.perf_counter() - began < whole / 2
    end = events[-1]
    assert isinstance(end, GenerationEnd)
    assert (len(events), end.finish_reason) == (2, FinishReason.CANCELLED)
    assert run(backend, "Hello", max_tokens=4).text == FullRecompute(slow_folder).text("Hello", 4)
    backend.close()


def test_an_engine_that_fails_in_mid_answer_leaves_the_next_one_right(
    t5: OnnxBackend, reference: FullRecompute, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = Session.run
    for place in (1, 2, 5):
        calls: list[Any] = []

        def fail(self: Session, binding: Any, place: int = place, calls: list[Any] = calls) -> None:
            calls.append(binding)
            if len(calls) == place:
                raise EngineError("std::bad_alloc")
            ran(self, binding)

        monkeypatch.setattr(Session, "run", fail)
        with pytest.raises(HostError) as caught:
            run(t5, f"Hello {place}")
        monkeypatch.undo()
        assert caught.value.code is ErrorCode.OUT_OF_MEMORY
        assert t5.get_state().kv_tokens == 0
        assert run(t5, f"Hello {place}").text == reference.text(f"Hello {place}")


def test_tokens_are_counted_with_the_tokenizer_s_own_end(t5: OnnxBackend) -> None:
    assert t5.count_tokens(PromptInput(prompt="Hello")) == 5
    end = run(t5, "Hello", max_tokens=3).end
    assert end.input_tokens == 5
    assert t5.get_state().kv_tokens == 5 + 1 + 2


def test_an_encoder_decoder_makes_no_embeddings(t5: OnnxBackend) -> None:
    with pytest.raises(HostError) as caught:
        t5.embed(["Hello"], None)
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION


def test_a_forced_first_token_and_barred_ones_are_as_the_folder_says(tmp_path: Path) -> None:
    folder = make_t5(tmp_path)
    file = folder / "generation_config.json"
    barred = FullRecompute(folder).tokens(FullRecompute(folder).tokenizer.encode("Hello").ids)[:4]
    said = {"forced_bos_token_id": 40, "bad_words_ids": [[token] for token in barred] + [[5, 6]]}
    file.write_text(json.dumps({**json.loads(file.read_text()), **said}))
    backend = load(folder)
    for _ in range(2):
        assert run(backend, "Hello").text == FullRecompute(folder).text("Hello", start=(0, 40), barred=barred)
    assert run(backend, "Hello", max_tokens=2000).end.output_tokens == 511
    backend.close()
