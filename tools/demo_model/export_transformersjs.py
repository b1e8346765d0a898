"""Writes the checkpoint as a q4 folder in Transformers.js' layout.

`python -m tools.demo_model.export_transformersjs --checkpoint HF --out FOLDER`

The graph is the one that optimum exports (`tools.llama_graph`, "concat"). The weights have been rounded to 4-bit
blocks in training, so `model_q4.onnx` holds the same network as the other two formats; the embedding stays float32.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from tools.graph_builder import FloatArray
from tools.llama_graph import Form, LlamaBuilder, Shape, build_graph
from tools.model_files import save_graph, write_json

PARTS = {
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.o": "self_attn.o_proj",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}
EMBEDDING = "model.embed_tokens.weight"
KEPT = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
CONFIG_KEYS = (
    "architectures",
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "hidden_act",
    "rms_norm_eps",
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)


class CheckpointBuilder(LlamaBuilder):
    """A Llama graph with a checkpoint's weights."""

    def __init__(self, shape: Shape, form: Form, weights: dict[str, FloatArray]) -> None:
        super().__init__(shape, form)
        self._checkpoint = weights

    def project(self, name: str, source: str, rows: int, columns: int) -> str:
        """Multiply by the checkpoint's weight of that name; the output's is the embedding."""
        weight = self._checkpoint[EMBEDDING if name == "lm_head" else self._full_name(name)]
        return self.multiply(name, source, np.ascontiguousarray(weight.T))

    def embedding(self) -> FloatArray:
        """The token embedding `(vocab, hidden)`."""
        return self._checkpoint[EMBEDDING]

    def norm_scale(self, index: int) -> FloatArray:
        """The scale `(hidden,)` of a norm; two a layer, in order, and the last."""
        layer, place = divmod(index, 2)
        if layer == self.shape.layers:
            return self._checkpoint["model.norm.weight"]
        part = ("input_layernorm", "post_attention_layernorm")[place]
        return self._checkpoint[f"model.layers.{layer}.{part}.weight"]

    def _full_name(self, name: str) -> str:
        _, layer, part = name.split(".", 2)
        return f"model.layers.{layer}.{PARTS[part]}.weight"


def shape_of(config: dict[str, Any]) -> Shape:
    """The sizes that a checkpoint's config gives."""
    return Shape(
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        vocab=config["vocab_size"],
        context=config["max_position_embeddings"],
        epsilon=config["rms_norm_eps"],
    )


def export(checkpoint: Path, out: Path) -> None:
    """Write the whole folder, `config.json` last."""
    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    shutil.rmtree(out, ignore_errors=True)
    (out / "onnx").mkdir(parents=True)
    form = Form(attention="concat", position_ids=True, four_bit=True)
    builder = CheckpointBuilder(shape_of(config), form, load_file(checkpoint / "model.safetensors"))
    save_graph(build_graph(builder), out / "onnx" / "model_q4.onnx")
    for name in KEPT:
        shutil.copyfile(checkpoint / name, out / name)
    kept = {key: config[key] for key in CONFIG_KEYS} | {"rope_theta": config["rope_parameters"]["rope_theta"]}
    generation = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(out, {"generation_config.json": generation, "config.json": kept})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    export(arguments.checkpoint, arguments.out)
    print(f"{arguments.out}: {sum(file.stat().st_size for file in arguments.out.rglob('*') if file.is_file())} bytes")


if __name__ == "__main__":
    main()
