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
from numpy.typing import NDArray
from safetensors.numpy import load_file

Matrix = NDArray[np.float32]

LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOP_NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}


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
        quantised = gguf.quants.quantize(np.ascontiguousarray(matrix), gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(target, quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)


def add_hyperparameters(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """The keys that llama.cpp needs for the architecture `llama`."""
    writer.add_name("TabAgent demo")
    writer.add_description("A tiny demo that answers questions about the TabAgent native host")
    writer.add_license("MIT")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(float(config["rope_parameters"]["rope_theta"]))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    """Tokens, merges and the chat template, with the pre-tokenizer that llama.cpp calls `gpt-2`."""
    description = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    special = {entry["id"] for entry in description["added_tokens"] if entry["special"]}
    by_id = {index: token for token, index in description["model"]["vocab"].items()}
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([by_id[index] for index in range(len(by_id))])
    writer.add_token_types([control if index in special else normal for index in range(len(by_id))])
    writer.add_token_merges([" ".join(pair) for pair in description["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text("utf-8"))


def export(checkpoint: Path, out: Path) -> None:
    """Write the whole file."""
    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(out, "llama")
    add_hyperparameters(writer, config)
    add_tokenizer(writer, checkpoint, config)
    add_tensors(writer, load_file(checkpoint / "model.safetensors"), config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    export(arguments.checkpoint, arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
