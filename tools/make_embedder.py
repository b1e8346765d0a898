"""Makes a folder with a BERT-like sentence embedder in onnx-community layout, with random weights.

    python -m tools.make_embedder mean OUT     mean of the tokens, normalised; also `cls` and `lasttoken`
    python -m tools.make_embedder plain OUT    no pooling config, as many converted folders have it

Needs numpy and onnx. The files of sentence-transformers (`modules.json`, `1_Pooling/config.json`,
`sentence_bert_config.json`) are as its version 3 writes them; the tokenizer is WordPiece over letters and a few words.
"""

import argparse
import logging
import string
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto

from tools.graph_builder import FloatArray, GraphBuilder, seeded_matrix
from tools.model_files import FOUR_BIT_DTYPES, HALF_DTYPES, SUFFIXES, folder_size, quantize, save_graph, write_json

Pooling = Literal["mean", "cls", "lasttoken"]
POOLING_KEYS: Mapping[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
}
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("the", "a", "is", "and", "of", "to", "cat", "dog", "rain", "sun", "model", "text", "##ing", "##ed", "##er")
EPSILON = 1e-12


@dataclass(frozen=True, slots=True)
class Variant:
    """A folder to make: the model's sizes, its inputs and outputs, and what the pooling config says.

    `sentence_embedding` adds an output of that name, pooled (and normalised, with `normalize`) inside the graph.
    With `pooling` None there are no files of sentence-transformers.
    """

    hidden: int = 32
    wide: int = 64
    layers: int = 2
    heads: int = 4
    positions: int = 64
    max_seq_length: int = 48
    scale: float = 1.5
    seed: int = 0
    token_type_ids: bool = True
    sentence_embedding: bool = False
    pooling: Pooling | None = "mean"
    normalize: bool = True
    dtypes: tuple[str, ...] = ("fp32", "q8")

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads


PRESETS = {
    "mean": Variant(),
    "cls": Variant(pooling="cls", normalize=False, token_type_ids=False),
    "lasttoken": Variant(pooling="lasttoken", token_type_ids=False, sentence_embedding=True),
    "plain": Variant(pooling=None),
}


class BertBuilder(GraphBuilder):
    """Collects the nodes and weights of a BERT encoder; a weight depends on its name and the seed alone."""

    def __init__(self, variant: Variant, dtype: str) -> None:
        super().__init__(half=dtype in HALF_DTYPES, four_bit=dtype in FOUR_BIT_DTYPES)
        self.variant = variant

    def random(self, name: str, rows: int, columns: int) -> FloatArray:
        """A normal matrix `(rows, columns)` with the variant's scale over sqrt(rows)."""
        return seeded_matrix(self.variant.seed, name, rows, columns) * np.float32(self.variant.scale / rows**0.5)

    def project(self, name: str, source: str, rows: int, columns: int) -> str:
        """Multiply by the weight of that name."""
        return self.multiply(name, source, self.random(name, rows, columns))

    def embed(self, name: str, indices: str, rows: int) -> str:
        """Rows of an embedding table of its own."""
        table = self.random(name, rows, self.variant.hidden) * np.float32(rows**0.5)
        return self.add("Gather", self.constant(name, table), indices)

    def layer_norm(self, name: str, source: str) -> str:
        """Layer norm with neutral weights."""
        scale = self.constant(f"{name}.scale", np.ones(self.variant.hidden, np.float32))
        shift = self.constant(f"{name}.shift", np.zeros(self.variant.hidden, np.float32))
        return self.add("LayerNormalization", source, scale, shift, axis=-1, epsilon=EPSILON)

    def attention(self, name: str, source: str, bias: str) -> str:
        """Self-attention in all directions."""
        variant = self.variant
        width = variant.hidden
        query, key, value = (
            self.heads(self.project(f"{name}.{part}", source, width, width), variant.heads, variant.head_size)
            for part in "qkv"
        )
        attended = self.unheads(self.attend(query, key, value, bias, variant.head_size**-0.5), width)
        return self.project(f"{name}.o", attended, width, width)

    def feed_forward(self, name: str, source: str) -> str:
        """Two matrices with the exact GELU between."""
        inner = self.project(f"{name}.in", source, self.variant.hidden, self.variant.wide)
        curve = self.add("Erf", self.add("Div", inner, self.real("root_two", 2**0.5)))
        gelu = self.add(
            "Mul", self.add("Mul", inner, self.add("Add", curve, self.real("one", 1.0))), self.real("half", 0.5)
        )
        return self.project(f"{name}.out", gelu, self.variant.wide, self.variant.hidden)


