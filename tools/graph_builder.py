"""Collects the nodes and the weights of an ONNX graph; knows no architecture. Needs numpy and onnx."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

FloatArray = npt.NDArray[np.float32]
Sizes = Sequence[int | str]

MS_DOMAIN = "com.microsoft"
OPSET = 21
BLOCK = 32


def quantize_4bit(weight: FloatArray) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """Symmetric 4-bit blocks of a matrix `(rows, columns)` for MatMulNBits: packed `(columns, blocks, 16)`, and scales.

    Rounds as onnxruntime does (`core/mlas/lib/q4_dq.cpp`): the value furthest from zero becomes -8.
    """
    blocks = weight.T.reshape(weight.shape[1], -1, BLOCK)
    furthest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1, keepdims=True), -1)
    scales = np.where(furthest == 0, 1, furthest / -8).astype(np.float32)
    codes = np.clip(np.rint(blocks / scales) + 8, 0, 15).astype(np.uint8)
    return codes[..., ::2] | codes[..., 1::2] << 4, scales.reshape(-1)


def dequantize_4bit(packed: npt.NDArray[np.uint8], scales: FloatArray) -> FloatArray:
    """The matrix `(rows, columns)` that MatMulNBits multiplies by (zero point 8)."""
    codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:2], BLOCK)
    values = (codes.astype(np.float32) - 8) * scales.reshape(*packed.shape[:2], 1)
    return np.ascontiguousarray(values.reshape(packed.shape[0], -1).T)


def seeded_matrix(seed: int, name: str, rows: int, columns: int) -> FloatArray:
    """A standard normal matrix `(rows, columns)` that depends on the seed and the weight's name alone."""
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return random.standard_normal((rows, columns), dtype=np.float32)


class GraphBuilder:
    """A graph in the making; floats are fp32, or fp16 with `half`; `four_bit` stores matrices in 4-bit blocks."""

    def __init__(self, half: bool = False, four_bit: bool = False, accuracy_level: int = 4) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.float_type = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        self.four_bit = four_bit
        self._accuracy_level = accuracy_level
        self._names = 0

    def add(self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its first output; the others are that name with `.1`, `.2` ..."""
        self._names += 1
        name = f"{op}_{self._names}"
        names = [name, *(f"{name}.{index}" for index in range(1, outputs))]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=name, domain=domain, **attributes))
        return name

    def name_output(self, source: str, name: str, shape: Sizes, element: int) -> str:
        """Make a node's output one of the graph's, under another name; returns that name. Nothing may have read it yet.

        No Identity in between: onnxruntime would copy a cache there that is to stay in its buffer.
        """
        node = next(node for node in reversed(self.nodes) if source in node.output)
        node.output[list(node.output).index(source)] = name
        self.outputs.append(helper.make_tensor_value_info(name, element, list(shape)))
        return name

    def input(self, name: str, shape: Sizes, element: int = TensorProto.INT64) -> str:
        """Add an input of the graph."""
        self.inputs.append(helper.make_tensor_value_info(name, element, list(shape)))
        return name

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add an initializer; fp32 values become fp16 where the graph's floats are."""
        if value.dtype == np.float32 and self.float_type == TensorProto.FLOAT16:
            value = value.astype(np.float16)
        self.weights[name] = numpy_helper.from_array(value, name)
        return name

    def ints(self, *values: int) -> str:
        """An int64 vector as an initializer, one for all its uses."""
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def index(self, value: int) -> str:
        """An int64 scalar as an initializer."""
        return self.constant(f"int_{value}", np.array(value, dtype=np.int64))

    def real(self, name: str, value: float) -> str:
        """A scalar of the graph's float type as an initializer."""
        return self.constant(name, np.array(value, dtype=np.float32))

    def multiply(self, name: str, source: str, weight: FloatArray) -> str:
        """Multiply by a weight `(rows, columns)`, which becomes a float matrix or 4-bit blocks."""
        if self.four_bit:
            return self.multiply_packed(name, source, *quantize_4bit(weight))
        return self.add("MatMul", source, self.constant(f"{name}.weight", weight))

    def multiply_packed(self, name: str, source: str, packed: npt.NDArray[np.uint8], scales: FloatArray) -> str:
        """Multiply by 4-bit blocks (`quantize_4bit`), with MatMulNBits or by the float matrix that they stand for."""
        if not self.four_bit:
            return self.multiply(name, source, dequantize_4bit(packed, scales))
        columns, blocks, _ = packed.shape
        weights = (self.constant(f"{name}.q4", packed), self.constant(f"{name}.scales", scales))
        sizes = {"K": blocks * BLOCK, "N": columns, "bits": 4, "block_size": BLOCK}
        level = self._accuracy_level
        return self.add("MatMulNBits", source, *weights, domain=MS_DOMAIN, accuracy_level=level, **sizes)

    def rms_norm(self, source: str, scale: str, epsilon: float) -> str:
        """Root mean square norm by primitive nodes."""
        mean = self.add("ReduceMean", self.add("Pow", source, self.real("two", 2.0)), self.ints(-1), keepdims=1)
        root = self.add("Sqrt", self.add("Add", mean, self.real("epsilon", epsilon)))
        return self.add("Mul", scale, self.add("Div", source, root))

    def dimension(self, source: str, axis: int) -> str:
        """A dimension of a tensor, int64 scalar."""
        return self.add("Gather", self.add("Shape", source), self.index(axis))

    def heads(self, source: str, heads: int, head_size: int) -> str:
        """`(batch, length, heads * head_size)` as `(batch, heads, length, head_size)`."""
        parts = self.add("Reshape", source, self.ints(0, 0, heads, head_size))
        return self.add("Transpose", parts, perm=[0, 2, 1, 3])

    def unheads(self, source: str, width: int) -> str:
        """The way back from `heads`."""
        return self.add("Reshape", self.add("Transpose", source, perm=[0, 2, 1, 3]), self.ints(0, 0, width))

    def attend(self, query: str, key: str, value: str, bias: str, scale: float) -> str:
        """Softmax attention by primitive nodes; heads are in dimension 1, `bias` is added to the scores."""
        scores = self.add("MatMul", query, self.add("Transpose", key, perm=[0, 1, 3, 2]))
        scaled = self.add("Mul", scores, self.real(f"scale_{scale:.6f}", scale))
        return self.add("MatMul", self.add("Softmax", self.add("Add", scaled, bias), axis=-1), value)

    def bias(self, allowed: str) -> str:
        """0 where a bool tensor is true, else the lowest value that fp16 holds too."""
        return self.add("Where", allowed, self.real("zero", 0.0), self.real("masked", -65504.0))

    def model(self, name: str) -> onnx.ModelProto:
        """The finished model."""
        body = helper.make_graph(self.nodes, name, self.inputs, self.outputs, list(self.weights.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MS_DOMAIN, 1)]
        return helper.make_model(body, opset_imports=opsets, ir_version=10)
