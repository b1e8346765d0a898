"""Makes a T5-like encoder-decoder folder in Transformers.js layout, with random weights.

    python -m tools.make_t5 tiny OUT          encoder_model.onnx and decoder_model_merged.onnx
    python -m tools.make_t5 tiny-split OUT    decoder_model.onnx and decoder_with_past_model.onnx for the merged one

Needs numpy and onnx. Names, order and dimensions of inputs and outputs are those of optimum's exports. Position buckets
are linear, where T5's far ones grow with the logarithm of the distance.
"""

import argparse
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tools.graph_builder import FloatArray, GraphBuilder, seeded_matrix
from tools.make_genai import tokenizer_config, tokenizer_json
from tools.merged_decoder import merge_decoders
from tools.model_files import FOUR_BIT_DTYPES, SUFFIXES, folder_size, quantize, save_graph, write_json

SPECIAL_TOKENS = ("<pad>", "</s>", "<unk>")
PAD, END = 0, 1
EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Variant:
    """A folder to make: the model's sizes, and which files to write.

    `merged` writes one decoder with `use_cache_branch`, else there are two. The merged decoder's second branch gives
    dummies of batch size 0 for the encoder's keys and values, as optimum's does: the caller keeps the first ones.
    """

    hidden: int = 64
    wide: int = 128
    layers: int = 2
    heads: int = 4
    vocab: int = 288
    buckets: int = 32
    context: int = 512
    scale: float = 2.0
    seed: int = 0
    merged: bool = True
    dtypes: tuple[str, ...] = ("fp32", "q8")

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads


PRESETS = {"tiny": Variant(), "tiny-split": Variant(merged=False)}


