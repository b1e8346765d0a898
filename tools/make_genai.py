"""Makes an onnxruntime-genai folder with random weights: a Llama graph, a byte-level tokenizer, a chat template.

    python tools/make_genai.py tiny OUT        2 layers, fp32, for tests (0.6 MB)
    python tools/make_genai.py bench OUT       20 million parameters, int4, for benchmarks

Needs numpy and onnx. The graph has the nodes that genai's own model builder writes for Llama on CPU (genai 0.18,
`onnxruntime_genai/models/builders/base.py`): GroupQueryAttention with rotary embedding inside, MatMulNBits for int4.
The weights come from a fixed seed, so a preset is the same everywhere.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

FloatArray = npt.NDArray[np.float32]

MS_DOMAIN = "com.microsoft"
BLOCK = 32
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("Ġ t", "h e", "Ġt he", "i n", "e r", "Ġ a", "o n", "r e", "Ġ s", "a n", "o r", "Ġ w", "e n", "l l")
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama model's sizes; `scale` is the standard deviation of the weights over the usual 1/sqrt(fan in)."""

    hidden: int = 64
    intermediate: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    vocab: int = 288
    context: int = 512
    int4: bool = False
    share_buffer: bool = True
    scale: float = 2.0
    seed: int = 0

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads


PRESETS = {
    "tiny": Shape(),
    "bench": Shape(
        hidden=512, intermediate=1408, layers=6, heads=8, kv_heads=4, vocab=4096, context=4096, int4=True, scale=1.0
    ),
}


class GraphBuilder:
    """Collects the nodes and weights of a Llama decoder."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(shape.seed)
        self._names = 0

    def add(self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its first output; the others are that name with `.1`, `.2` ..."""
        self._names += 1
        name = f"{op}_{self._names}"
        names = [name, *(f"{name}.{index}" for index in range(1, outputs))]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=name, domain=domain, **attributes))
        return name

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add an initializer."""
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def random(self, rows: int, columns: int) -> FloatArray:
        """A normal matrix `(rows, columns)` with the shape's scale over sqrt(rows)."""
        normal = self._random.standard_normal((rows, columns), dtype=np.float32)
        return normal * np.float32(self.shape.scale / rows**0.5)

    def project(self, name: str, source: str, rows: int, columns: int) -> str:
        """Multiply by a new weight `(rows, columns)`, in fp32 or in 4-bit blocks."""
        if not self.shape.int4:
            return self.add("MatMul", source, self.constant(f"{name}.weight", self.random(rows, columns)))
        packed = self._random.integers(0, 256, (columns, rows // BLOCK, BLOCK // 2), dtype=np.uint8)
        scales = np.full((columns * (rows // BLOCK),), self.shape.scale / rows**0.5 / 4.6, dtype=np.float32)
        weights = (self.constant(f"{name}.q4", packed), self.constant(f"{name}.scales", scales))
        sizes = {"K": rows, "N": columns, "bits": 4, "block_size": BLOCK, "accuracy_level": 4}
        return self.add("MatMulNBits", source, *weights, domain=MS_DOMAIN, **sizes)

    def norm(self, source: str, skip: str | None = None) -> tuple[str, str]:
        """RMS norm of `source` (+ `skip`); returns the normed and the summed tensor's names."""
        scale = self.constant(f"norm_{self._names}.scale", np.ones(self.shape.hidden, dtype=np.float32))
        if skip is None:
            return self.add("SimplifiedLayerNormalization", source, scale, axis=-1, epsilon=1e-5), source
        name = self.add(
            "SkipSimplifiedLayerNormalization", source, skip, scale, outputs=4, domain=MS_DOMAIN, epsilon=1e-5
        )
        return name, f"{name}.3"


def build_model(shape: Shape) -> onnx.ModelProto:
    """The whole decoder: input_ids, attention_mask and past keys and values in, logits and present ones out."""
    graph = GraphBuilder(shape)
    lengths = _lengths(graph)
    caches = _rotary_caches(graph)
    embedding = graph.constant("embedding", graph.random(shape.vocab, shape.hidden) * np.float32(shape.vocab**0.5))
    stream = graph.add("Gather", embedding, "input_ids")
    branch: str | None = None
    for layer in range(shape.layers):
        normed, stream = graph.norm(stream, branch)
        branch = _attention(graph, layer, normed, lengths, caches)
        normed, stream = graph.norm(stream, branch)
        branch = _feed_forward(graph, layer, normed)
    normed, _ = graph.norm(stream, branch)
    logits = graph.project("lm_head", normed, shape.hidden, shape.vocab)
    graph.nodes.append(helper.make_node("Identity", [logits], ["logits"], name="logits"))
    return _as_model(graph)


def _lengths(graph: GraphBuilder) -> tuple[str, str]:
    """`seqlens_k` (last valid position) and `total_sequence_length`, int32, out of the attention mask."""
    axis = graph.constant("axis_1", np.array([1], dtype=np.int64))
    one = graph.constant("one", np.array([[1]], dtype=np.int64))
    row = graph.add("Sub", graph.add("ReduceSum", "attention_mask", axis), one)
    total = graph.add("Gather", graph.add("Shape", "attention_mask"), graph.constant("index_1", np.array(1)))
    return graph.add("Cast", row, to=TensorProto.INT32), graph.add("Cast", total, to=TensorProto.INT32)


def _rotary_caches(graph: GraphBuilder) -> tuple[str, str]:
    half = graph.shape.head_size // 2
    angles = np.outer(np.arange(graph.shape.context), 10_000.0 ** (-np.arange(half) / half))
    cos = graph.constant("cos_cache", np.cos(angles).astype(np.float32))
    return cos, graph.constant("sin_cache", np.sin(angles).astype(np.float32))


def _attention(graph: GraphBuilder, layer: int, source: str, lengths: tuple[str, str], caches: tuple[str, str]) -> str:
    shape, name = graph.shape, f"layers.{layer}.attn"
    width, kv_width = shape.hidden, shape.kv_heads * shape.head_size
    query = graph.project(f"{name}.q", source, width, width)
    key = graph.project(f"{name}.k", source, width, kv_width)
    value = graph.project(f"{name}.v", source, width, kv_width)
    past = (f"past_key_values.{layer}.key", f"past_key_values.{layer}.value")
    outputs = [f"{name}.out", f"present.{layer}.key", f"present.{layer}.value"]
    graph.nodes.append(
        helper.make_node(
            "GroupQueryAttention",
            [query, key, value, *past, *lengths, *caches],
            outputs,
            name=name,
            domain=MS_DOMAIN,
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            scale=shape.head_size**-0.5,
            do_rotary=1,
            local_window_size=-1,
        )
    )
    return graph.project(f"{name}.o", outputs[0], width, width)


def _feed_forward(graph: GraphBuilder, layer: int, source: str) -> str:
    hidden, wide, name = graph.shape.hidden, graph.shape.intermediate, f"layers.{layer}.mlp"
    gate = graph.project(f"{name}.gate", source, hidden, wide)
    up = graph.project(f"{name}.up", source, hidden, wide)
    silu = graph.add("Mul", gate, graph.add("Sigmoid", gate))
    return graph.project(f"{name}.down", graph.add("Mul", silu, up), wide, hidden)


def _as_model(graph: GraphBuilder) -> onnx.ModelProto:
    shape = graph.shape
    cache_shape: list[str | int | None] = ["batch_size", shape.kv_heads, "past_length", shape.head_size]
    present_shape: list[str | int | None] = ["batch_size", shape.kv_heads, "total_length", shape.head_size]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "length"]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch_size", "total_length"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", "length", shape.vocab])]
    for layer in range(shape.layers):
        for part in ("key", "value"):
            past, present = f"past_key_values.{layer}.{part}", f"present.{layer}.{part}"
            inputs.append(helper.make_tensor_value_info(past, TensorProto.FLOAT, cache_shape))
            outputs.append(helper.make_tensor_value_info(present, TensorProto.FLOAT, present_shape))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MS_DOMAIN, 1)]
    body = helper.make_graph(graph.nodes, "llama", inputs, outputs, graph.weights)
    return helper.make_model(body, opset_imports=opsets, ir_version=10)


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable character for each byte (openai/gpt-2, `encoder.py`, bytes_to_unicode)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(others)}


