"""Vectors of texts are those of an independent computation, alone and in batches, cut off where the model's end is."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper
from support.tiny_embedder import make_embedder, reference_embedding
from support.tiny_genai import load, request
from tokenizers import Tokenizer

from backends.base import CancelToken
from backends.onnx.backend import OnnxBackend
from backends.onnx.describe import describe
from backends.onnx.transformersjs.embedder import plan_batches, pool
from backends.onnx.transformersjs.sentence import Pooling as Mode
from messages.content import Message, PromptInput
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions
from tools.make_embedder import Pooling

TEXTS = ("A cat", "the raining sun, and 2 dogs", "", "x", "is the model of the rain a dog or a cat?")
TOLERANCE = 1e-5

Vectors = npt.NDArray[np.float64]


def embed(backend: OnnxBackend, texts: Sequence[str], normalize: bool | None = None) -> Vectors:
    return np.array(backend.embed(texts, normalize).vectors)


def edit(file: Path, change: Callable[[Any], Any]) -> None:
    """Read a JSON file, and write what `change` makes of its value."""
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def refusal(folder: Path, **options: Any) -> HostError:
    with pytest.raises(HostError) as caught:
        load(folder, **options)
    return caught.value


@pytest.fixture(scope="module")
def mean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_embedder(tmp_path_factory.mktemp("models") / "mean")


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_each_pooling_gives_the_reference_vector_of_each_text(
    pooling: Pooling, normalize: bool, tmp_path: Path
) -> None:
    folder = make_embedder(tmp_path, pooling=pooling, normalize=normalize)
    found = embed(load(folder), TEXTS)
    for text, vector in zip(TEXTS, found, strict=True):
        assert np.abs(vector - reference_embedding(folder, text, pooling, normalize)).max() < TOLERANCE, text


@pytest.mark.parametrize("changes", [{"token_type_ids": False}, {"sentence_embedding": True}], ids=str)
@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_the_graphs_own_inputs_and_outputs_decide(pooling: Pooling, changes: dict[str, Any], tmp_path: Path) -> None:
    folder = make_embedder(tmp_path, pooling=pooling, **changes)
    found = embed(load(folder), TEXTS)
    for text, vector in zip(TEXTS, found, strict=True):
        assert np.abs(vector - reference_embedding(folder, text, pooling, True)).max() < TOLERANCE, text


def test_many_texts_of_all_lengths_have_the_vectors_that_each_has_alone_in_their_order(mean: Path) -> None:
    backend = load(mean)
    texts = [f"the {'rain ' * (place * 7 % 45)}{place}" for place in range(150)]
    together = embed(backend, texts)
    assert together.shape == (150, 32)
    alone = np.concatenate([embed(backend, [text]) for text in texts])
    assert np.abs(together - alone).max() < TOLERANCE


def test_the_request_decides_about_length_one_before_the_folder_does(tmp_path: Path) -> None:
    for normalize in (True, False):
        folder = make_embedder(tmp_path / str(normalize), normalize=normalize)
        backend = load(folder)
        assert np.allclose(np.linalg.norm(embed(backend, TEXTS, True), axis=1), 1)
        plain = embed(backend, TEXTS, False)
        assert np.abs(plain[1] - reference_embedding(folder, TEXTS[1], "mean", False)).max() < TOLERANCE
        assert np.array_equal(embed(backend, TEXTS), embed(backend, TEXTS, normalize))


def test_a_text_that_is_too_long_is_cut_off_before_its_end_token_and_named(mean: Path) -> None:
    backend = load(mean)
    long = "the cat " * 100
    kept = "the cat " * 23
    made = backend.embed(["a", long, "b", long], None)
    assert made.truncated == (1, 3)
    assert made.input_tokens == 3 + 48 + 3 + 48
    assert np.abs(np.array(made.vectors[1]) - reference_embedding(mean, kept, "mean", True)).max() < TOLERANCE
    assert backend.embed([kept], None).truncated == ()


def test_the_shortest_of_all_limits_holds_and_is_told(mean: Path, tmp_path: Path) -> None:
    def told(folder: Path, **options: Any) -> tuple[int | None, int, tuple[str, ...]]:
        backend = load(folder, **options)
        info = backend._require().info
        return info.context_length, backend.embed(["a " * 200], None).input_tokens, info.notes

    assert told(mean) == (48, 48, ())
    assert told(mean, context_length=16) == (16, 16, ())
    assert told(mean, context_length=64) == (48, 48, ("The model reads 48 tokens of a text; more was asked for.",))
    assert told(make_embedder(tmp_path / "plain", "plain"))[:2] == (64, 64)
    short = make_embedder(tmp_path / "short")
    edit(short / "tokenizer_config.json", lambda config: {**config, "model_max_length": 20})
    assert told(short)[:2] == (20, 20)
    assert refusal(mean, context_length=65).code is ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize("finished", [True, False])
def test_a_tokenizer_that_cuts_and_pads_on_the_left_changes_only_what_is_cut(finished: bool, tmp_path: Path) -> None:
    folder = make_embedder(tmp_path, "lasttoken", sentence_embedding=finished)
    plain = embed(load(folder), TEXTS)
    edit(
        folder / "tokenizer_config.json",
        lambda config: {**config, "padding_side": "left", "truncation_side": "left"},
    )
    backend = load(folder)
    assert np.abs(embed(backend, TEXTS) - plain).max() < TOLERANCE
    cut = np.array(backend.embed(["dog " * 100 + "the cat " * 23], None).vectors[0])
    assert np.abs(cut - embed(backend, ["the cat " * 23])[0]).max() < TOLERANCE


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("mode", Mode)
def test_pooling_finds_the_text_on_either_side_of_the_padding(mode: Mode, left: bool) -> None:
    states = np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)
    mask = np.zeros((3, 6), dtype=np.int64)
    for row, length in enumerate((6, 3, 1)):
        mask[row, slice(6 - length, 6) if left else slice(0, length)] = 1
    found = pool(states, mask, mode)
    for row in range(3):
        text = states[row][mask[row] == 1]
        expected = {Mode.MEAN: text.mean(axis=0), Mode.CLS: text[0], Mode.LAST_TOKEN: text[-1]}[mode]
        assert np.abs(found[row] - expected).max() < 1e-6


def test_batches_keep_to_their_rows_and_tokens_and_have_each_text_once() -> None:
    lengths = [int(length) for length in np.random.default_rng(0).integers(1, 300, 500)] + [5000]
    batches = list(plan_batches(lengths, rows=32, tokens=2048))
    assert sorted(place for batch in batches for place in batch) == list(range(501))
    assert batches[0] == [500]
    assert all(len(batch) <= 32 and len(batch) * lengths[batch[0]] <= 2048 for batch in batches[1:])
    assert max(map(len, batches)) == 32


@pytest.mark.parametrize("dtype", ["fp16", "q4", "q4f16", "int8", "uint8", "q8", "bnb4"])
def test_every_dtype_gives_float_vectors_near_those_of_fp32(dtype: str, tmp_path: Path) -> None:
    folder = make_embedder(tmp_path, dtypes=("fp32", dtype))
    backend = load(folder, dtype=dtype)
    assert backend._require().info.dtype == dtype
    likeness = (embed(backend, TEXTS) * embed(load(folder, dtype="fp32"), TEXTS)).sum(axis=1)
    assert likeness.min() > 0.9


def test_a_model_is_told_by_what_it_can_do_and_refuses_the_other(mean: Path, tiny_folder: Path) -> None:
    backend = load(mean)
    capabilities = backend._require().info.capabilities
    assert (capabilities.embed, capabilities.text) == (True, False)
    with pytest.raises(HostError) as caught:
        list(backend.generate(request("x"), CancelToken()))
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION
    with pytest.raises(HostError) as caught:
        load(tiny_folder).embed(["x"], None)
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION


def test_tokens_are_counted_with_start_and_end_and_before_the_cut(mean: Path) -> None:
    backend = load(mean)
    tokenizer = Tokenizer.from_file(str(mean / "tokenizer.json"))
    for text in (*TEXTS, "the cat " * 100):
        assert backend.count_tokens(PromptInput(prompt=text)) == len(tokenizer.encode(text).ids)
    assert backend.embed(["the cat " * 100], None).truncated == (0,)
    with pytest.raises(HostError) as caught:
        backend.count_tokens(PromptInput(messages=(Message(role="user", content="x"),)))
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION


def test_a_text_without_any_token_is_refused_by_its_place(tmp_path: Path) -> None:
    folder = make_embedder(tmp_path)
    edit(folder / "tokenizer.json", lambda tokenizer: {**tokenizer, "post_processor": None})
    backend = load(folder)
    with pytest.raises(HostError) as caught:
        backend.embed(["a", " "], None)
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    assert caught.value.details["fields"] == ["input[1]: has no tokens"]
    assert embed(backend, ["a"]).shape == (1, 32)


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("tokenizer.json", lambda said: {**said, "model": {**said["model"], "vocab": {"x": 0}}}, "is not a tokenizer"),
        ("tokenizer_config.json", lambda said: {**said, "pad_token": "\ud83d"}, "cannot be read"),
    ],
)
def test_a_tokenizer_that_no_text_would_get_through_is_refused_while_loading(
    tmp_path: Path, name: str, damage: Callable[[Any], Any], reason: str
) -> None:
    folder = make_embedder(tmp_path)
    edit(folder / name, damage)
    error = refusal(folder)
    assert error.code is ErrorCode.MODEL_INVALID
    assert f"{name} {reason}" in error.message


def test_texts_of_megabytes_are_looked_at_as_far_as_the_model_reads(mean: Path) -> None:
    backend = load(mean)
    long = "the cat " * 500_000
    made = backend.embed([long, "a cat", *["the dog " * 30_000] * 20, " " * 4000 + "rain"], None)
    assert made.truncated == (0, *range(2, 23))
    assert made.input_tokens == 48 + 4 + 20 * 48 + 2
    kept = embed(backend, ["the cat " * 23, "a cat"])
    assert np.abs(np.array(made.vectors[:2]) - kept).max() < TOLERANCE


def test_a_folder_tells_what_it_needs_before_it_is_loaded(mean: Path) -> None:
    told, short = describe(mean, LoadOptions()), describe(mean, LoadOptions(context_length=16))
    assert (told.format, told.context_length) == ("Transformers.js folder", 64)
    assert told.size_bytes == load(mean)._require().info.size_bytes
    assert told.needed_bytes is not None
    assert short.needed_bytes is not None
    assert told.needed_bytes > short.needed_bytes > told.size_bytes


def test_options_that_mean_nothing_here_are_refused(mean: Path) -> None:
    error = refusal(mean, lora="/x.onnx_adapter", fast_path=True)
    assert error.code is ErrorCode.UNSUPPORTED_OPTION
    assert error.details["fields"] == ["options.lora", "options.fast_path"]


def test_values_that_are_not_numbers_are_an_error_and_no_vector(tmp_path: Path) -> None:
    folder = write_graph(tmp_path, scale=float("inf"))
    error = refusal(folder)
    assert error.code is ErrorCode.MODEL_INVALID
    assert "dtype" in error.message


@pytest.mark.parametrize("past", [True, False])
@pytest.mark.parametrize(("rows", "length"), [("batch", "sequence"), (1, "sequence"), (4, 12), ("batch", 12)])
def test_a_graph_of_a_fixed_size_or_with_a_cache_gets_what_it_wants(
    rows: int | str, length: int | str, past: bool, tmp_path: Path
) -> None:
    folder = write_graph(tmp_path, rows=rows, length=length, past=past)
    backend = load(folder)
    texts = ["a cat", "the dog is the sun", "x", "rain", "a", "b c"]
    found = embed(backend, texts, False)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text, vector in zip(texts, found, strict=True):
        ids = tokenizer.encode(text).ids
        assert np.allclose(vector, [np.mean(ids), np.mean(range(len(ids)))])
    limit = 12 if length == 12 else 48
    assert backend.embed(["cat " * 60], None).input_tokens == limit


def write_graph(
    folder: Path, *, rows: int | str = "batch", length: int | str = "sequence", past: bool = False, scale: float = 1
) -> Path:
    """An embedder whose states are each token's number and place, times a scale; its past must be empty."""
    make_embedder(folder, normalize=False)
    table = [rows, length]
    inputs = {"input_ids": table, "attention_mask": table, "position_ids": table}
    nodes = [
        *(helper.make_node("Cast", [name], [f"{name}_real"], to=TensorProto.FLOAT) for name in inputs),
        helper.make_node("Mul", ["input_ids_real", "scale"], ["scaled"]),
        *(
            helper.make_node("Unsqueeze", [name, "last"], [f"{name}_column"])
            for name in ("scaled", "position_ids_real")
        ),
        helper.make_node("Concat", ["scaled_column", "position_ids_real_column"], ["joined"], axis=-1),
        helper.make_node("ReduceSum", ["attention_mask_real"], ["kept"], keepdims=0),
        helper.make_node("Add", ["joined", "nothing" if past else "zero"], ["last_hidden_state"]),
    ]
    given = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name, shape in inputs.items()]
    if past:
        nodes.insert(0, helper.make_node("ReduceSum", ["past_key_values.0.key"], ["nothing"], keepdims=0))
        shape = [rows, 2, "past_sequence_length", 4]
        given.append(helper.make_tensor_value_info("past_key_values.0.key", TensorProto.FLOAT, shape))
    graph = helper.make_graph(
        nodes,
        "states",
        given,
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*table, 2])],
        [
            helper.make_tensor("scale", TensorProto.FLOAT, [], [scale]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0]),
            helper.make_tensor("last", TensorProto.INT64, [1], [-1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "onnx" / "model.onnx")
    return folder
