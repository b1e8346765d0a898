"""Reads what we must know of an ONNX file before an engine touches it: its external data files and its inputs' types.

A walk over protobuf's wire format (protobuf.dev, "Encoding") with the field numbers of `onnx.proto3` (ONNX IR 10);
weights are stepped over, so a file of gigabytes takes milliseconds. Standard library only.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_MODEL_GRAPH = 7
_GRAPH_NODE = 1
_GRAPH_INITIALIZER = 5
_GRAPH_INPUT = 11
_GRAPH_OUTPUT = 12
_NODE_OPERATOR, _NODE_ATTRIBUTE = 4, 5
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = (5, 10), (6, 11)
_TENSOR_NAME = 8
_TENSOR_EXTERNAL_DATA = 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR = 1
_TENSOR_ELEMENT, _TENSOR_SHAPE = 1, 2
_SHAPE_DIMENSION = 1
_DIMENSION_VALUE, _DIMENSION_NAME = 1, 2


class OnnxError(Exception):
    """The file is not an ONNX model, or is cut off."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """A value's element type (a number of `TensorProto.DataType`) and its dimensions.

    A dimension that is not fixed is its name, or None without one.
    """

    element: int
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True, slots=True)
class OnnxHeader:
    """External data files by name with the bytes each must have; inputs and outputs by name with their types.

    optional are the inputs for which the graph has a value of its own: those that a LoRA adapter fills, and in files
    before IR version 4 every weight. operators are the kinds of its nodes, those in the branches of an `If` not
    included.
    """

    external: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, TensorType] = field(default_factory=dict)
    optional: dict[str, TensorType] = field(default_factory=dict)
    outputs: dict[str, TensorType] = field(default_factory=dict)
    operators: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Field:
    """One field: its number, its value if it is a varint, else where its bytes begin and end."""

    number: int
    value: int
    start: int
    end: int


def read_header(path: Path) -> OnnxHeader:
    """Read a model's header. Raises OnnxError, OSError."""
    if path.stat().st_size == 0:
        raise OnnxError("the file is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        header, weights = OnnxHeader(), set[str]()
        graphs = [part for part in _fields(data, 0, len(data)) if part.number == _MODEL_GRAPH]
        if len(graphs) != 1:
            raise OnnxError("there is no graph in it")
        for part in _fields(data, graphs[0].start, graphs[0].end):
            _read_part(data, part, header, weights)
        for name in weights & header.inputs.keys():
            header.optional[name] = header.inputs.pop(name)
        return header


def _read_part(data: mmap.mmap, part: _Field, header: OnnxHeader, weights: set[str]) -> None:
    """Read one field of the graph."""
    if part.number == _GRAPH_INITIALIZER:
        weights.add(_read_initializer(data, part, header.external))
    elif part.number == _GRAPH_INPUT:
        _read_value(data, part, header.inputs)
    elif part.number == _GRAPH_OUTPUT:
        _read_value(data, part, header.outputs)
    elif part.number == _GRAPH_NODE:
        _read_node(data, part, header)


def _read_node(data: mmap.mmap, node: _Field, header: OnnxHeader) -> None:
    """Read a node's operator, and of the graphs that it holds (the branches of an `If`) their weights' places."""
    for inner in _fields(data, node.start, node.end):
        if inner.number == _NODE_OPERATOR:
            header.operators.add(_text(data, inner))
        elif inner.number == _NODE_ATTRIBUTE:
            _read_branches(data, inner, header.external)


def _read_branches(data: mmap.mmap, attribute: _Field, external: dict[str, int]) -> None:
    """Read the weights' places in an attribute's graphs and in theirs, however deep; weights in nodes are found too."""
    pending = [attribute]
    while pending:
        outer = pending.pop()
        for part in _fields(data, outer.start, outer.end):
            pending += _inner_parts(data, part, external)


def _inner_parts(data: mmap.mmap, part: _Field, external: dict[str, int]) -> list[_Field]:
    """The attributes that a part of an attribute leads to; what is a weight is read."""
    if part.number in _ATTRIBUTE_TENSORS and part.end > part.start:
        _read_initializer(data, part, external)
    if part.number not in _ATTRIBUTE_GRAPHS:
        return []
    fields = list(_fields(data, part.start, part.end))
    for weight in fields:
        if weight.number == _GRAPH_INITIALIZER:
            _read_initializer(data, weight, external)
    nodes = (inner for inner in fields if inner.number == _GRAPH_NODE)
    return [inner for node in nodes for inner in _fields(data, node.start, node.end) if inner.number == _NODE_ATTRIBUTE]


def _read_initializer(data: mmap.mmap, tensor: _Field, external: dict[str, int]) -> str:
    """Read a weight's place, if it is in another file; returns the weight's name."""
    weight, entries = "", dict[str, str]()
    for entry in _fields(data, tensor.start, tensor.end):
        if entry.number == _TENSOR_NAME:
            weight = _text(data, entry)
        elif entry.number == _TENSOR_EXTERNAL_DATA:
            pair = {part.number: _text(data, part) for part in _fields(data, entry.start, entry.end)}
            entries[pair.get(_ENTRY_KEY, "")] = pair.get(_ENTRY_VALUE, "")
    if "location" in entries:
        name, end = entries["location"], _number(entries, "offset") + _number(entries, "length")
        external[name] = max(end, external.get(name, 0))
    return weight


def _read_value(data: mmap.mmap, value: _Field, values: dict[str, TensorType]) -> None:
    parts = {part.number: part for part in _fields(data, value.start, value.end)}
    if _VALUE_NAME not in parts or _VALUE_TYPE not in parts:
        return
    kind = parts[_VALUE_TYPE]
    for tensor in _fields(data, kind.start, kind.end):
        if tensor.number == _TYPE_TENSOR:
            values[_text(data, parts[_VALUE_NAME])] = _tensor_type(data, tensor)


def _tensor_type(data: mmap.mmap, tensor: _Field) -> TensorType:
    element, shape = 0, list[int | str | None]()
    for part in _fields(data, tensor.start, tensor.end):
        if part.number == _TENSOR_ELEMENT:
            element = part.value
        elif part.number == _TENSOR_SHAPE:
            dimensions = _fields(data, part.start, part.end)
            shape = [_dimension(data, size) for size in dimensions if size.number == _SHAPE_DIMENSION]
    return TensorType(element, tuple(shape))


def _dimension(data: mmap.mmap, dimension: _Field) -> int | str | None:
    for part in _fields(data, dimension.start, dimension.end):
        if part.number == _DIMENSION_VALUE:
            return part.value
        if part.number == _DIMENSION_NAME:
            return _text(data, part)
    return None


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[_Field]:
    while start < end:
        key, start = _varint(data, start, end)
        number, wire = key >> 3, key & 7
        value, size = 0, 0
        if wire == _VARINT:
            value, start = _varint(data, start, end)
        elif wire == _BYTES:
            size, start = _varint(data, start, end)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise OnnxError("it is not in protobuf's format")
        if number == 0 or start + size > end:
            raise OnnxError("it is cut off or not an ONNX model")
        yield _Field(number, value, start, start + size)
        start += size


def _varint(data: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if start >= end:
            break
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
    raise OnnxError("it is cut off or not an ONNX model")


def _text(data: mmap.mmap, field: _Field) -> str:
    return data[field.start : field.end].decode("utf-8", "replace")


def _number(entries: dict[str, str], key: str) -> int:
    text = entries.get(key, "0")
    return int(text) if text.isdecimal() else 0