def tokenizer_json(vocab_size: int) -> dict[str, Any]:
    """A byte-level BPE tokenizer in the format of Hugging Face's `tokenizers`, filled up to `vocab_size`."""
    words = [*SPECIAL_TOKENS, *byte_alphabet().values(), *(merge.replace(" ", "") for merge in MERGES)]
    words += [f"<unused{index}>" for index in range(vocab_size - len(words))]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, "content": token, **added} for index, token in enumerate(SPECIAL_TOKENS)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {word: index for index, word in enumerate(words)},
            "merges": list(MERGES),
        },
    }


def tokenizer_config() -> dict[str, Any]:
    """What genai and we read beside tokenizer.json: the special tokens and the chat template."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def genai_config(shape: Shape) -> dict[str, Any]:
    """The `genai_config.json` of genai's model builder for a Llama model on CPU."""
    names = ("past_key_values.%d.key", "past_key_values.%d.value")
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": shape.head_size,
        "hidden_size": shape.hidden,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": names[0],
            "past_value_names": names[1],
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
    }
    model = {
        "bos_token_id": 0,
        "context_length": shape.context,
        "decoder": decoder,
        "eos_token_id": [2, 0],
        "pad_token_id": 0,
        "type": "llama",
        "vocab_size": shape.vocab,
    }
    search = {
        "do_sample": False,
        "max_length": shape.context,
        "num_beams": 1,
        "past_present_share_buffer": shape.share_buffer,
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
    }
    return {"model": model, "search": search}


def write_folder(folder: Path, shape: Shape) -> None:
    """Write the whole folder, weights in `model.onnx.data`, the config last: where it is, the folder is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx.data").unlink(missing_ok=True)
    model = build_model(shape)
    onnx.save(model, str(folder / "model.onnx"), save_as_external_data=True, location="model.onnx.data")
    files = {
        "tokenizer.json": tokenizer_json(shape.vocab),
        "tokenizer_config.json": tokenizer_config(),
        "genai_config.json": genai_config(shape),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def cached_folder(preset: str, cache: Path) -> Path:
    """A preset's folder below `cache`, made at the first call."""
    folder = cache / f"genai-{preset}"
    if not (folder / "genai_config.json").is_file():
        write_folder(folder, PRESETS[preset])
    return folder


def main() -> None:
    """Write the preset that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=sorted(PRESETS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_folder(arguments.folder, replace(PRESETS[arguments.preset], seed=arguments.seed))
    size = sum(file.stat().st_size for file in arguments.folder.iterdir())
    print(f"{arguments.folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