def build_model(variant: Variant, dtype: str) -> onnx.ModelProto:
    """input_ids, attention_mask (and token_type_ids) in, last_hidden_state (and sentence_embedding) out."""
    graph = BertBuilder(variant, dtype)
    sizes = ("batch_size", "sequence_length")
    tokens, mask = graph.input("input_ids", sizes), graph.input("attention_mask", sizes)
    places = graph.add("Range", graph.index(0), graph.dimension(tokens, 1), graph.index(1))
    words = graph.embed("words", tokens, len(vocabulary()))
    stream = graph.add("Add", words, graph.embed("positions", places, variant.positions))
    if variant.token_type_ids:
        stream = graph.add("Add", stream, graph.embed("types", graph.input("token_type_ids", sizes), 2))
    stream = graph.layer_norm("embeddings.norm", stream)
    bias = graph.bias(graph.add("Cast", graph.add("Unsqueeze", mask, graph.ints(1, 2)), to=TensorProto.BOOL))
    for layer in range(variant.layers):
        name = f"layers.{layer}"
        attended = graph.attention(f"{name}.attn", stream, bias)
        stream = graph.layer_norm(f"{name}.attn.norm", graph.add("Add", stream, attended))
        wide = graph.feed_forward(f"{name}.mlp", stream)
        stream = graph.layer_norm(f"{name}.mlp.norm", graph.add("Add", stream, wide))
    last = graph.add("Cast", stream, to=TensorProto.FLOAT) if dtype in HALF_DTYPES else stream
    last = graph.name_output(last, "last_hidden_state", (*sizes, variant.hidden), TensorProto.FLOAT)
    if variant.sentence_embedding:
        pooled = _pooled(graph, last, mask, places)
        graph.name_output(pooled, "sentence_embedding", ("batch_size", variant.hidden), TensorProto.FLOAT)
    return graph.model("bert")


def _pooled(graph: BertBuilder, states: str, mask: str, places: str) -> str:
    """One vector a row: a weighted sum of its tokens."""
    count = graph.add("ReduceSum", mask, graph.ints(1), keepdims=1)
    if graph.variant.pooling == "cls":
        chosen = graph.add("Expand", graph.add("Equal", places, graph.index(0)), graph.add("Shape", mask))
    elif graph.variant.pooling == "lasttoken":
        chosen = graph.add("Equal", places, graph.add("Sub", count, graph.index(1)))
    else:
        chosen = graph.add("Cast", mask, to=TensorProto.BOOL)
    weights = graph.add("Cast", chosen, to=TensorProto.FLOAT)
    share = graph.add("Div", weights, graph.add("ReduceSum", weights, graph.ints(1), keepdims=1))
    summed = graph.add("MatMul", graph.add("Unsqueeze", share, graph.ints(1)), states)
    vector = graph.add("Squeeze", summed, graph.ints(1))
    return graph.add("LpNormalization", vector, axis=-1, p=2) if graph.variant.normalize else vector


def vocabulary() -> list[str]:
    """WordPiece's vocabulary: special tokens, single characters, the same as word endings, a few words."""
    letters = string.ascii_lowercase + string.digits
    return [*SPECIAL_TOKENS, *letters, *string.punctuation, *(f"##{letter}" for letter in letters), *WORDS]


def tokenizer_json() -> dict[str, Any]:
    """BERT's tokenizer in the format of Hugging Face's `tokenizers`: [CLS] text [SEP]."""
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    cls, sep = ({"SpecialToken": {"id": token, "type_id": 0}} for token in ("[CLS]", "[SEP]"))
    first, second = ({"Sequence": {"id": name, "type_id": index}} for index, name in enumerate("AB"))
    last = {"SpecialToken": {"id": "[SEP]", "type_id": 1}}
    ids = {
        token: {"id": token, "ids": [SPECIAL_TOKENS.index(token)], "tokens": [token]} for token in ("[CLS]", "[SEP]")
    }
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, "content": token, **added} for index, token in enumerate(SPECIAL_TOKENS)],
        "normalizer": normalizer | {"strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [cls, first, sep],
            "pair": [cls, first, sep, second, last],
            "special_tokens": ids,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {word: index for index, word in enumerate(vocabulary())},
        },
    }


def tokenizer_config(variant: Variant) -> dict[str, Any]:
    """What stands beside tokenizer.json."""
    return {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": variant.positions,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }


def config(variant: Variant) -> dict[str, Any]:
    """The `config.json` of a BERT model."""
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": len(vocabulary()),
        "hidden_size": variant.hidden,
        "intermediate_size": variant.wide,
        "num_hidden_layers": variant.layers,
        "num_attention_heads": variant.heads,
        "max_position_embeddings": variant.positions,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": EPSILON,
        "pad_token_id": 0,
    }


def sentence_files(variant: Variant) -> dict[str, Mapping[str, Any] | list[Any]]:
    """The files of sentence-transformers; none where the variant has no pooling. Normalize has no file of its own."""
    if variant.pooling is None:
        return {}
    names = {"Transformer": "", "Pooling": "1_Pooling"} | ({"Normalize": "2_Normalize"} if variant.normalize else {})
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"}
        for index, (name, path) in enumerate(names.items())
    ]
    pooling = {
        "word_embedding_dimension": variant.hidden,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_weightedmean_tokens": False,
        "include_prompt": True,
    }
    modes = {key: mode == variant.pooling for key, mode in POOLING_KEYS.items()}
    limits = {"max_seq_length": variant.max_seq_length, "do_lower_case": False}
    return {
        "modules.json": modules,
        "1_Pooling/config.json": pooling | modes,
        "sentence_bert_config.json": limits,
    }


def write_folder(folder: Path, variant: Variant) -> None:
    """Write the whole folder, `config.json` last: where it is, the folder is complete."""
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    for dtype in variant.dtypes:
        model = quantize(build_model(variant, dtype), dtype)
        save_graph(model, folder / "onnx" / f"model{SUFFIXES[dtype]}.onnx")
    tokenizer = {"tokenizer.json": tokenizer_json(), "tokenizer_config.json": tokenizer_config(variant)}
    write_json(folder, sentence_files(variant) | tokenizer | {"config.json": config(variant)})


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
