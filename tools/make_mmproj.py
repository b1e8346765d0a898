"""Writes a tiny vision-language model of the Qwen2-VL architecture with seeded random weights: a GGUF and its mmproj.

    python -m tools.make_mmproj vision|omni|square|tiles OUT_FOLDER [--seed 7]

The text half is that of `make_gguf`, with sections of rotary positions and the tokens that stand around pictures and
sounds. The projector has a vision encoder (patches of 14 pixels, merged two by two) and, for `omni`, one of
Whisper's shape besides. Other kinds take squares of one size: Gemma 3's, whose tokens all see each other, and Idefics
3's, several to a picture with text between them. Tensor names and metadata are those that llama.cpp's
`tools/mtmd/clip.cpp` reads.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gguf import GGUFWriter
from numpy.typing import NDArray

from tools.make_gguf import PRESETS, SPECIALS, Weights, write_model

VISION_SPECIALS = (*SPECIALS, "<|vision_start|>", "<|vision_end|>", "<|audio_bos|>", "<|audio_eos|>")
MODEL_SHAPE = replace(PRESETS["tiny"], architecture="qwen2vl", specials=VISION_SPECIALS, add_bos=False)

GEMMA_SPECIALS = (*SPECIALS, "<start_of_image>", "<end_of_image>")
TILE_SPECIALS = (*SPECIALS, "\n\n", "<fake_token_around_image>", "<global-img>")
TILE_SHAPE = replace(PRESETS["tiny"], specials=TILE_SPECIALS)
GEMMA_SHAPE = replace(PRESETS["tiny"], architecture="gemma3", specials=GEMMA_SPECIALS)

MEL_BINS = 80
_SOUND_FRAMES = 1500
"""Positions of Whisper's encoder: 30 seconds, two mel frames each."""


@dataclass(frozen=True, slots=True)
class ProjectorShape:
    """A projector's sizes in values. text_width is the width of the language model that it belongs to.

    most_pixels is the greatest area of a picture that the header tells, 0 to tell none; square is how many patches one
    side of a square has, for the kinds that take squares.
    """

    text_width: int = MODEL_SHAPE.width
    width: int = 32
    layers: int = 2
    heads: int = 2
    feed_forward: int = 64
    patch: int = 14
    kind: Literal["qwen2vl_merger", "gemma3", "idefics3"] = "qwen2vl_merger"
    square: int = 32
    vision: bool = True
    audio: bool = False
    seed: int = 7
    most_pixels: int = 0


def write_projector(
    path: Path, shape: ProjectorShape, leave_out: str = "", instead: Mapping[str, NDArray[Any]] | None = None
) -> None:
    """Write a projector to `path`, without the tensor `leave_out`; the same shape gives the same bytes.

    What is in `instead` takes the place of the tensor of its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_bool("clip.has_vision_encoder", shape.vision)
    writer.add_bool("clip.has_audio_encoder", shape.audio)
    tensors: dict[str, Weights] = {}
    if shape.vision:
        _add_vision_header(writer, shape)
        tensors |= _vision_tensors(shape) if shape.kind == "qwen2vl_merger" else _square_tensors(shape)
    if shape.audio:
        _add_audio_header(writer, shape)
        tensors |= _audio_tensors(shape)
    for name, weights in {**tensors, **(instead or {})}.items():
        if name != leave_out:
            writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_vision_model(folder: Path, *, audio: bool = False, seed: int = 7) -> Path:
    """Write `tiny-vl.gguf` and, beside it, `mmproj-tiny-vl.gguf`; return the former."""
    write_model(folder / "tiny-vl.gguf", replace(MODEL_SHAPE, seed=seed))
    write_projector(folder / "mmproj-tiny-vl.gguf", ProjectorShape(audio=audio, seed=seed))
    return folder / "tiny-vl.gguf"


def _add_sizes(writer: GGUFWriter, kind: str, shape: ProjectorShape) -> None:
    writer.add_uint32(f"clip.{kind}.embedding_length", shape.width)
    writer.add_uint32(f"clip.{kind}.attention.head_count", shape.heads)
    writer.add_uint32(f"clip.{kind}.feed_forward_length", shape.feed_forward)
    writer.add_uint32(f"clip.{kind}.block_count", shape.layers)
    writer.add_uint32(f"clip.{kind}.projection_dim", shape.text_width)
    writer.add_float32(f"clip.{kind}.attention.layer_norm_epsilon", 1e-6)


def _add_vision_header(writer: GGUFWriter, shape: ProjectorShape) -> None:
    _add_sizes(writer, "vision", shape)
    writer.add_string("clip.vision.projector_type", shape.kind)
    writer.add_uint32("clip.vision.projector.scale_factor", 2)
    writer.add_uint32("clip.vision.preproc_image_size", 2 * shape.square * shape.patch)
    writer.add_uint32("clip.vision.image_size", shape.square * shape.patch)
    writer.add_uint32("clip.vision.patch_size", shape.patch)
    writer.add_uint32("clip.vision.spatial_merge_size", 2)
    if shape.most_pixels:
        writer.add_uint32("clip.vision.image_max_pixels", shape.most_pixels)
    writer.add_array("clip.vision.image_mean", [0.48145466, 0.4578275, 0.40821073])
    writer.add_array("clip.vision.image_std", [0.26862954, 0.26130258, 0.27577711])


def _add_audio_header(writer: GGUFWriter, shape: ProjectorShape) -> None:
    _add_sizes(writer, "audio", shape)
    writer.add_string("clip.audio.projector_type", "qwen2a")
    writer.add_uint32("clip.audio.num_mel_bins", MEL_BINS)


class _Random:
    """Weights from a seeded generator, scaled by how many values each output sums up."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def weights(self, *extents: int) -> Weights:
        inputs = int(np.prod(extents[1:])) or 1
        return self._generator.standard_normal(extents, np.float32) / np.float32(inputs**0.5)


