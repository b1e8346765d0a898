"""Joins two decoders, one without and one with a cache, as optimum does (`optimum/onnx/graph_transformations.py`)."""

from collections.abc import Iterable

import onnx
from onnx import TensorProto, helper


def merge_decoders(first: onnx.ModelProto, later: onnx.ModelProto) -> onnx.ModelProto:
    """One model that runs `later` where its bool[1] input `use_cache_branch` is true, else `first`.

    Its inputs are those of both, its outputs those of `later`, which `first` must have too, under the same names.
    Weights that are the same in both are kept once, outside the branches.
    """
    shared = _shared_weights(first.graph, later.graph)
    branches = {"then_branch": _branch(later.graph, shared), "else_branch": _branch(first.graph, shared)}
    outputs = [output.name for output in later.graph.output]
    node = helper.make_node("If", ["use_cache_branch"], outputs, name="use_cache_branch/If", **branches)
    switch = helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    inputs = [*_by_name([*later.graph.input, *first.graph.input]).values(), switch]
    body = helper.make_graph([node], "merged", inputs, list(later.graph.output), list(shared.values()))
    return helper.make_model(body, opset_imports=later.opset_import, ir_version=later.ir_version)


def _by_name(values: Iterable[onnx.ValueInfoProto]) -> dict[str, onnx.ValueInfoProto]:
    named: dict[str, onnx.ValueInfoProto] = {}
    for value in values:
        named.setdefault(value.name, value)
    return named


def _shared_weights(first: onnx.GraphProto, later: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Initializers of both graphs with equal name and value."""
    others = {weight.name: weight for weight in first.initializer}
    return {weight.name: weight for weight in later.initializer if others.get(weight.name) == weight}


def _branch(graph: onnx.GraphProto, shared: dict[str, onnx.TensorProto]) -> onnx.GraphProto:
    """A graph as the branch of an If node: no inputs, and only the weights that are its own."""
    own = [weight for weight in graph.initializer if weight.name not in shared]
    return helper.make_graph(list(graph.node), graph.name, [], list(graph.output), own)
