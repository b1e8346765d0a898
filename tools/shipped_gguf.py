"""What both shipped models' GGUF files have in common: their names for tensors, what they say of themselves, Q8_0.

Above it: `tools.demo_model.export_gguf` and `tools.demo_vision.export_gguf`. Layout after llama.cpp's
convert_hf_to_gguf.py.
"""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

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


def add_common(writer: gguf.GGUFWriter, name: str, description: str, file_type: gguf.LlamaFileType) -> None:
    """What a file says of itself."""
    writer.add_name(name)
    writer.add_description(description)
    writer.add_license("MIT")
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def add_sizes(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """The sizes of a decoder, up to those of its heads."""
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])


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


def add_q8_0(writer: gguf.GGUFWriter, name: str, matrix: Matrix) -> None:
    """A matrix in blocks of 32 bytes and a scale."""
    quantised = gguf.quants.quantize(np.ascontiguousarray(matrix), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor(name, quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)


def finish(writer: gguf.GGUFWriter) -> None:
    """Write everything to the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
