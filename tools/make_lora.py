"""Gives a graph the optional inputs of LoRA adapters, and writes an adapter for it with random weights.

    python -m tools.make_lora FOLDER/onnx/model.onnx OUT.onnx_adapter

Each matrix of the graph gets a branch beside it, as Olive's exports have them: the source times `<name>.lora_A.weight`
times `<name>.lora_B.weight` is added to the product. Both have rank 0 where a run gives none, so without an adapter the
model says what it said before, and adapters of every rank fit. Needs numpy, onnx and onnxruntime.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Parameters = Mapping[str, npt.NDArray[Any]]

RANK = 4
_ELEMENTS: Mapping[int, Any] = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}
_DATA_SUFFIXES = (".data", "_data")


@dataclass(frozen=True, slots=True)
class Matrix:
    """A product with a weight `(rows, columns)` in a graph; element is the type in which the graph computes there."""

    node: onnx.NodeProto
    name: str
    rows: int
    columns: int
    element: int


def find_matrices(graph: onnx.GraphProto) -> Iterator[Matrix]:
    """The products with a stored matrix, plain or in 4-bit blocks; those in the branches of an If are left out."""
    stored = {weight.name: weight for weight in graph.initializer}
    for node in graph.node:
        weight = stored.get(node.input[1]) if len(node.input) > 1 else None
        if node.op_type == "MatMul" and weight is not None and len(weight.dims) == 2:
            yield Matrix(node, weight.name.removesuffix(".weight"), weight.dims[0], weight.dims[1], weight.data_type)
        elif node.op_type == "MatMulNBits" and weight is not None:
            sizes = {attribute.name: attribute.i for attribute in node.attribute}
            element = stored[node.input[2]].data_type
            yield Matrix(node, weight.name.removesuffix(".q4"), sizes["K"], sizes["N"], element)


def add_inputs(model: onnx.ModelProto) -> dict[str, Matrix]:
    """Give every matrix of a graph its branch; returns them by name. ValueError if the graph has none."""
    graph = model.graph
    matrices = {matrix.name: matrix for matrix in find_matrices(graph)}
    if not matrices:
        raise ValueError("the graph has no product with a stored matrix")
    nodes: list[onnx.NodeProto] = []
    branches = {matrix.node.output[0]: matrix for matrix in matrices.values()}
    for node in graph.node:
        nodes.append(node)
        matrix = branches.get(node.output[0])
        if matrix is not None:
            nodes.extend(_branch(matrix))
            graph.input.extend(_inputs(matrix))
            graph.initializer.extend(_defaults(matrix))
    del graph.node[:]
    graph.node.extend(nodes)
    return matrices


def random_parameters(matrices: Mapping[str, Matrix], rank: int = RANK, seed: int = 1) -> dict[str, npt.NDArray[Any]]:
    """Weights of an adapter that changes each product by about a third."""
    random = np.random.default_rng(seed)
    parameters: dict[str, npt.NDArray[Any]] = {}
    for name, matrix in sorted(matrices.items()):
        for part, shape, scale in _parts(matrix, rank):
            values = random.standard_normal(shape, dtype=np.float32) * np.float32(scale)
            parameters[f"{name}.{part}.weight"] = values.astype(_ELEMENTS[matrix.element])
    return parameters


def write_adapter(path: Path, parameters: Parameters) -> None:
    """Write an `.onnx_adapter`."""
    import onnxruntime

    adapter = onnxruntime.AdapterFormat()
    adapter.set_adapter_version(1)
    adapter.set_model_version(1)
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in parameters.items()}
    adapter.set_parameters(values)
    adapter.export_adapter(str(path))


def adapt_graph(path: Path) -> dict[str, Matrix]:
    """Rewrite a graph's file with the inputs of adapters; its external data file keeps its name."""
    model = onnx.load(str(path))
    data = [path.with_name(path.name + suffix) for suffix in _DATA_SUFFIXES]
    external = next((file for file in data if file.is_file()), None)
    matrices = add_inputs(model)
    if external is None:
        onnx.save(model, str(path))
    else:
        external.unlink()
        onnx.save(model, str(path), save_as_external_data=True, location=external.name)
    return matrices


def _parts(matrix: Matrix, rank: int) -> Iterator[tuple[str, tuple[int, int], float]]:
    """The names, shapes and standard deviations of the two factors."""
    wide = max(rank, 1)
    yield "lora_A", (matrix.rows, rank), matrix.rows**-0.5
    yield "lora_B", (rank, matrix.columns), 0.6 * wide**-0.5


def _inputs(matrix: Matrix) -> list[onnx.ValueInfoProto]:
    # A rank of its own each: onnxruntime takes equal names for equal sizes, and an adapter may leave a matrix out.
    rank = f"{matrix.name}.rank"
    shapes: dict[str, list[int | str]] = {"lora_A": [matrix.rows, rank], "lora_B": [rank, matrix.columns]}
    return [
        helper.make_tensor_value_info(f"{matrix.name}.{part}.weight", matrix.element, shape)
        for part, shape in shapes.items()
    ]


def _defaults(matrix: Matrix) -> list[onnx.TensorProto]:
    """Factors of rank 0, whose product is zero."""
    return [
        numpy_helper.from_array(np.zeros(shape, dtype=_ELEMENTS[matrix.element]), f"{matrix.name}.{part}.weight")
        for part, shape, _ in _parts(matrix, 0)
    ]


def _branch(matrix: Matrix) -> list[onnx.NodeProto]:
    """Take the product's place under its name, and add the adapter's to it."""
    result, name, node = matrix.node.output[0], matrix.name, matrix.node
    node.output[0] = f"{name}.base"
    low, high = f"{name}.lora_A.out", f"{name}.lora_B.out"
    return [
        helper.make_node("MatMul", [node.input[0], f"{name}.lora_A.weight"], [low], name=low),
        helper.make_node("MatMul", [low, f"{name}.lora_B.weight"], [high], name=high),
        helper.make_node("Add", [node.output[0], high], [result], name=f"{name}.lora"),
    ]


def main() -> None:
    """Change the graph that the command line names, and write an adapter for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("--rank", type=int, default=RANK)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    matrices = adapt_graph(arguments.graph)
    write_adapter(arguments.adapter, random_parameters(matrices, arguments.rank, arguments.seed))
    print(f"{arguments.adapter}: {len(matrices)} matrices")


if __name__ == "__main__":
    main()
