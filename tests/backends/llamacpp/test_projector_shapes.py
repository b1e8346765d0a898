"""Projectors whose weights do not go together are told by their headers: the engine ends over each of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from PIL import Image
from support.picture_files import png_url, prompt_with

from backends.base import CancelToken, GenerationEnd, GenerationRequest, LoadSpec
from backends.llamacpp.backend import LlamaCppBackend
from backends.llamacpp.header import read_header
from backends.llamacpp.projector import read_projector
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions
from messages.settings import InferenceSettings
from tools.make_gguf import Weights, write_model
from tools.make_mmproj import PRESET_SHAPES, ProjectorShape, write_projector

SHAPES = {
    **{name: projector for name, (_, projector) in PRESET_SHAPES.items() if not projector.audio},
    "sound": ProjectorShape(vision=False, audio=True),
}
MODELS = {name: model for name, (model, _) in PRESET_SHAPES.items()} | {"sound": PRESET_SHAPES["omni"][0]}

TOLD_BY_THE_ENGINE = {
    ("mm.2.bias", 0),
    ("mm.input_projection.weight", 1),
    ("mm.model.fc.weight", 0),
    ("mm.a.fc.weight", 0),
}
"""Extents that are the language model's width: the engine compares those itself, and raises an error."""

FREE = {
    ("a.conv1d.1.weight", 2),
    ("a.conv1d.2.weight", 2),
    ("a.conv1d.1.bias", 1),
    ("a.conv1d.2.bias", 1),
    ("a.position_embd.weight", 0),
}
"""How wide a window of sound is, and how many positions there are."""


def _weights(path: Path) -> dict[str, Weights]:
    return {tensor.name: np.array(tensor.data) for tensor in GGUFReader(path).tensors}


def _grown(weights: Weights, axis: int) -> Weights:
    extents = list(weights.shape)
    extents[axis] += 1
    return np.resize(weights, extents).astype(weights.dtype)


def _refusal(folder: Path, name: str, instead: dict[str, Weights]) -> str:
    bad = folder / "bad.gguf"
    write_projector(bad, SHAPES[name], instead=instead)
    with pytest.raises(HostError) as caught:
        read_projector(str(bad), read_header(folder / "model.gguf"))
    assert caught.value.code is ErrorCode.MODEL_INVALID
    return caught.value.message


@pytest.fixture(params=SHAPES)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A kind of projector; a good one and its model lie in the test's folder."""
    name = str(request.param)
    write_model(tmp_path / "model.gguf", MODELS[name])
    write_projector(tmp_path / "good.gguf", SHAPES[name])
    return name


def test_a_weight_of_another_shape_than_the_others_is_named(kind: str, tmp_path: Path) -> None:
    read_projector(str(tmp_path / "good.gguf"), read_header(tmp_path / "model.gguf"))
    weights = _weights(tmp_path / "good.gguf")
    extents = {(name, axis) for name, value in weights.items() for axis in range(value.ndim)}
    for name, axis in extents - TOLD_BY_THE_ENGINE - FREE:
        message = _refusal(tmp_path, kind, {name: _grown(weights[name], axis)})
        assert name.rpartition(".")[0] in message or "other sizes than its header says" in message, message


@pytest.mark.parametrize("name", ["vision", "square", "tiles"])
def test_a_feed_forward_whose_matrices_have_each_others_names_is_read_as_the_engine_reads_it(
    name: str, tmp_path: Path
) -> None:
    write_model(tmp_path / "model.gguf", MODELS[name])
    write_projector(tmp_path / "mmproj.gguf", SHAPES[name])
    weights = _weights(tmp_path / "mmproj.gguf")
    others = {"ffn_up": "ffn_down", "ffn_down": "ffn_up"}
    exchanged = {
        tensor.replace(part, other): value
        for tensor, value in weights.items()
        for part, other in others.items()
        if part in tensor
    }
    write_projector(tmp_path / "mmproj.gguf", SHAPES[name], instead=exchanged)
    backend = LlamaCppBackend()
    try:
        assert backend.load(LoadSpec(tmp_path / "model.gguf", LoadOptions()), lambda *_: None).capabilities.image
    finally:
        backend.close()
    wrong = {tensor: _grown(value, 0) for tensor, value in exchanged.items() if tensor == "v.blk.1.ffn_down.bias"}
    assert "v.blk.1.ffn_down.bias" in _refusal(tmp_path, name, {**exchanged, **wrong})


def test_shapes_of_a_kind_whose_graph_is_not_known_are_not_compared(tmp_path: Path) -> None:
    write_model(tmp_path / "model.gguf", replace(MODELS["square"], architecture="llama"))
    other = tmp_path / "other.gguf"
    write_projector(
        other, replace(SHAPES["square"], kind="idefics3"), instead={"v.blk.0.ln1.weight": np.ones(31, np.float32)}
    )
    other.write_bytes(other.read_bytes().replace(b"idefics3", b"cogvlm\0\0"))
    read_projector(str(other), read_header(tmp_path / "model.gguf"))


def test_positions_that_qwens_older_converters_left_as_a_placeholder_are_not_compared(tmp_path: Path) -> None:
    write_model(tmp_path / "model.gguf", MODELS["vision"])
    placeholder = {"v.position_embd.weight": np.zeros((10, 10), np.float32)}
    write_projector(tmp_path / "mmproj.gguf", SHAPES["vision"], instead=placeholder)
    backend = LlamaCppBackend()
    backend.load(LoadSpec(tmp_path / "model.gguf", LoadOptions()), lambda *_: None)
    request = GenerationRequest(prompt_with(png_url(Image.new("RGB", (56, 56)))), InferenceSettings(max_tokens=2))
    try:
        events = list(backend.generate(request, CancelToken()))
    finally:
        backend.close()
    assert isinstance(events[-1], GenerationEnd)
    assert events[-1].output_tokens > 0
