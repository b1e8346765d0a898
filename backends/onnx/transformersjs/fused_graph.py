"""Rewrites a decoder of primitive nodes into one with onnxruntime's GroupQueryAttention: `write_fused`.

A layer's attention is some 60 small nodes in optimum's exports, and one node here. What a graph adds to the scores,
scales them by and rotates by is not guessed from its nodes or from the config, but asked of it (`Questions`): fused is
only what masks causally up to the whole context, without a window. Above it: `fast_path`, which still compares tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from backends.onnx.session import ELEMENT_TYPES
from backends.onnx.transformersjs.attention_pattern import (
    HEADS_FIRST,
    GraphIndex,
    Layer,
    NotFusableError,
    Rotary,
    attribute,
    find_layer,
)
from backends.onnx.transformersjs.attention_questions import Questions
from backends.onnx.transformersjs.graph import Cache, DecoderGraph
from backends.onnx.transformersjs.partial_run import Array

LARGEST_BYTES = 2_000_000_000
"""Of a graph with its weights; protobuf holds no more than 2 GiB."""

MS_DOMAIN = "com.microsoft"
OLDEST_OPSET = 13
"""From here on ReduceSum takes its axes as an input."""

_LENGTHS = ("fused.seqlens_k", "fused.total_sequence_length")


def write_fused(graph: DecoderGraph, heads: int, context: int, target: Path) -> DecoderGraph:
    """Write the fused form of a graph with `heads` query heads, for `context` tokens, with the weights in the file.

    Raises NotFusableError, EngineError (the runtime does not take a part of the graph), OSError.
    """
    model = _load(graph.file)
    _require_plain(model)
    index = GraphIndex(model.graph)
    layers = [find_layer(index, key, value) for key, value in _pairs(graph.caches)]
    questions = Questions(model, index, layers, heads, context)
    fusion = _Fusion(model, index, heads, questions.angles())
    for layer, scale in zip(layers, questions.scales(), strict=True):
        fusion.replace(layer, scale)
    inputs = fusion.finish(graph)
    onnx.save(model, str(target))
    return replace(graph, file=target, inputs=inputs, shares_cache=True)


def _load(file: Path) -> Any:
    """A model with its external data, whose places are checked already.

    onnx itself reads no data behind a symbolic link (1.23), and the cache of Hugging Face's hub has nothing else.
    """
    model = onnx.load(str(file), load_external_data=False)
    for weight in model.graph.initializer:
        if weight.data_location == TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in weight.external_data}
            with (file.parent / place["location"]).open("rb") as data:
                data.seek(int(place.get("offset", 0)))
                weight.raw_data = data.read(int(place.get("length", -1)))
            del weight.external_data[:]
            weight.data_location = TensorProto.DEFAULT
    return model


def _pairs(caches: Sequence[Cache]) -> list[tuple[Cache, Cache]]:
    """Each layer's keys and values."""
    named = {cache.past: cache for cache in caches}
    return [(cache, named[name.replace(".key", ".value")]) for name, cache in named.items() if name.endswith(".key")]


def _require_plain(model: Any) -> None:
    """NotFusableError for a graph with branches or in an old form of ONNX."""
    kinds = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    if any(given.type in kinds for node in model.graph.node for given in node.attribute):
        raise NotFusableError("the graph has branches")
    if next((entry.version for entry in model.opset_import if not entry.domain), 0) < OLDEST_OPSET:
        raise NotFusableError(f"the graph is older than opset {OLDEST_OPSET}")


