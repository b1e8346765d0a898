"""Which of a folder's weights are loaded."""

import pytest

from backends.onnx.devices import DEVICES, named_device
from backends.onnx.transformersjs.dtypes import SUFFIXES, choose_dtype
from messages.errors import ErrorCode, HostError

CPU, CUDA = named_device("cpu", DEVICES), named_device("cuda", DEVICES)


@pytest.mark.parametrize(
    ("available", "on_cpu", "on_cuda"),
    [
        (set(SUFFIXES), "q4", "q4f16"),
        ({"fp32", "fp16", "int8"}, "int8", "fp16"),
        ({"fp32", "fp16"}, "fp32", "fp16"),
        ({"q4", "fp32"}, "q4", "q4"),
        ({"q4f16", "fp16"}, "q4f16", "q4f16"),
        ({"uint8", "q8"}, "q8", "q8"),
    ],
)
@pytest.mark.parametrize("wanted", [None, "auto"])
def test_the_best_weights_for_a_device_are_taken(
    wanted: str | None, available: set[str], on_cpu: str, on_cuda: str
) -> None:
    assert (choose_dtype(wanted, available, CPU), choose_dtype(wanted, available, CUDA)) == (on_cpu, on_cuda)


@pytest.mark.parametrize("dtype", SUFFIXES)
def test_whatever_a_folder_has_alone_is_taken_or_can_be_asked_for(dtype: str) -> None:
    for device in DEVICES:
        assert choose_dtype(None, {dtype}, device) == choose_dtype(dtype, set(SUFFIXES), device) == dtype


def test_quantized_is_another_word_for_q8() -> None:
    assert choose_dtype("quantized", {"q8"}, CPU) == "q8"


def test_weights_that_are_not_there_are_an_error_that_names_those_that_are() -> None:
    with pytest.raises(HostError) as caught:
        choose_dtype("bnb4", {"q4", "fp32"}, CPU)
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION
    assert caught.value.message == "The model's folder has no bnb4 weights; it has: fp32, q4."


def test_graphs_that_have_no_dtype_in_common_are_a_damaged_folder() -> None:
    with pytest.raises(HostError) as caught:
        choose_dtype(None, set(), CPU)
    assert caught.value.code is ErrorCode.MODEL_INVALID
