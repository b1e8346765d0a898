"""A Llama decoder with random weights as an ONNX graph, in the two forms that are found in the field.

- "gqa": onnxruntime's own nodes, as genai's model builder writes them for CPU (genai 0.18,
  `onnxruntime_genai/models/builders/base.py`) and newer onnx-community files have them: GroupQueryAttention,
  SimplifiedLayerNormalization.
- "concat": primitive nodes alone, as optimum exports them: rotary embedding out of position ids, the cache joined by
  Concat, heads repeated, MatMul and Softmax under a causal mask.

The weights come from a fixed seed and are drawn in the same order for both, so both compute the same.
Needs numpy and onnx.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tools.graph_builder import BLOCK, MS_DOMAIN, FloatArray, GraphBuilder, Sizes

Attention = Literal["gqa", "concat"]
ROPE_BASE = 10_000.0
NO_LIMIT = 2**62


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama model's sizes; `scale` is the standard deviation of the weights over the usual 1/sqrt(fan in).

    `int4` draws the weights as 4-bit blocks: an fp32 graph then holds exactly what the 4-bit one multiplies by.
    """

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
    epsilon: float = 1e-5

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads


SHAPES = {
    "tiny": Shape(),
    "bench": Shape(
        hidden=512, intermediate=1408, layers=6, heads=8, kv_heads=4, vocab=4096, context=4096, int4=True, scale=1.0
    ),
}


@dataclass(frozen=True, slots=True)
class Form:
    """What a graph looks like from outside, and how its weights are stored.

    Without `position_ids` they come out of the attention mask. `with_past` false leaves the cache's inputs out, as
    in the first branch of a merged decoder. `half` computes in fp16; `half_io` has fp16 caches and logits too.
    """

    attention: Attention = "gqa"
    position_ids: bool = False
    num_logits_to_keep: bool = False
    with_past: bool = True
    four_bit: bool = False
    accuracy_level: int = 4
    half: bool = False
    half_io: bool = False


