"""The fast path of Transformers.js folders: used where it gives the same tokens, and only there."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.tiny_genai import run
from support.tiny_transformersjs import make_transformersjs

from backends.base import LoadSpec, ModelInfo
from backends.onnx.backend import OnnxBackend
from backends.onnx.devices import CPU
from backends.onnx.genai.capi import GenaiLibrary
from backends.onnx.genai.engine import Generator
from backends.onnx.session import Session
from backends.onnx.transformersjs.decoder import OrtGenerator
from backends.onnx.transformersjs.fast_path import agree, make_config, obstacle, open_fast
from backends.onnx.transformersjs.folder import TransformersJsFolder, read_folder
from backends.onnx.transformersjs.graph import DecoderGraph, read_decoder_graph
from messages.options import LoadOptions

USED = "The fast path is used: it gives the same tokens as the plain one."
QUESTION = [("user", "What is in the box?")]


@pytest.fixture(scope="module", params=["concat", "gqa"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each kind of attention."""
    with_positions = request.param == "concat"
    path = tmp_path_factory.mktemp("models") / request.param
    return make_transformersjs(path, attention=request.param, position_ids=with_positions)


def load(folder: Path, cache: Path | None, **options: Any) -> tuple[OnnxBackend, ModelInfo]:
    backend = OnnxBackend()
    wanted = LoadOptions(dtype="fp32", threads=1, **options)
    return backend, backend.load(LoadSpec(folder, wanted, cache), lambda phase, progress, message: None)


def parts(folder: Path) -> tuple[TransformersJsFolder, DecoderGraph]:
    whole = read_folder(folder)
    return whole, read_decoder_graph(whole.graphs[whole.decoder]["fp32"], whole.config)


def remembered(cache: Path) -> list[bool]:
    return list(json.loads((cache / "onnx-fast-path.json").read_text()).values())


def edit_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_it_gives_the_same_text_and_says_that_it_is_used(folder: Path, tmp_path: Path) -> None:
    plain, without = load(folder, tmp_path)
    fast, told = load(folder, tmp_path, fast_path=True)
    assert (without.notes, told.notes) == ((), (USED,))
    for prompt in (QUESTION, [*QUESTION, ("assistant", "Nothing."), ("user", "Are you sure?")]):
        assert run(fast, prompt, max_tokens=60).text == run(plain, prompt, max_tokens=60).text
    plain.close()
    fast.close()


def test_its_next_turn_reads_only_what_is_new(folder: Path) -> None:
    backend, _ = load(folder, None, fast_path=True)
    first = run(backend, QUESTION, max_tokens=12)
    second = run(backend, [*QUESTION, ("assistant", first.text), ("user", "And?")], max_tokens=4)
    assert second.end.cached_tokens >= first.end.input_tokens
    backend.close()


def test_the_comparison_is_made_once_and_its_answer_remembered(folder: Path, tmp_path: Path) -> None:
    load(folder, tmp_path, fast_path=True)[0].close()
    assert remembered(tmp_path) == [True]
    load(folder, tmp_path, fast_path=True)[0].close()
    assert remembered(tmp_path) == [True]


def test_a_form_of_the_graph_that_gave_other_tokens_is_not_used_again(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "onnx-fast-path.json"
    for _ in ("fused", "as it is"):
        load(folder, tmp_path, fast_path=True)[0].close()
        file.write_text(json.dumps(dict.fromkeys(json.loads(file.read_text()), False)))
    backend, told = load(folder, tmp_path, fast_path=True)
    assert told.notes == ("The plain path is used: the fast path was found to give other tokens.",)
    assert run(backend, QUESTION).end.output_tokens == 24
    backend.close()


def test_a_changed_file_is_compared_again(tmp_path: Path) -> None:
    folder, cache = make_transformersjs(tmp_path / "model"), tmp_path / "cache"
    load(folder, cache, fast_path=True)[0].close()
    make_transformersjs(folder, shape={"seed": 1})
    load(folder, cache, fast_path=True)[0].close()
    assert remembered(cache) == [True, True]


def test_two_models_with_other_weights_do_not_agree(folder: Path, tmp_path: Path) -> None:
    same, graph = parts(folder)
    other, other_graph = parts(make_transformersjs(tmp_path / "other", shape={"seed": 1}))
    session, library = Session(graph.file, CPU.placement, 1), GenaiLibrary()
    fast = open_fast(library, same, graph, 128, provider="", threads=1)
    foreign = open_fast(library, other, other_graph, 128, provider="", threads=1)

    def plain() -> OrtGenerator:
        return OrtGenerator(session, graph, 128)

    prompt = list(range(40, 60))
    assert agree(plain, lambda: Generator(fast, max_length=128, vocab_size=graph.vocab_size), prompt)
    assert not agree(plain, lambda: Generator(foreign, max_length=128, vocab_size=graph.vocab_size), prompt)
    fast.close()
    foreign.close()


@pytest.mark.parametrize(
    ("changes", "config", "reason"),
    [
        ({}, {"model_type": "nobody-knows"}, "nobody-knows is not one that it knows"),
        ({"num_logits_to_keep": True}, {}, "the graph wants num_logits_to_keep"),
        ({"merged": True}, {}, "the graph wants use_cache_branch"),
    ],
    ids=["unknown architecture", "num_logits_to_keep", "merged"],
)
def test_what_it_cannot_take_runs_plainly_and_says_why(
    tmp_path: Path, changes: dict[str, Any], config: dict[str, Any], reason: str
) -> None:
    folder = make_transformersjs(tmp_path / "model", **changes)
    edit_config(folder, **config)
    assert obstacle(*parts(folder)) == reason
    backend, told = load(folder, None, fast_path=True)
    assert told.notes == (f"The plain path is used: the fast path cannot take this model ({reason}).",)
    assert run(backend, QUESTION).end.output_tokens == 24
    backend.close()


def test_the_config_written_for_genai_names_what_the_graph_has(folder: Path) -> None:
    whole, graph = parts(folder)
    model = make_config(whole, graph, 256)["model"]
    assert (model["type"], model["vocab_size"], model["context_length"]) == ("llama", 288, 256)
    assert model["eos_token_id"] == [2, 0]
    assert set(model["decoder"]["inputs"]) - {"past_key_names", "past_value_names"} == set(graph.inputs)
