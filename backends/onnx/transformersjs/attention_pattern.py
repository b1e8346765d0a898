"""Finds the attention of a decoder's layers in a graph of primitive nodes, as optimum exports them: `find_layer`.

Found by what must be there whatever the exporter's version: the Concat that makes `present.N.key` out of the past one
and the new keys, the MatMul of queries and keys, a Softmax, the MatMul with the values. Above it: `fused_graph`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

from onnx import NodeProto, TensorProto, helper, numpy_helper

from backends.onnx.transformersjs.graph import Cache

PASSING = frozenset({"Cast", "Identity", "Dropout"})
REPEATING = frozenset({"Unsqueeze", "Expand", "Reshape", "Transpose", "Identity", "Cast"})
"""Between the cache and the MatMul: each key or value head is repeated for the query heads that share it."""

SCALAR_STEPS = frozenset({"Sqrt", "Div", "Mul", "Pow", "Cast", "Reciprocal", "Slice", "Gather", "Squeeze", "Identity"})
"""By these the scale is reckoned out of the width of a head."""

HEADS_FIRST = [0, 2, 1, 3]


class NotFusableError(Exception):
    """The graph's attention is not of the kind that GroupQueryAttention computes, or not recognised as it."""


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary embedding by primitive nodes: the queries and keys before it, and the cosines and sines."""

    query: str
    key: str
    cos: str
    sin: str


@dataclass(frozen=True, slots=True)
class Scores:
    """How queries and keys become scores: the MatMul's inputs, the scalars, the bias.

    A scalar stands with 1 if it multiplies and -1 if it divides; bias is None until its Add is seen.
    """

    query: str
    key: str
    scalars: tuple[tuple[str, int], ...] = ()
    bias: str | None = None


@dataclass(frozen=True, slots=True)
class Attention:
    """One layer. query, key and value are `(batch, heads, length, head size)`, rotated already; key and value new ones.

    bias is what is added to the scores, output the Reshape's `(batch, length, heads * head size)`.
    """

    query: str
    key: str
    value: str
    scalars: tuple[tuple[str, int], ...]
    bias: str
    output: str


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer's caches and its attention, and the rotary embedding of its queries and keys if it is found."""

    key: Cache
    value: Cache
    attention: Attention
    rotary: Rotary | None


class GraphIndex:
    """Who makes a value, and who reads it."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.weights: dict[str, TensorProto] = {weight.name: weight for weight in graph.initializer}
        self.makers: dict[str, NodeProto] = {name: node for node in graph.node for name in node.output if name}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def maker(self, name: str, *operators: str) -> NodeProto | None:
        """The node that makes a value, if it is one of these."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type in operators else None

    def only_reader(self, name: str, operator: str) -> NodeProto:
        """The one node that reads a value; NotFusableError if there are others or it is of another kind."""
        readers = self.readers.get(name, [])
        if len(readers) != 1 or readers[0].op_type != operator:
            raise NotFusableError(f"{name} is not read by one {operator}")
        return readers[0]

    def is_scalar(self, name: str) -> bool:
        """True for a single number that the graph has, or reckons out of a shape."""
        if name in self.weights:
            return numpy_helper.to_array(self.weights[name]).size == 1
        node = self.makers.get(name)
        if node is None:
            return False
        if node.op_type in ("Shape", "Constant"):
            return True
        return node.op_type in SCALAR_STEPS and all(self._is_constant(part) for part in node.input if part)

    def _is_constant(self, name: str) -> bool:
        return name in self.weights or self.is_scalar(name)

    def rotary(self, name: str) -> tuple[str, str, str] | None:
        """x, cos and sin of the rotary embedding x * cos + rotate_half(x) * sin that makes a value.

        So it is in transformers' `modeling_llama.py` (`apply_rotary_pos_emb`).
        """
        total = self.maker(name, "Add")
        if total is None:
            return None
        for straight, turned in permutations([self.maker(part, "Mul") for part in total.input]):
            if straight is None or turned is None:
                return None
            for (source, cos), (half, sin) in _pairs(straight.input, turned.input):
                if self._is_turned(half, source):
                    return source, self._unshaped(cos), self._unshaped(sin)
        return None

    def _unshaped(self, name: str) -> str:
        """What a value was before a dimension was put in, which some exporters do anew in every layer."""
        node = self.maker(name, "Unsqueeze", "Identity")
        return name if node is None else self._unshaped(node.input[0])

    def _is_turned(self, name: str, source: str) -> bool:
        """True if a value is the upper half of `source`, negated, and the lower half behind it."""
        joined = self.maker(name, "Concat")
        if joined is None or len(joined.input) != 2 or attribute(joined, "axis", 0) not in (-1, 3):
            return False
        negated = self.maker(joined.input[0], "Neg")
        parts = [self.maker(part, "Slice", "Split") for part in (*(negated.input if negated else ()), joined.input[1])]
        return len(parts) == 2 and all(part is not None and part.input[0] == source for part in parts)


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """An attribute's value."""
    return next((helper.get_attribute_value(given) for given in node.attribute if given.name == name), default)