class _Fusion:
    """The graph in the making: new nodes stand where the old ones did, and what nobody reads goes at the end."""

    def __init__(self, model: Any, index: GraphIndex, heads: int, tables: Mapping[str, Array]) -> None:
        self._model = model
        self._graph = model.graph
        self._index = index
        self._heads = heads
        self._tables = tables
        self._replaced: dict[str, list[Any]] = {}
        self._dropped: set[str] = set()
        self._head = self._lengths()

    def replace(self, layer: Layer, scale: float) -> None:
        """Put one GroupQueryAttention in the place of a layer's attention."""
        found, key = layer.attention, layer.key
        rotary = layer.rotary if layer.rotary and {layer.rotary.cos, layer.rotary.sin} <= self._tables.keys() else None
        sources = (rotary.query, rotary.key) if rotary else (found.query, found.key)
        nodes: list[Any] = []
        kv_heads, width = key.shape[1], key.shape[3]
        flat = [
            self._flat(nodes, name, count * width)
            for name, count in zip((*sources, found.value), (self._heads, kv_heads, kv_heads), strict=True)
        ]
        angles = self._angles(rotary, key) if rotary else ()
        nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                [*flat, key.past, layer.value.past, *_LENGTHS, *angles],
                [found.output, key.present, layer.value.present],
                name=f"fused.{key.present}",
                domain=MS_DOMAIN,
                num_heads=self._heads,
                kv_num_heads=kv_heads,
                scale=scale,
                do_rotary=int(rotary is not None),
            )
        )
        self._replaced[found.output] = nodes
        self._dropped |= {found.output, key.present, layer.value.present}

    def finish(self, graph: DecoderGraph) -> dict[str, Any]:
        """Drop what is not needed any more; returns the inputs that are left, without the caches.

        NotFusableError if anything but the attention looks at a cache: its length is that of the whole buffer then.
        """
        kept = self._needed(self._ordered())
        read = {name for node in kept for name in node.input}
        caches = {name for cache in graph.caches for name in (cache.past, cache.present)}
        if any(caches & set(node.input) and node.op_type != "GroupQueryAttention" for node in kept):
            raise NotFusableError("more than the attention reads the cache")
        _put(self._graph.node, kept)
        _put(self._graph.initializer, [weight for weight in self._graph.initializer if weight.name in read])
        _put(self._graph.input, [value for value in self._graph.input if value.name in read])
        _put(self._graph.value_info, [])
        if all(entry.domain != MS_DOMAIN for entry in self._model.opset_import):
            self._model.opset_import.append(helper.make_opsetid(MS_DOMAIN, 1))
        return {name: value for name, value in graph.inputs.items() if name in read}

    def _ordered(self) -> list[Any]:
        """All nodes, the new ones in the places of those that made their outputs."""
        nodes = list(self._head)
        for node in self._graph.node:
            if node.output[0] in self._replaced:
                nodes += self._replaced[node.output[0]]
            elif node.output[0] not in self._dropped:
                nodes.append(node)
        return nodes

    def _needed(self, nodes: Sequence[Any]) -> list[Any]:
        """The nodes that the graph's outputs depend on."""
        wanted = {value.name for value in self._graph.output}
        kept = []
        for node in reversed(nodes):
            if wanted & set(node.output):
                wanted |= set(node.input)
                kept.append(node)
        return kept[::-1]

    def _lengths(self) -> list[Any]:
        """`seqlens_k` (last valid position) and `total_sequence_length`, int32, out of the attention mask."""
        one = self._weight("fused.one", np.array([1], np.int64))
        axis = self._weight("fused.axis", np.array(1, np.int64))
        mask, int32 = "attention_mask", TensorProto.INT32
        return [
            helper.make_node("ReduceSum", [mask, one], ["fused.count"], keepdims=1),
            helper.make_node("Sub", ["fused.count", one], ["fused.last"]),
            helper.make_node("Cast", ["fused.last"], [_LENGTHS[0]], to=int32),
            helper.make_node("Shape", [mask], ["fused.shape"]),
            helper.make_node("Gather", ["fused.shape", axis], ["fused.total"]),
            helper.make_node("Cast", ["fused.total"], [_LENGTHS[1]], to=int32),
        ]

    def _angles(self, rotary: Rotary, cache: Cache) -> tuple[str, ...]:
        dtype = ELEMENT_TYPES[cache.element]
        return tuple(
            self._weight(f"fused.{name}", np.ascontiguousarray(self._tables[name], dtype))
            for name in (rotary.cos, rotary.sin)
        )

    def _flat(self, nodes: list[Any], name: str, width: int) -> str:
        """`(batch, heads, length, size)` as `(batch, length, width)`: what it was made of, or two nodes more."""
        turned = self._index.maker(name, "Transpose")
        if turned is not None and attribute(turned, "perm", None) == HEADS_FIRST:
            source: str = turned.input[0]
        else:
            source = f"fused.turned.{name}"
            nodes.append(helper.make_node("Transpose", [name], [source], perm=HEADS_FIRST))
        split = self._index.maker(source, "Reshape")
        if split is not None:
            return str(split.input[0])
        shape = self._weight(f"fused.shape.{width}", np.array([0, 0, width], np.int64))
        nodes.append(helper.make_node("Reshape", [source, shape], [f"fused.flat.{name}"]))
        return f"fused.flat.{name}"

    def _weight(self, name: str, value: Array) -> str:
        """Add a weight, once."""
        if name not in self._index.weights:
            self._index.weights[name] = numpy_helper.from_array(value, name)
            self._graph.initializer.append(self._index.weights[name])
        return name


def _put(field: Any, values: Sequence[Any]) -> None:
    """Replace the content of a repeated field of protobuf."""
    copies = list(values)
    del field[:]
    field.extend(copies)
