"""The reader of ONNX headers on good files, on damaged ones and on anything at all."""

from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.onnx.onnx_file import OnnxError, OnnxHeader, TensorType, read_header


def read(file: Path, data: bytes) -> OnnxHeader | None:
    """The header of a file with these bytes, None if it is refused; anything else is a failure."""
    file.write_bytes(data)
    try:
        return read_header(file)
    except OnnxError:
        return None


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx") / "model.onnx"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model with external data, and inputs with fixed and open dimensions."""
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2, 3], b"\0" * 24, raw=True)
    onnx.external_data_helper.set_external_data(tensor, "weights.data", offset=64, length=24)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    shape: list[str | int | None] = ["batch", 2, None, 16]
    cache = onnx.helper.make_tensor_value_info("past.0.key", onnx.TensorProto.FLOAT16, shape)
    graph = onnx.helper.make_graph([], "g", [cache], [], [tensor])
    data: bytes = onnx.helper.make_model(graph).SerializeToString()
    return data


def test_external_data_and_inputs_are_found(file: Path, whole: bytes) -> None:
    header = read(file, whole)
    assert header == OnnxHeader({"weights.data": 88}, {"past.0.key": TensorType(10, ("batch", 2, None, 16))})


def test_external_data_in_the_branches_of_an_if_is_found(file: Path) -> None:
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2, 3], b"\0" * 24, raw=True)
    onnx.external_data_helper.set_external_data(tensor, "../elsewhere.data", offset=0, length=24)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 3])
    inner = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["w"], ["y"])], "inner", [], [result], [tensor])
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    outer = onnx.helper.make_graph([node], "outer", [], [result])
    wrapped = onnx.helper.make_node("If", ["c"], ["y"], then_branch=outer, else_branch=outer)
    condition = onnx.helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])
    graph = onnx.helper.make_graph([wrapped], "g", [condition], [result])
    header = read(file, onnx.helper.make_model(graph).SerializeToString())
    assert header is not None
    assert header.external == {"../elsewhere.data": 24}


def test_a_file_cut_off_anywhere_is_refused_or_read(file: Path, whole: bytes) -> None:
    results = [read(file, whole[:length]) for length in range(len(whole))]
    assert results[0] is None
    assert results[len(whole) // 2] is None


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused_or_read(file: Path, data: bytes) -> None:
    read(file, data)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_flipped_byte_is_refused_or_read(file: Path, whole: bytes, place: int, value: int) -> None:
    damaged = bytearray(whole)
    damaged[place % len(damaged)] = value
    read(file, bytes(damaged))
