"""Writes the checkpoint for llama.cpp: `python -m tools.demo_vision.export_gguf --checkpoint HF --out FOLDER`.

Two files: the language model (architecture `qwen2vl`, Q8_0) and the vision part (`clip` with the projector
`qwen2vl_merger`, float16). Layout after llama.cpp's conversion/qwenvl.py as of llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

from tools.shipped_gguf import LAYER_NAMES, TOP_NAMES, Matrix, add_common, add_q8_0, add_sizes, add_tokenizer, finish

MODEL_FILE = "demo-vision.gguf"
PROJECTOR_FILE = "mmproj-demo-vision.gguf"
DESCRIPTION = "A tiny demo that describes simple drawings"
VISION_NAMES = {
    "visual.merger.ln_q": "v.post_ln",
    "visual.merger.mlp.0": "mm.0",
    "visual.merger.mlp.2": "mm.2",
}
BLOCK_NAMES = {
    "norm1": "ln1",
    "norm2": "ln2",
    "attn.proj": "attn_out",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}


def add_language(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """The keys that llama.cpp needs for the architecture `qwen2vl`."""
    head_width = config["hidden_size"] // config["num_attention_heads"]
    add_common(writer, "TabAgent demo-vision", DESCRIPTION, gguf.LlamaFileType.MOSTLY_Q8_0)
    add_sizes(writer, config)
    writer.add_rope_dimension_count(head_width)
    writer.add_rope_dimension_sections([*config["rope_scaling"]["mrope_section"], 0])
    writer.add_rope_freq_base(float(config["rope_theta"]))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))


def language_name(name: str) -> str:
    """The GGUF name of a tensor of the language model."""
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{LAYER_NAMES[part]}.{kind}"


def vision_tensors(name: str, tensor: Matrix) -> dict[str, Matrix]:
    """A tensor of the vision part under its GGUF names: the two frames' kernels, and q, k and v, lie apart there."""
    if name == "visual.patch_embed.proj.weight":
        return {"v.patch_embd.weight": tensor[:, :, 0], "v.patch_embd.weight.1": tensor[:, :, 1]}
    stem, kind = name.rsplit(".", 1)
    if stem in VISION_NAMES:
        return {f"{VISION_NAMES[stem]}.{kind}": tensor}
    block, part = stem.removeprefix("visual.blocks.").split(".", 1)
    if part == "attn.qkv":
        return {f"v.blk.{block}.attn_{x}.{kind}": third for x, third in zip("qkv", np.split(tensor, 3), strict=True)}
    return {f"v.blk.{block}.{BLOCK_NAMES[part]}.{kind}": tensor}


def add_vision(writer: gguf.GGUFWriter, config: dict[str, Any], preprocessor: dict[str, Any]) -> None:
    """The keys of the projector, as clip.cpp reads them; the bounds in pixels are for the host, which scales."""
    vision = config["vision_config"]
    add_common(writer, "TabAgent demo-vision projector", DESCRIPTION, gguf.LlamaFileType.MOSTLY_F16)
    writer.add_type("mmproj")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(gguf.VisionProjectorType.QWEN2VL)
    writer.add_vision_projection_dim(config["hidden_size"])
    writer.add_vision_image_size(4 * 2 * vision["patch_size"])
    writer.add_vision_patch_size(vision["patch_size"])
    writer.add_vision_spatial_merge_size(vision["spatial_merge_size"])
    writer.add_vision_embedding_length(vision["embed_dim"])
    writer.add_vision_feed_forward_length(vision["mlp_ratio"] * vision["embed_dim"])
    writer.add_vision_block_count(vision["depth"])
    writer.add_vision_head_count(vision["num_heads"])
    writer.add_vision_attention_layernorm_eps(float(config["rms_norm_eps"]))
    writer.add_vision_image_mean(preprocessor["image_mean"])
    writer.add_vision_image_std(preprocessor["image_std"])
    writer.add_vision_min_pixels(preprocessor["min_pixels"])
    writer.add_vision_max_pixels(preprocessor["max_pixels"])


def export_language(checkpoint: Path, out: Path, config: dict[str, Any], weights: dict[str, Matrix]) -> None:
    """Write the language model: matrices as Q8_0, vectors as float32."""
    writer = gguf.GGUFWriter(out / MODEL_FILE, "qwen2vl")
    add_language(writer, config)
    add_tokenizer(writer, checkpoint, config)
    for name, tensor in weights.items():
        if tensor.ndim == 1:
            writer.add_tensor(language_name(name), tensor)
            continue
        add_q8_0(writer, language_name(name), tensor)
    finish(writer)


def export_vision(out: Path, config: dict[str, Any], preprocessor: dict[str, Any], weights: dict[str, Matrix]) -> None:
    """Write the projector: matrices as float16, vectors and the patch embedding as float32."""
    writer = gguf.GGUFWriter(out / PROJECTOR_FILE, "clip")
    add_vision(writer, config, preprocessor)
    for source, whole in weights.items():
        for name, tensor in vision_tensors(source, whole).items():
            kind = np.float16 if tensor.ndim == 2 else np.float32
            writer.add_tensor(name, np.ascontiguousarray(tensor.astype(kind)))
    finish(writer)


def export(checkpoint: Path, out: Path) -> None:
    """Write both files."""
    config, preprocessor = (
        json.loads((checkpoint / name).read_text("utf-8")) for name in ("config.json", "preprocessor_config.json")
    )
    weights: dict[str, Matrix] = load_file(checkpoint / "model.safetensors")
    vision = {name: tensor for name, tensor in weights.items() if name.startswith("visual.")}
    out.mkdir(parents=True, exist_ok=True)
    export_language(checkpoint, out, config, {name: weights[name] for name in weights if name not in vision})
    export_vision(out, config, preprocessor, vision)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    export(arguments.checkpoint, arguments.out)
    for name in (MODEL_FILE, PROJECTOR_FILE):
        print(f"{arguments.out / name}: {(arguments.out / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
