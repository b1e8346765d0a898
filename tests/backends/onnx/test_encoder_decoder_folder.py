"""Folders of encoder-decoder models: what is told of good ones, and one clear error for each way to be bad."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.tiny_genai import load, run
from support.tiny_t5 import make_t5

from backends.onnx.describe import TRANSFORMERSJS_FORMAT, describe
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged folder."""
    return make_t5(tmp_path_factory.mktemp("models") / "merged")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two decoders."""
    return make_t5(tmp_path_factory.mktemp("models") / "split", "tiny-split")


@pytest.fixture(scope="module")
def wider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graphs of another model."""
    return make_t5(tmp_path_factory.mktemp("models") / "wider", hidden=128)


def configure(**changes: Any) -> Damage:
    def change(folder: Path) -> None:
        for name in ("config.json", "generation_config.json"):
            said = {**json.loads((folder / name).read_text()), **changes}
            (folder / name).write_text(json.dumps({key: value for key, value in said.items() if value is not None}))

    return change


def unknown_end(folder: Path) -> None:
    """Have the tokenizer end each text by a token that it does not tell of, at which tokenizers 0.23 panics."""
    file = folder / "tokenizer.json"
    description = json.loads(file.read_text())
    description["post_processor"]["single"][-1]["SpecialToken"]["id"] = "nowhere"
    file.write_text(json.dumps(description))


def edit(name: str, change: Callable[[onnx.ModelProto], object]) -> Damage:
    def rewrite(folder: Path) -> None:
        model = onnx.load(folder / "onnx" / name)
        change(model)
        onnx.save(model, folder / "onnx" / name)

    return rewrite


def rename_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "pixel_values"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == "input_ids":
                node.input[place] = "pixel_values"


def add_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(onnx.helper.make_tensor_value_info("speaker", onnx.TensorProto.FLOAT, [1]))


def cut_off(folder: Path) -> None:
    file = folder / "onnx" / "encoder_model.onnx"
    file.write_bytes(file.read_bytes()[:5000])


def overwrite_weights(folder: Path) -> None:
    for file in (folder / "onnx").glob("*.onnx"):
        model = onnx.load(file)
        for weights in model.graph.initializer:
            if weights.data_type == onnx.TensorProto.FLOAT and len(weights.dims) > 1:
                zeros = onnx.numpy_helper.from_array(np.zeros(weights.dims, np.float32), weights.name)
                weights.CopyFrom(zeros)
        onnx.save(model, file)


def require_refusal(folder: Path, *words: str) -> None:
    with pytest.raises(HostError) as caught:
        load(folder)
    assert caught.value.code is ErrorCode.MODEL_INVALID
    for word in words:
        assert word in caught.value.message


def test_weights_that_were_overwritten_are_told_at_the_load(good: Path, split: Path, tmp_path: Path) -> None:
    for number, whole in enumerate((good, split)):
        folder = Path(shutil.copytree(whole, tmp_path / str(number)))
        overwrite_weights(folder)
        require_refusal(folder, "its weights are damaged")


def test_a_folder_is_described(good: Path, split: Path) -> None:
    for folder in (good, split):
        described = describe(folder, LoadOptions())
        weights = sum(file.stat().st_size for file in (folder / "onnx").glob("*.onnx"))
        assert (described.format, described.size_bytes, described.context_length) == (
            TRANSFORMERSJS_FORMAT,
            weights,
            512,
        )
        own_and_crossed = 2 * 2 * 2 * 64 * 4
        assert described.needed_bytes == weights + 2 * 512 * own_and_crossed + 64 * 1024 * 1024


def test_loading_tells_what_was_loaded(good: Path) -> None:
    backend = load(good, context_length=100)
    end = run(backend, "Hello", max_tokens=500).end
    assert end.output_tokens == 100
    backend.close()