class LlamaBuilder(GraphBuilder):
    """Collects the nodes and weights of a Llama decoder."""

    def __init__(self, shape: Shape, form: Form) -> None:
        super().__init__(form.half, form.four_bit, form.accuracy_level)
        self.shape = shape
        self.form = form
        self.io_type = TensorProto.FLOAT16 if form.half_io else TensorProto.FLOAT
        self._random = np.random.default_rng(shape.seed)
        self._norms = 0

    def random(self, rows: int, columns: int) -> FloatArray:
        """A normal matrix `(rows, columns)` with the shape's scale over sqrt(rows)."""
        normal = self._random.standard_normal((rows, columns), dtype=np.float32)
        return normal * np.float32(self.shape.scale / rows**0.5)

    def project(self, name: str, source: str, rows: int, columns: int) -> str:
        """Multiply by a new weight `(rows, columns)`."""
        if not self.shape.int4:
            return self.multiply(name, source, self.random(rows, columns))
        packed = self._random.integers(0, 256, (columns, rows // BLOCK, BLOCK // 2), dtype=np.uint8)
        scales = np.full((columns * (rows // BLOCK),), self.shape.scale / rows**0.5 / 4.6, dtype=np.float32)
        return self.multiply_packed(name, source, packed, scales)

    def embedding(self) -> FloatArray:
        """The token embedding `(vocab, hidden)`."""
        return self.random(self.shape.vocab, self.shape.hidden) * np.float32(self.shape.vocab**0.5)

    def norm_scale(self, index: int) -> FloatArray:
        """The scale `(hidden,)` of a norm; two a layer, in order, and the last."""
        return np.ones(self.shape.hidden, dtype=np.float32)

    def norm(self, source: str, skip: str | None = None) -> tuple[str, str]:
        """RMS norm of `source` (+ `skip`); returns the normed and the summed tensor's names."""
        scale = self.constant(f"norm_{self._norms}.scale", self.norm_scale(self._norms))
        epsilon = self.shape.epsilon
        self._norms += 1
        if self.form.attention == "concat":
            total = source if skip is None else self.add("Add", source, skip)
            return self.rms_norm(total, scale, epsilon), total
        if skip is None:
            return self.add("SimplifiedLayerNormalization", source, scale, axis=-1, epsilon=epsilon), source
        name = self.add(
            "SkipSimplifiedLayerNormalization", source, skip, scale, outputs=4, domain=MS_DOMAIN, epsilon=epsilon
        )
        return name, f"{name}.3"

    def past(self, layer: int, part: str) -> str:
        """An input of the cache, in the graph's own float type."""
        shape = self.shape
        sizes: Sizes = ["batch_size", shape.kv_heads, "past_sequence_length", shape.head_size]
        name = self.input(f"past_key_values.{layer}.{part}", sizes, self.io_type)
        return self._as(name, self.io_type, self.float_type)

    def present(self, layer: int, part: str, source: str) -> str:
        """An output of the cache; returns the name under which the graph reads on."""
        shape = self.shape
        sizes: Sizes = ["batch_size", shape.kv_heads, "total_sequence_length", shape.head_size]
        given = self._as(source, self.float_type, self.io_type)
        name = self.name_output(given, f"present.{layer}.{part}", sizes, self.io_type)
        return name if given == source else source

    def logits(self, source: str) -> None:
        """The output that the next token is chosen by, the first of all."""
        sizes: Sizes = ["batch_size", "sequence_length", self.shape.vocab]
        self.name_output(self._as(source, self.float_type, self.io_type), "logits", sizes, self.io_type)
        self.outputs.insert(0, self.outputs.pop())

    def _as(self, source: str, element: int, wanted: int) -> str:
        return source if element == wanted else self.add("Cast", source, to=wanted)


def build_model(shape: Shape, form: Form) -> onnx.ModelProto:
    """A decoder with random weights."""
    return build_graph(LlamaBuilder(shape, form))


def build_graph(graph: LlamaBuilder) -> onnx.ModelProto:
    """The whole decoder: input_ids, attention_mask and past keys and values in, logits and present ones out."""
    shape, form = graph.shape, graph.form
    graph.input("input_ids", ["batch_size", "sequence_length"])
    graph.input("attention_mask", ["batch_size", "total_sequence_length"])
    positions = _positions(graph)
    layers: GroupedAttention | ConcatAttention
    layers = GroupedAttention(graph, positions) if form.attention == "gqa" else ConcatAttention(graph, positions)
    embedding = graph.constant("embedding", graph.embedding())
    stream = graph.add("Gather", embedding, "input_ids")
    branch: str | None = None
    for layer in range(shape.layers):
        normed, stream = graph.norm(stream, branch)
        branch = _attention(graph, layers, layer, normed)
        normed, stream = graph.norm(stream, branch)
        branch = _feed_forward(graph, layer, normed)
    normed, _ = graph.norm(stream, branch)
    graph.logits(graph.project("lm_head", _last_positions(graph, normed), shape.hidden, shape.vocab))
    return graph.model("llama")


def _positions(graph: LlamaBuilder) -> str | None:
    """The positions of the new tokens `(batch, length)`: an input, or for "concat" counted in the attention mask."""
    if graph.form.position_ids:
        return graph.input("position_ids", ["batch_size", "sequence_length"])
    if graph.form.attention == "gqa":
        return None
    counted = graph.add("CumSum", "attention_mask", graph.index(1))
    positions = graph.add("Max", graph.add("Sub", counted, graph.index(1)), graph.index(0))
    length = graph.add("Unsqueeze", graph.dimension("input_ids", 1), graph.ints(0))
    return graph.add("Slice", positions, graph.add("Neg", length), graph.ints(NO_LIMIT), graph.ints(1))


def _last_positions(graph: LlamaBuilder, source: str) -> str:
    """The hidden states that get logits: the last `num_logits_to_keep`, all for 0 or without that input."""
    if not graph.form.num_logits_to_keep:
        return source
    kept = graph.add("Neg", graph.add("Unsqueeze", graph.input("num_logits_to_keep", []), graph.ints(0)))
    return graph.add("Slice", source, kept, graph.ints(NO_LIMIT), graph.ints(1))


class GroupedAttention:
    """GroupQueryAttention; rotates inside it, or where positions are given by RotaryEmbedding nodes before it."""

    def __init__(self, graph: LlamaBuilder, positions: str | None) -> None:
        self._graph = graph
        self._positions = positions
        self._lengths = self._valid_lengths()
        self._caches = self._rotary_caches()

    def _valid_lengths(self) -> tuple[str, str]:
        """`seqlens_k` (last valid position) and `total_sequence_length`, int32, out of the attention mask."""
        graph = self._graph
        one = graph.constant("one", np.array([[1]], dtype=np.int64))
        row = graph.add("Sub", graph.add("ReduceSum", "attention_mask", graph.ints(1)), one)
        total = graph.dimension("attention_mask", 1)
        return graph.add("Cast", row, to=TensorProto.INT32), graph.add("Cast", total, to=TensorProto.INT32)

    def _rotary_caches(self) -> tuple[str, str]:
        graph, half = self._graph, self._graph.shape.head_size // 2
        angles = np.outer(np.arange(graph.shape.context), ROPE_BASE ** (-np.arange(half) / half))
        cos = graph.constant("cos_cache", np.cos(angles).astype(np.float32))
        return cos, graph.constant("sin_cache", np.sin(angles).astype(np.float32))

    def attend(self, layer: int, query: str, key: str, value: str) -> str:
        """The attention of one layer, `(batch, length, hidden)`."""
        graph, shape = self._graph, self._graph.shape
        if self._positions is not None:
            query = self._rotate(query, shape.heads)
            key = self._rotate(key, shape.kv_heads)
        past = (graph.past(layer, "key"), graph.past(layer, "value"))
        caches = self._caches if self._positions is None else ()
        out = graph.add(
            "GroupQueryAttention",
            *(query, key, value, *past, *self._lengths, *caches),
            outputs=3,
            domain=MS_DOMAIN,
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            scale=shape.head_size**-0.5,
            do_rotary=int(self._positions is None),
            local_window_size=-1,
        )
        graph.present(layer, "key", f"{out}.1")
        graph.present(layer, "value", f"{out}.2")
        return out

    def _rotate(self, source: str, heads: int) -> str:
        inputs = (source, self._positions or "", *self._caches)
        return self._graph.add("RotaryEmbedding", *inputs, domain=MS_DOMAIN, num_heads=heads)


class ConcatAttention:
    """Attention by primitive nodes, the cache joined inside the graph."""

    def __init__(self, graph: LlamaBuilder, positions: str | None) -> None:
        assert positions is not None
        self._graph = graph
        self._cos, self._sin = self._rotation(positions)
        self._bias: str | None = None

    def _rotation(self, positions: str) -> tuple[str, str]:
        """Cosine and sine of each position's angles, `(batch, 1, length, head_size)`, reckoned in fp32."""
        graph, half = self._graph, self._graph.shape.head_size // 2
        frequencies = (ROPE_BASE ** (-np.arange(half) / half)).astype(np.float32).reshape(1, 1, half)
        name = "inverse_frequencies"
        graph.weights[name] = numpy_helper.from_array(frequencies, name)
        columns = graph.add("Cast", graph.add("Unsqueeze", positions, graph.ints(-1)), to=TensorProto.FLOAT)
        angles = graph.add("MatMul", columns, name)
        whole = graph.add("Unsqueeze", graph.add("Concat", angles, angles, axis=-1), graph.ints(1))
        cos, sin = graph.add("Cos", whole), graph.add("Sin", whole)
        return graph.add("Cast", cos, to=graph.float_type), graph.add("Cast", sin, to=graph.float_type)

    def attend(self, layer: int, query: str, key: str, value: str) -> str:
        """The attention of one layer, `(batch, length, hidden)`."""
        graph, shape = self._graph, self._graph.shape
        rotated = self._rotate(graph.heads(query, shape.heads, shape.head_size))
        keys = self._rotate(graph.heads(key, shape.kv_heads, shape.head_size))
        keys = self._join(layer, "key", keys)
        values = self._join(layer, "value", graph.heads(value, shape.kv_heads, shape.head_size))
        self._bias = self._bias or self._causal_bias(keys)
        scale = shape.head_size**-0.5
        attended = graph.attend(rotated, self._repeat(keys), self._repeat(values), self._bias, scale)
        return graph.unheads(attended, shape.hidden)

    def _rotate(self, source: str) -> str:
        """Rotate by halves, as Llama does in transformers (`modeling_llama.py`, rotate_half)."""
        graph, half = self._graph, self._graph.shape.head_size // 2
        low = graph.add("Slice", source, graph.ints(0), graph.ints(half), graph.ints(3))
        high = graph.add("Slice", source, graph.ints(half), graph.ints(NO_LIMIT), graph.ints(3))
        turned = graph.add("Concat", graph.add("Neg", high), low, axis=-1)
        return graph.add("Add", graph.add("Mul", source, self._cos), graph.add("Mul", turned, self._sin))

    def _join(self, layer: int, part: str, new: str) -> str:
        """The cache with the new positions behind it; without a past the new ones alone."""
        graph = self._graph
        whole = graph.add("Concat", graph.past(layer, part), new, axis=2) if graph.form.with_past else new
        return graph.present(layer, part, whole)

    def _repeat(self, source: str) -> str:
        """Each key or value head as often as query heads share it."""
        graph, shape = self._graph, self._graph.shape
        repeats = shape.heads // shape.kv_heads
        wide = graph.add("Expand", graph.add("Unsqueeze", source, graph.ints(2)), graph.ints(1, 1, repeats, 1, 1))
        return graph.add("Reshape", wide, graph.ints(0, shape.heads, -1, shape.head_size))

    def _causal_bias(self, keys: str) -> str:
        """`(batch, 1, length, total)`: a token sees itself and what is before it, but no padding."""
        graph = self._graph
        total, length = graph.dimension(keys, 2), graph.dimension("input_ids", 1)
        columns = graph.add("Range", graph.index(0), total, graph.index(1))
        rows = graph.add("Range", graph.add("Sub", total, length), total, graph.index(1))
        causal = graph.add("LessOrEqual", columns, graph.add("Unsqueeze", rows, graph.ints(1)))
        padding = graph.add("Cast", graph.add("Unsqueeze", "attention_mask", graph.ints(1, 2)), to=TensorProto.BOOL)
        return graph.bias(graph.add("And", causal, padding))


def _attention(graph: LlamaBuilder, layers: GroupedAttention | ConcatAttention, layer: int, source: str) -> str:
    shape, name = graph.shape, f"layers.{layer}.attn"
    kv_width = shape.kv_heads * shape.head_size
    query = graph.project(f"{name}.q", source, shape.hidden, shape.hidden)
    key = graph.project(f"{name}.k", source, shape.hidden, kv_width)
    value = graph.project(f"{name}.v", source, shape.hidden, kv_width)
    return graph.project(f"{name}.o", layers.attend(layer, query, key, value), shape.hidden, shape.hidden)


def _feed_forward(graph: LlamaBuilder, layer: int, source: str) -> str:
    hidden, wide, name = graph.shape.hidden, graph.shape.intermediate, f"layers.{layer}.mlp"
    gate = graph.project(f"{name}.gate", source, hidden, wide)
    up = graph.project(f"{name}.up", source, hidden, wide)
    silu = graph.add("Mul", gate, graph.add("Sigmoid", gate))
    return graph.project(f"{name}.down", graph.add("Mul", silu, up), wide, hidden)