class T5Builder(GraphBuilder):
    """Collects the nodes and weights of a T5 encoder or decoder; a weight depends on its name and the seed alone."""

    def __init__(self, variant: Variant, dtype: str) -> None:
        super().__init__(four_bit=dtype in FOUR_BIT_DTYPES)
        self.variant = variant

    def random(self, name: str, rows: int, columns: int) -> FloatArray:
        """A normal matrix `(rows, columns)` with the variant's scale over sqrt(rows)."""
        return seeded_matrix(self.variant.seed, name, rows, columns) * np.float32(self.variant.scale / rows**0.5)

    def project(self, name: str, source: str, rows: int, columns: int) -> str:
        """Multiply by the weight of that name."""
        return self.multiply(name, source, self.random(name, rows, columns))

    def embed(self, tokens: str) -> str:
        """The embeddings that encoder and decoder share."""
        variant = self.variant
        weight = self.random("shared", variant.vocab, variant.hidden) * np.float32(variant.vocab**0.5)
        return self.add("Gather", self.constant("shared", weight), tokens)

    def norm(self, name: str, source: str) -> str:
        """T5's layer norm, which subtracts no mean."""
        return self.rms_norm(source, self.constant(f"{name}.scale", np.ones(self.variant.hidden, np.float32)), EPSILON)

    def head_projection(self, name: str, source: str) -> str:
        """Project and split into heads, `(batch, heads, length, head_size)`."""
        variant = self.variant
        return self.heads(self.project(name, source, variant.hidden, variant.hidden), variant.heads, variant.head_size)

    def attention(self, name: str, query: str, key: str, value: str, bias: str) -> str:
        """Attend and project back; `key` and `value` have heads already. T5 itself has the scale in its weights."""
        variant = self.variant
        scale = variant.head_size**-0.5
        attended = self.attend(self.head_projection(f"{name}.q", query), key, value, bias, scale)
        return self.project(f"{name}.o", self.unheads(attended, variant.hidden), variant.hidden, variant.hidden)

    def feed_forward(self, name: str, source: str) -> str:
        """The block of two matrices and a ReLU, with its norm and its residual."""
        variant = self.variant
        inner = self.project(f"{name}.wi", self.norm(f"{name}.norm", source), variant.hidden, variant.wide)
        outer = self.project(f"{name}.wo", self.add("Relu", inner), variant.wide, variant.hidden)
        return self.add("Add", source, outer)

    def position_bias(self, name: str, rows: str, columns: str) -> str:
        """A learnt bias by the distance of two positions, `(1, heads, rows, columns)`."""
        variant = self.variant
        distance = self.add("Sub", columns, self.add("Unsqueeze", rows, self.ints(1)))
        middle = self.add("Add", distance, self.index(variant.buckets // 2))
        bucket = self.add("Clip", middle, self.index(0), self.index(variant.buckets - 1))
        table = self.constant(name, self.random(name, variant.buckets, variant.heads) * np.float32(3))
        chosen = self.add("Transpose", self.add("Gather", table, bucket), perm=[2, 0, 1])
        return self.add("Unsqueeze", chosen, self.ints(0))

    def padding_bias(self, mask: str) -> str:
        """`(batch, 1, 1, length)`: padding is not looked at."""
        return self.bias(self.add("Cast", self.add("Unsqueeze", mask, self.ints(1, 2)), to=TensorProto.BOOL))

    def cache_sizes(self, length: str) -> tuple[str | int, ...]:
        """Dimensions of a key or value tensor."""
        return ("batch_size", self.variant.heads, length, self.variant.head_size)


def build_encoder(variant: Variant, dtype: str) -> onnx.ModelProto:
    """input_ids and attention_mask in, last_hidden_state out."""
    graph = T5Builder(variant, dtype)
    sizes = ("batch_size", "encoder_sequence_length")
    tokens, mask = graph.input("input_ids", sizes), graph.input("attention_mask", sizes)
    places = graph.add("Range", graph.index(0), graph.dimension(tokens, 1), graph.index(1))
    near = graph.position_bias("encoder.position_bias", places, places)
    bias = graph.add("Add", near, graph.padding_bias(mask))
    stream = graph.embed(tokens)
    for layer in range(variant.layers):
        name = f"encoder.{layer}.self"
        normed = graph.norm(f"{name}.norm", stream)
        key, value = (graph.head_projection(f"{name}.{part}", normed) for part in "kv")
        stream = graph.add("Add", stream, graph.attention(name, normed, key, value, bias))
        stream = graph.feed_forward(f"encoder.{layer}.mlp", stream)
    last = graph.norm("encoder.norm", stream)
    graph.name_output(last, "last_hidden_state", (*sizes, variant.hidden), TensorProto.FLOAT)
    return graph.model("encoder")


class DecoderBuilder(T5Builder):
    """The decoder with (`with_past`) or without a cache."""

    def __init__(self, variant: Variant, dtype: str, with_past: bool) -> None:
        super().__init__(variant, dtype)
        self.with_past = with_past
        self.input("encoder_attention_mask", ("batch_size", "encoder_sequence_length"))
        self.input("input_ids", ("batch_size", "decoder_sequence_length"))

    def own_cache(self, layer: int, normed: str) -> tuple[str, str]:
        """Keys and values of the decoder's own tokens, those of the past in front; they are outputs too."""
        return self._own(layer, normed, "k", "key"), self._own(layer, normed, "v", "value")

    def _own(self, layer: int, normed: str, weight: str, part: str) -> str:
        new = self.head_projection(f"decoder.{layer}.self.{weight}", normed)
        if self.with_past:
            past = f"past_key_values.{layer}.decoder.{part}"
            self.input(past, self.cache_sizes("past_decoder_sequence_length"), TensorProto.FLOAT)
            new = self.add("Concat", past, new, axis=2)
        sizes = self.cache_sizes("past_decoder_sequence_length + decoder_sequence_length")
        return self.name_output(new, f"present.{layer}.decoder.{part}", sizes, TensorProto.FLOAT)

    def encoder_cache(self, layer: int) -> tuple[str, str]:
        """Keys and values of the encoder's states: reckoned at first, inputs later."""
        return self._encoder(layer, "k", "key"), self._encoder(layer, "v", "value")

    def _encoder(self, layer: int, weight: str, part: str) -> str:
        sizes = self.cache_sizes("encoder_sequence_length")
        if self.with_past:
            if self.variant.merged:
                self._dummy(f"present.{layer}.encoder.{part}", sizes)
            return self.input(f"past_key_values.{layer}.encoder.{part}", sizes, TensorProto.FLOAT)
        states = self.head_projection(f"decoder.{layer}.cross.{weight}", "encoder_hidden_states")
        return self.name_output(states, f"present.{layer}.encoder.{part}", sizes, TensorProto.FLOAT)

    def _dummy(self, name: str, sizes: tuple[str | int, ...]) -> None:
        empty = np.zeros((0, self.variant.heads, 1, self.variant.head_size), dtype=np.float32)
        constant = self.add("Constant", value=numpy_helper.from_array(empty))
        self.name_output(constant, name, sizes, TensorProto.FLOAT)


def build_decoder(variant: Variant, dtype: str, with_past: bool) -> onnx.ModelProto:
    """input_ids, the encoder's states and mask, and caches in; logits and caches out."""
    graph = DecoderBuilder(variant, dtype, with_past)
    if not with_past:
        sizes = ("batch_size", "encoder_sequence_length", variant.hidden)
        graph.input("encoder_hidden_states", sizes, TensorProto.FLOAT)
    crossing = graph.padding_bias("encoder_attention_mask")
    stream, bias = graph.embed("input_ids"), ""
    for layer in range(variant.layers):
        name = f"decoder.{layer}"
        normed = graph.norm(f"{name}.self.norm", stream)
        own = graph.own_cache(layer, normed)
        bias = bias or _causal_bias(graph, own[0])
        stream = graph.add("Add", stream, graph.attention(f"{name}.self", normed, *own, bias))
        normed = graph.norm(f"{name}.cross.norm", stream)
        crossed = graph.attention(f"{name}.cross", normed, *graph.encoder_cache(layer), crossing)
        stream = graph.feed_forward(f"{name}.mlp", graph.add("Add", stream, crossed))
    logits = graph.project("lm_head", graph.norm("decoder.norm", stream), variant.hidden, variant.vocab)
    graph.name_output(logits, "logits", ("batch_size", "decoder_sequence_length", variant.vocab), TensorProto.FLOAT)
    graph.outputs.insert(0, graph.outputs.pop())
    return graph.model("decoder")


def _causal_bias(graph: T5Builder, keys: str) -> str:
    """`(1, heads, length, total)`: the position bias, and nothing of what comes later."""
    total, length = graph.dimension(keys, 2), graph.dimension("input_ids", 1)
    columns = graph.add("Range", graph.index(0), total, graph.index(1))
    rows = graph.add("Range", graph.add("Sub", total, length), total, graph.index(1))
    causal = graph.bias(graph.add("LessOrEqual", columns, graph.add("Unsqueeze", rows, graph.ints(1))))
    return graph.add("Add", graph.position_bias("decoder.position_bias", rows, columns), causal)


def build_graphs(variant: Variant, dtype: str) -> dict[str, onnx.ModelProto]:
    """The models of one dtype by their files' names without suffix."""
    first = quantize(build_decoder(variant, dtype, with_past=False), dtype)
    later = quantize(build_decoder(variant, dtype, with_past=True), dtype)
    encoder = quantize(build_encoder(variant, dtype), dtype)
    if variant.merged:
        return {"encoder_model": encoder, "decoder_model_merged": merge_decoders(first, later)}
    return {"encoder_model": encoder, "decoder_model": first, "decoder_with_past_model": later}


def config(variant: Variant) -> dict[str, Any]:
    """The `config.json` of a T5 model."""
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "is_encoder_decoder": True,
        "d_model": variant.hidden,
        "d_kv": variant.head_size,
        "d_ff": variant.wide,
        "num_layers": variant.layers,
        "num_decoder_layers": variant.layers,
        "num_heads": variant.heads,
        "vocab_size": variant.vocab,
        "n_positions": variant.context,
        "relative_attention_num_buckets": variant.buckets,
        "feed_forward_proj": "relu",
        "decoder_start_token_id": PAD,
        "pad_token_id": PAD,
        "eos_token_id": END,
        "use_cache": True,
    }


def tokenizer_files(variant: Variant) -> dict[str, Mapping[str, Any]]:
    """The byte-level tokenizer of make_genai.py with T5's special tokens; an end token behind each text."""
    end = SPECIAL_TOKENS[END]
    template = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": end, "type_id": 0}}]
    tokenizer = tokenizer_json(variant.vocab, SPECIAL_TOKENS)
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": template,
        "pair": [*template, {"Sequence": {"id": "B", "type_id": 0}}, template[1]],
        "special_tokens": {end: {"id": end, "ids": [END], "tokens": [end]}},
    }
    settings = tokenizer_config() | {"eos_token": end, "pad_token": SPECIAL_TOKENS[PAD]}
    del settings["chat_template"]
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": settings}


def write_folder(folder: Path, variant: Variant) -> None:
    """Write the whole folder, `config.json` last: where it is, the folder is complete."""
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    for dtype in variant.dtypes:
        for stem, model in build_graphs(variant, dtype).items():
            save_graph(model, folder / "onnx" / f"{stem}{SUFFIXES[dtype]}.onnx")
    generation = {"decoder_start_token_id": PAD, "eos_token_id": END, "pad_token_id": PAD}
    files = tokenizer_files(variant) | {"generation_config.json": generation, "config.json": config(variant)}
    write_json(folder, files)


def main() -> None:
    """Write the preset that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=sorted(PRESETS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    write_folder(arguments.folder, replace(PRESETS[arguments.preset], seed=arguments.seed))
    print(folder_size(arguments.folder))


if __name__ == "__main__":
    main()