def find_layer(index: GraphIndex, key: Cache, value: Cache) -> Layer:
    """The layer with these caches; NotFusableError if its attention is not found or is of another kind."""
    if len(key.shape) != 4 or key.axis != 2 or value.shape != key.shape:
        raise NotFusableError(f"{key.past} is not (batch, heads, length, width)")
    found = _attention(index, key, value)
    query, keys = index.rotary(found.query), index.rotary(found.key)
    if query is None or keys is None or query[1:] != keys[1:]:
        return Layer(key, value, found, None)
    return Layer(key, value, found, Rotary(query[0], keys[0], *query[1:]))


def _attention(index: GraphIndex, key: Cache, value: Cache) -> Attention:
    product = _value_product(index, value.present)
    scores = _scores(index, _softmax(index, product.input[0]).input[0])
    if scores is None or scores.bias is None:
        raise NotFusableError(f"no masked scores are found before {product.name}")
    keys = _unscaled(index, scores.key, REPEATING, key.present)
    queries = _unscaled(index, scores.query, frozenset(), None)
    turned = index.only_reader(product.output[0], "Transpose")
    if attribute(turned, "perm", None) != HEADS_FIRST:
        raise NotFusableError(f"{turned.name} does not bring the heads together")
    return Attention(
        query=queries[0],
        key=_new_part(index, key),
        value=_new_part(index, value),
        scalars=scores.scalars + keys[1] + queries[1],
        bias=scores.bias,
        output=index.only_reader(turned.output[0], "Reshape").output[0],
    )


def _pairs(first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Both orders of each of two multiplications."""
    return ((one, other) for one in permutations(first) for other in permutations(second))


def _new_part(index: GraphIndex, cache: Cache) -> str:
    """The new keys or values that are joined to a cache."""
    joined = index.maker(cache.present, "Concat")
    if joined is None or list(joined.input[:1]) != [cache.past] or len(joined.input) != 2:
        raise NotFusableError(f"{cache.present} is not {cache.past} and something new")
    if attribute(joined, "axis", 0) not in (2, -2):
        raise NotFusableError(f"{cache.present} is joined on another axis")
    new: str = joined.input[1]
    return new


def _value_product(index: GraphIndex, present: str) -> NodeProto:
    """The MatMul of the attention's weights and a layer's values."""
    for node in index.graph.node:
        found: NodeProto = node
        if found.op_type == "MatMul" and _leads_to(index, found.input[1], present):
            return found
    raise NotFusableError(f"no MatMul reads {present}")


def _leads_to(index: GraphIndex, name: str, present: str) -> bool:
    while name != present:
        node = index.maker(name, *REPEATING)
        if node is None:
            return False
        name = node.input[0]
    return True


def _softmax(index: GraphIndex, name: str) -> NodeProto:
    """The Softmax that makes the attention's weights; a Where behind it puts zeros for NaN."""
    for _ in range(4):
        node = index.makers.get(name)
        if node is None:
            break
        if node.op_type == "Softmax" and attribute(node, "axis", -1) in (-1, 3):
            return node
        if node.op_type == "Where" and index.maker(node.input[0], "IsNaN"):
            name = node.input[2]
        elif node.op_type in PASSING:
            name = node.input[0]
        else:
            break
    raise NotFusableError(f"{name} is not made by a Softmax over the scores")


def _scores(index: GraphIndex, name: str) -> Scores | None:
    """The scores that a value is, walking back to the MatMul of queries and keys."""
    node = index.makers.get(name)
    if node is None:
        return None
    if node.op_type == "MatMul":
        return Scores(query=node.input[0], key=node.input[1])
    if node.op_type in PASSING:
        return _scores(index, node.input[0])
    if node.op_type in ("Mul", "Div"):
        scaled = _scaling(index, node)
        found = _scores(index, scaled[0]) if scaled else None
        return replace(found, scalars=(*found.scalars, scaled[1])) if scaled and found and not found.bias else None
    if node.op_type == "Add":
        for part, bias in permutations(node.input):
            found = _scores(index, part)
            if found is not None and found.bias is None:
                return replace(found, bias=bias)
    return None


def _scaling(index: GraphIndex, node: NodeProto) -> tuple[str, tuple[str, int]] | None:
    """What a Mul or Div scales, and the scalar; None if it does something else."""
    if index.is_scalar(node.input[1]):
        return node.input[0], (node.input[1], 1 if node.op_type == "Mul" else -1)
    if node.op_type == "Mul" and index.is_scalar(node.input[0]):
        return node.input[1], (node.input[0], 1)
    return None


def _unscaled(
    index: GraphIndex, name: str, steps: frozenset[str], end: str | None
) -> tuple[str, tuple[tuple[str, int], ...]]:
    """Walk back over scalings and `steps`, up to `end` if there is one: where it ended, and the scalars."""
    scalars: list[tuple[str, int]] = []
    while name != end:
        node = index.makers.get(name)
        scaled = _scaling(index, node) if node is not None and node.op_type in ("Mul", "Div") else None
        if scaled is not None:
            name = scaled[0]
            scalars.append(scaled[1])
        elif node is not None and node.op_type in steps:
            name = node.input[0]
        elif end is None:
            break
        else:
            raise NotFusableError(f"{name} is not made of {end}")
    return name, tuple(scalars)