@pytest.mark.parametrize("option", [{"lora": "/adapter.onnx_adapter"}, {"fast_path": True}], ids=["lora", "fast_path"])
def test_options_for_other_kinds_of_model_are_unsupported(good: Path, option: dict[str, Any]) -> None:
    with pytest.raises(HostError) as caught:
        load(good, **option)
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION
    assert caught.value.details["fields"] == [f"options.{name}" for name in option]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "onnx" / "encoder_model.onnx").unlink(), ["encoder_model.onnx is missing"]),
        (lambda folder: (folder / "onnx" / "decoder_model_merged.onnx").unlink(), ["decoder_model.onnx is missing"]),
        (cut_off, ["encoder_model.onnx is not a whole ONNX model"]),
        (edit("encoder_model.onnx", rename_input), ["not a text encoder", "pixel_values"]),
        (edit("decoder_model_merged.onnx", add_input), ["does not know: speaker"]),
        (configure(vocab_size=300), ["vocab_size is 288 here and 300 there"]),
        (configure(num_decoder_layers=3), ["decoder layers is 2 here and 3 there"]),
        (configure(num_heads=8), ["decoder heads is 4 here and 8 there"]),
        (configure(d_kv=32), ["d_kv is 16 here and 32 there"]),
        (configure(d_model=32), ["d_model is 64 here and 32 there"]),
        (configure(decoder_start_token_id=None, pad_token_id=None), ["decoder_start_token_id"]),
        (configure(decoder_start_token_id=999), ["the token 999 in a vocabulary of 288"]),
        (configure(bad_words_ids=7), ["bad_words_ids"]),
        (configure(eos_token_id=None), ["eos_token_id"]),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), ["tokenizer.json is not a tokenizer"]),
        (unknown_end, ["tokenizer.json is not a tokenizer"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_bad_folder_is_one_clear_error(good: Path, tmp_path: Path, damage: Damage, words: list[str]) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "bad"))
    damage(folder)
    require_refusal(folder, *words)


def test_the_padding_begins_an_answer_where_nothing_else_is_named(good: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "padding"))
    configure(decoder_start_token_id=None)(folder)
    backend, other = load(folder), load(good)
    assert run(backend, "Hello").text == run(other, "Hello").text
    backend.close()
    other.close()


def test_a_decoder_without_its_second_half_is_incomplete(split: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(split, tmp_path / "half"))
    (folder / "onnx" / "decoder_with_past_model.onnx").unlink()
    require_refusal(folder, "decoder_with_past_model.onnx is missing", "decoder_model_merged.onnx")


def test_graphs_must_have_a_dtype_in_common(good: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "dtypes"))
    (folder / "onnx" / "encoder_model.onnx").rename(folder / "onnx" / "encoder_model_q4.onnx")
    require_refusal(folder, "encoder_model: q4", "decoder_model_merged: fp32")


def test_an_encoder_of_another_model_is_found_out(good: Path, wider: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "mixed"))
    shutil.copy(wider / "onnx" / "encoder_model.onnx", folder / "onnx")
    require_refusal(folder, "another width")


def test_a_decoder_in_an_encoder_s_place_is_found_out(good: Path, split: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "swapped"))
    shutil.copy(split / "onnx" / "decoder_model.onnx", folder / "onnx" / "encoder_model.onnx")
    require_refusal(folder, "not a text encoder")
    folder = Path(shutil.copytree(split, tmp_path / "twice"))
    shutil.copy(split / "onnx" / "decoder_model.onnx", folder / "onnx" / "decoder_with_past_model.onnx")
    require_refusal(folder, "no KV cache")


def test_decoders_whose_caches_differ_are_found_out(split: Path, tmp_path: Path) -> None:
    deeper = make_t5(tmp_path / "deeper", "tiny-split", layers=3)
    shutil.copy(split / "onnx" / "decoder_model.onnx", deeper / "onnx")
    require_refusal(deeper, "first decoder does not give")
