"""Writes the checkpoint as a Q8_0 GGUF: `python -m tools.demo_model.export_gguf --checkpoint HF --out FILE`.

Layout after llama.cpp's convert_hf_to_gguf.py (LlamaModel): query and key rows are permuted from the half-split
rotation of Hugging Face to the interleaved one of llama.cpp. Tied embeddings are written once, as `token_embd`.
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


def interleave(weight: Matrix, heads: int) -> Matrix:
    """Reorder the rows of a query or key matrix `(heads * head_dim, hidden)` for llama.cpp's rotation."""
    rows, hidden = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, hidden).swapaxes(1, 2).reshape(rows, hidden)


def gguf_name(name: str) -> str:
    """The GGUF name of a Hugging Face tensor."""
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
    return f"blk.{layer}.{LAYER_NAMES[part]}.weight"


def add_tensors(writer: gguf.GGUFWriter, weights: dict[str, Matrix], config: dict[str, Any]) -> None:
    """Matrices as Q8_0, vectors as float32."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for name, weight in weights.items():
        if name == "lm_head.weight":
            continue
        target = gguf_name(name)
        kind = target.split(".")[-2]
        matrix = interleave(weight, heads[kind]) if kind in heads else weight
        if matrix.ndim == 1:
            writer.add_tensor(target, matrix.astype(np.float32))
            continue
        add_q8_0(writer, target, matrix)


def add_hyperparameters(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """The keys that llama.cpp needs for the architecture `llama`."""
    description = "A tiny demo that answers questions about the TabAgent native host"
    add_common(writer, "TabAgent demo", description, gguf.LlamaFileType.MOSTLY_Q8_0)
    add_sizes(writer, config)
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(float(config["rope_parameters"]["rope_theta"]))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))


def export(checkpoint: Path, out: Path) -> None:
    """Write the whole file."""
    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(out, "llama")
    add_hyperparameters(writer, config)
    add_tokenizer(writer, checkpoint, config)
    add_tensors(writer, load_file(checkpoint / "model.safetensors"), config)
    finish(writer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    export(arguments.checkpoint, arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
