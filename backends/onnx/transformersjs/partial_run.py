"""Runs the part of a decoder that depends on lengths and positions alone: masks, scales, angles (`PartialRun`).

So what a graph computes is known from the graph itself, however it is written down. Above it: `fused_graph`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, ValueInfoProto, helper, numpy_helper

from backends.onnx.devices import CPU
from backends.onnx.session import ELEMENT_TYPES, Session
from backends.onnx.transformersjs.attention_pattern import GraphIndex, NotFusableError

LARGEST_BYTES = 2**26
"""Weights that such a part may have; more of them mean that it is another part."""

_FED = ("input_ids", "attention_mask", "position_ids")

Array = npt.NDArray[Any]


class PartialRun:
    """Some values of a graph. cuts are values fed as zeros, since only their shapes matter.

    A cut is given by its shape, with "new", "past" and "all" for the numbers of tokens.
    """

    def __init__(
        self, model: ModelProto, index: GraphIndex, cuts: Mapping[str, Sequence[int | str]], wanted: Sequence[str]
    ) -> None:
        """NotFusableError if the values depend on more; EngineError if the runtime does not take the part."""
        self._index = index
        self._cuts = cuts
        self.wanted = list(dict.fromkeys(wanted))
        self._known = {name: numpy_helper.to_array(index.weights[name]) for name in wanted if name in index.weights}
        self._element = next(value.type.tensor_type.elem_type for value in index.graph.input if value.name in cuts)
        self._inputs: dict[str, ValueInfoProto] = {}
        computed = [name for name in self.wanted if name not in self._known]
        part = self._part(computed)
        self._computed = computed
        whole = helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)
        self._session = Session(whole.SerializeToString(), CPU.placement, 1)

    def run(self, past: int, new: int, positions: Sequence[int] | None = None) -> dict[str, Array]:
        """The values for `new` tokens behind `past` ones; positions other than the usual ones if they are given."""
        tokens = np.zeros((1, new), np.int64), np.ones((1, past + new), np.int64)
        feeds: dict[str, Array] = dict(
            zip(_FED, (*tokens, np.array([positions or range(past, past + new)])), strict=True)
        )
        lengths = {"new": new, "past": past, "all": past + new}
        for name in self._inputs.keys() & self._cuts.keys():
            shape = [size if isinstance(size, int) else lengths[size] for size in self._cuts[name]]
            feeds[name] = np.zeros(shape, ELEMENT_TYPES[self._element])
        given = {name: feeds[name] for name in self._inputs}
        return dict(zip(self._computed, self._session.run_arrays(given, self._computed), strict=True)) | self._known

    @property
    def takes_positions(self) -> bool:
        """True if the positions are an input of this part."""
        return "position_ids" in self._inputs

    def close(self) -> None:
        """Free it."""
        self._session.close()

    def _part(self, wanted: Sequence[str]) -> GraphProto:
        """The nodes that make the wanted values, as a graph."""
        reached, weights = set[str](), dict[str, Any]()
        pending = list(wanted)
        while pending:
            name = pending.pop()
            node = self._index.makers.get(name)
            if name in self._index.weights:
                weights[name] = self._index.weights[name]
            elif name in self._cuts or node is None:
                self._inputs[name] = self._input(name)
            elif node.output[0] not in reached:
                reached.add(node.output[0])
                pending += [part for part in node.input if part]
        if sum(weight.ByteSize() for weight in weights.values()) > LARGEST_BYTES:
            raise NotFusableError("a mask or an angle depends on the weights")
        nodes = [node for node in self._index.graph.node if node.output[0] in reached]
        outputs = [ValueInfoProto(name=name) for name in wanted]
        return helper.make_graph(nodes, "part", list(self._inputs.values()), outputs, list(weights.values()))

    def _input(self, name: str) -> ValueInfoProto:
        if name in self._cuts:
            return helper.make_tensor_value_info(name, self._element, [None] * len(self._cuts[name]))
        given: dict[str, ValueInfoProto] = {value.name: value for value in self._index.graph.input}
        if name in given and name in _FED:
            return given[name]
        raise NotFusableError(f"a mask or an angle depends on {name}")
