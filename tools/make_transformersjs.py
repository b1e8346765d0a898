"""Makes a folder in Transformers.js (onnx-community) layout with random weights: a Llama decoder in every `dtype`.

    python -m tools.make_transformersjs tiny OUT          2 layers, every dtype, for tests
    python -m tools.make_transformersjs bench OUT         20 million parameters, fp32 and q4, as optimum exports them
    python -m tools.make_transformersjs bench-gqa OUT     the same model with GroupQueryAttention

Needs numpy and onnx, for the 8-bit and bnb4 files onnxruntime too. The weights are those of `make_genai.py`'s preset of
the same shape, the tokenizer too.
"""

import argparse
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from tools.llama_graph import SHAPES, Attention, Form, Shape, build_model
from tools.make_genai import tokenizer_config, tokenizer_json
from tools.merged_decoder import merge_decoders
from tools.model_files import FOUR_BIT_DTYPES, HALF_DTYPES, SUFFIXES, folder_size, quantize, save_graph, write_json


@dataclass(frozen=True, slots=True)
class Variant:
    """A folder to make: the model's sizes, the form of its graph, and which files to write.

    `half_io` gives the fp16 files fp16 caches and logits. `merged` writes `decoder_model_merged*.onnx`, with the input
    `use_cache_branch`, instead of `model*.onnx`. `external_data` puts the weights into `<file>_data`.
    """

    shape: Shape = SHAPES["tiny"]
    attention: Attention = "concat"
    position_ids: bool = True
    num_logits_to_keep: bool = False
    half_io: bool = True
    merged: bool = False
    external_data: bool = False
    dtypes: tuple[str, ...] = tuple(SUFFIXES)

    def __post_init__(self) -> None:
        if self.merged and self.attention != "concat":
            raise ValueError("only the concat graph has a form without a past, which a merged decoder needs")
        if self.attention == "gqa" and not self.half_io:
            raise ValueError("GroupQueryAttention needs its caches in the float type it computes in")

    @property
    def stem(self) -> str:
        """The decoder's file name without the dtype's suffix."""
        return "decoder_model_merged" if self.merged else "model"


PRESETS = {
    "tiny": Variant(),
    "tiny-gqa": Variant(attention="gqa", position_ids=False, dtypes=("fp32", "fp16", "q4", "q4f16")),
    "tiny-merged": Variant(merged=True, dtypes=("fp32", "q4")),
    "bench": Variant(SHAPES["bench"], dtypes=("fp32", "q4")),
    "bench-gqa": Variant(SHAPES["bench"], attention="gqa", position_ids=False, dtypes=("fp32", "q4")),
}


def build_decoder(variant: Variant, dtype: str) -> onnx.ModelProto:
    """The decoder that one file holds.

    A merged q4f16 file leaves MatMulNBits its own accuracy (level 0), as Transformers.js' script does: with level 4
    onnxruntime 1.31 multiplies by wrong numbers inside an If node, unless `session.disable_prepacking` is set.
    """
    half = dtype in HALF_DTYPES
    form = Form(
        attention=variant.attention,
        position_ids=variant.position_ids,
        num_logits_to_keep=variant.num_logits_to_keep,
        four_bit=dtype in FOUR_BIT_DTYPES,
        accuracy_level=0 if half and variant.merged else 4,
        half=half,
        half_io=variant.half_io and half,
    )
    with_past = quantize(build_model(variant.shape, form), dtype)
    if not variant.merged:
        return with_past
    return merge_decoders(quantize(build_model(variant.shape, replace(form, with_past=False)), dtype), with_past)


def config(variant: Variant) -> dict[str, Any]:
    """The `config.json` of a Llama model; its last entry tells Transformers.js the caches' type and the data files."""
    shape = variant.shape
    transformersjs: dict[str, Any] = {"use_external_data_format": variant.external_data}
    if variant.half_io:
        transformersjs["kv_cache_dtype"] = dict.fromkeys(HALF_DTYPES, "float16")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_size,
        "max_position_embeddings": shape.context,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "transformers.js_config": transformersjs,
    }


def generation_config() -> dict[str, Any]:
    """Both end tokens: `config.json` names only one of them, as in many real folders."""
    return {"eos_token_id": [2, 0], "pad_token_id": 0, "do_sample": False}


def write_folder(folder: Path, variant: Variant) -> None:
    """Write the whole folder, `config.json` last: where it is, the folder is complete."""
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    for dtype in variant.dtypes:
        path = folder / "onnx" / f"{variant.stem}{SUFFIXES[dtype]}.onnx"
        save_graph(build_decoder(variant, dtype), path, variant.external_data)
    files = {
        "tokenizer.json": tokenizer_json(variant.shape.vocab),
        "tokenizer_config.json": tokenizer_config(),
        "generation_config.json": generation_config(),
        "config.json": config(variant),
    }
    write_json(folder, files)


def main() -> None:
    """Write the preset that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=sorted(PRESETS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtypes", nargs="+", choices=list(SUFFIXES), help="write these alone")
    parser.add_argument("--external-data", action="store_true", help="weights in <file>_data")
    arguments = parser.parse_args()
    variant = replace(PRESETS[arguments.preset], external_data=arguments.external_data)
    if arguments.dtypes:
        variant = replace(variant, dtypes=tuple(arguments.dtypes))
    logging.getLogger().setLevel(logging.ERROR)
    write_folder(arguments.folder, variant)
    print(folder_size(arguments.folder))


if __name__ == "__main__":
    main()