def _vision_tensors(shape: ProjectorShape) -> dict[str, Weights]:
    random, merged = _Random(shape.seed), 4 * shape.width
    return {
        "v.patch_embd.weight": random.weights(shape.width, 3, shape.patch, shape.patch),
        "v.patch_embd.weight.1": random.weights(shape.width, 3, shape.patch, shape.patch),
        **_layers("v", shape, random, key_bias=True),
        "v.post_ln.weight": np.ones(shape.width, np.float32),
        "v.post_ln.bias": np.zeros(shape.width, np.float32),
        "mm.0.weight": random.weights(merged, merged),
        "mm.0.bias": np.zeros(merged, np.float32),
        "mm.2.weight": random.weights(shape.text_width, merged) * np.float32(4),
        "mm.2.bias": np.zeros(shape.text_width, np.float32),
    }


def _square_tensors(shape: ProjectorShape) -> dict[str, Weights]:
    random = _Random(shape.seed)
    if shape.kind == "idefics3":
        last = {"mm.model.fc.weight": random.weights(shape.text_width, 4 * shape.width) * np.float32(4)}
    else:
        norm = np.ones(shape.width, np.float32)
        projection = random.weights(shape.width, shape.text_width)
        last = {"mm.input_projection.weight": projection, "mm.soft_emb_norm.weight": norm}
    return {
        "v.patch_embd.weight": random.weights(shape.width, 3, shape.patch, shape.patch),
        "v.patch_embd.bias": np.zeros(shape.width, np.float32),
        "v.position_embd.weight": random.weights(shape.square**2, shape.width),
        **_layers("v", shape, random, key_bias=True),
        "v.post_ln.weight": np.ones(shape.width, np.float32),
        "v.post_ln.bias": np.zeros(shape.width, np.float32),
        **last,
    }


def _audio_tensors(shape: ProjectorShape) -> dict[str, Weights]:
    random = _Random(shape.seed + 1)
    return {
        "a.conv1d.1.weight": random.weights(shape.width, MEL_BINS, 3).astype(np.float16),
        "a.conv1d.1.bias": np.zeros((shape.width, 1), np.float32),
        "a.conv1d.2.weight": random.weights(shape.width, shape.width, 3).astype(np.float16),
        "a.conv1d.2.bias": np.zeros((shape.width, 1), np.float32),
        "a.position_embd.weight": random.weights(_SOUND_FRAMES, shape.width),
        **_layers("a", shape, random, key_bias=False),
        "a.post_ln.weight": np.ones(shape.width, np.float32),
        "a.post_ln.bias": np.zeros(shape.width, np.float32),
        "mm.a.fc.weight": random.weights(shape.text_width, shape.width) * np.float32(16),
        "mm.a.fc.bias": np.zeros(shape.text_width, np.float32),
    }


def _layers(prefix: str, shape: ProjectorShape, random: _Random, *, key_bias: bool) -> dict[str, Weights]:
    width, tensors = shape.width, {}
    for layer in range(shape.layers):
        name = f"{prefix}.blk.{layer}."
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            tensors[f"{name}{part}.weight"] = random.weights(width, width)
            if part != "attn_k" or key_bias:
                tensors[f"{name}{part}.bias"] = np.zeros(width, np.float32)
        for part in ("ln1", "ln2"):
            tensors[f"{name}{part}.weight"] = np.ones(width, np.float32)
            tensors[f"{name}{part}.bias"] = np.zeros(width, np.float32)
        tensors[f"{name}ffn_up.weight"] = random.weights(shape.feed_forward, width)
        tensors[f"{name}ffn_up.bias"] = np.zeros(shape.feed_forward, np.float32)
        tensors[f"{name}ffn_down.weight"] = random.weights(width, shape.feed_forward)
        tensors[f"{name}ffn_down.bias"] = np.zeros(width, np.float32)
    return tensors


PRESET_SHAPES = {
    "vision": (MODEL_SHAPE, ProjectorShape()),
    "omni": (MODEL_SHAPE, ProjectorShape(audio=True)),
    "square": (GEMMA_SHAPE, ProjectorShape(kind="gemma3")),
    "tiles": (TILE_SHAPE, ProjectorShape(kind="idefics3", square=8)),
}


def main() -> None:
    """Write the model and the projector that the command line names into a folder."""
    parser = argparse.ArgumentParser(description="Write a tiny vision-language model with seeded random weights.")
    parser.add_argument("preset", choices=PRESET_SHAPES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    model, projector = PRESET_SHAPES[arguments.preset]
    files = (arguments.out / "tiny-vl.gguf", arguments.out / "mmproj-tiny-vl.gguf")
    write_model(files[0], replace(model, seed=arguments.seed))
    write_projector(files[1], replace(projector, seed=arguments.seed))
    print(f"{arguments.out}: {' + '.join(str(file.stat().st_size) for file in files)} bytes")


if __name__ == "__main__":
    main()
