"""LoRA adapters in both layouts: what they change, and what is refused."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper
from support.reference_text import Reference
from support.tiny_genai import load, make_tiny, run
from support.tiny_transformersjs import make_transformersjs

from backends.base import CancelToken, LoadSpec
from backends.onnx.backend import OnnxBackend
from backends.onnx.model import TextModel
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions
from tools.make_lora import adapt_graph, random_parameters, write_adapter

PROMPTS = ["Hello there", "the the", "ünï 😀"]


@dataclass(frozen=True, slots=True)
class Adapted:
    """A folder made for adapters, one that fits it, its parameters, and the same graph without the inputs."""

    folder: Path
    graph: Path
    plain_graph: Path
    adapter: Path
    parameters: dict[str, npt.NDArray[Any]]


def make(folder: Path, name: str) -> Adapted:
    """Make a folder's graph take adapters, and an adapter beside it."""
    graph = folder / name
    shutil.copytree(graph.parent, folder / "plain")
    matrices = adapt_graph(graph)
    parameters = random_parameters(matrices)
    write_adapter(folder / "tuned.onnx_adapter", parameters)
    return Adapted(folder, graph, folder / "plain" / graph.name, folder / "tuned.onnx_adapter", parameters)


@pytest.fixture(scope="module", params=["genai", "growing", "concat", "gqa", "q4", "fp16"])
def adapted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    """Each kind of folder."""
    folder = tmp_path_factory.mktemp("models") / str(request.param)
    match request.param:
        case "genai" | "growing":
            return make(make_tiny(folder, share_buffer=request.param == "genai"), "model.onnx")
        case "concat":
            return make(make_transformersjs(folder, dtypes=("fp32",)), "onnx/model.onnx")
        case "gqa":
            return make(make_transformersjs(folder, "tiny-gqa", dtypes=("fp32",)), "onnx/model.onnx")
    return make(make_transformersjs(folder, dtypes=(request.param,)), f"onnx/model_{request.param}.onnx")


@pytest.fixture
def backend(adapted: Adapted) -> Iterator[OnnxBackend]:
    """A backend with the adapter."""
    loaded = load(adapted.folder, lora=str(adapted.adapter))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def genai(tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    """One kind of folder, where it does not matter."""
    return make(make_tiny(tmp_path_factory.mktemp("models") / "one"), "model.onnx")


def refusal(folder: Path, lora: Path | str) -> HostError:
    """The error of a load with an adapter."""
    with pytest.raises(HostError) as caught:
        load(folder, lora=str(lora))
    return caught.value


def merged(adapted: Adapted, target: Path) -> Path:
    """The graph without inputs for adapters, the adapter added into its weights."""
    model = onnx.load(str(adapted.plain_graph))
    for weight in model.graph.initializer:
        name = weight.name.removesuffix(".weight")
        if f"{name}.lora_A.weight" in adapted.parameters:
            low, high = (adapted.parameters[f"{name}.lora_{part}.weight"] for part in "AB")
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + low @ high, weight.name))
    onnx.save(model, str(target))
    return target


def test_an_adapter_s_text_is_that_of_the_graph_given_its_weights(adapted: Adapted, backend: OnnxBackend) -> None:
    reference = Reference(adapted.folder, adapted.graph, adapted.parameters)
    plain = Reference(adapted.folder, adapted.plain_graph)
    for prompt in PROMPTS:
        text = run(backend, prompt).text
        assert text == reference.text(prompt)
        assert text != plain.text(prompt)


@pytest.mark.parametrize("adapted", ["genai", "concat", "gqa"], indirect=True)
def test_an_adapter_s_text_is_that_of_weights_it_was_added_to(
    adapted: Adapted, backend: OnnxBackend, tmp_path: Path
) -> None:
    reference = Reference(adapted.folder, merged(adapted, tmp_path / "merged.onnx"))
    assert [run(backend, prompt).text for prompt in PROMPTS] == [reference.text(prompt) for prompt in PROMPTS]


def test_without_the_option_a_folder_made_for_adapters_says_what_it_did_before(adapted: Adapted) -> None:
    backend = load(adapted.folder)
    reference = Reference(adapted.folder, adapted.plain_graph)
    assert [run(backend, prompt).text for prompt in PROMPTS] == [reference.text(prompt) for prompt in PROMPTS]
    backend.close()


def test_the_adapter_holds_after_a_rewind_a_cancel_and_a_cleared_cache(adapted: Adapted, backend: OnnxBackend) -> None:
    reference = Reference(adapted.folder, adapted.graph, adapted.parameters)
    long = "The quick brown fox jumps over the lazy dog. " * 8
    run(backend, long)
    assert run(backend, long[:50] + "?").text == reference.text(long[:50] + "?")
    cancel = CancelToken()
    cancel.cancel()
    run(backend, "Hello", cancel=cancel)
    assert run(backend, "Hello").text == reference.text("Hello")
    loaded = backend._loaded
    assert isinstance(loaded, TextModel)
    loaded.cache.clear()
    assert run(backend, long[:40]).text == reference.text(long[:40])


def test_an_adapter_of_another_rank_or_of_some_matrices_fits_too(genai: Adapted, tmp_path: Path) -> None:
    parameters = {
        "lm_head.lora_A.weight": np.full((64, 9), 0.1, dtype=np.float32),
        "lm_head.lora_B.weight": np.eye(9, 288, dtype=np.float32),
    }
    write_adapter(tmp_path / "head.onnx_adapter", parameters)
    backend = load(genai.folder, lora=str(tmp_path / "head.onnx_adapter"))
    assert run(backend, "Hello").text == Reference(genai.folder, genai.graph, parameters).text("Hello")
    backend.close()


@pytest.mark.parametrize("adapted", ["concat", "gqa"], indirect=True)
def test_with_an_adapter_the_fast_path_is_left_and_that_is_told(adapted: Adapted) -> None:
    backend = OnnxBackend()
    options = LoadOptions(lora=str(adapted.adapter), fast_path=True)
    info = backend.load(LoadSpec(adapted.folder, options), lambda *report: None)
    assert any("takes no LoRA adapter" in note for note in info.notes)
    reference = Reference(adapted.folder, adapted.graph, adapted.parameters)
    assert run(backend, "Hello").text == reference.text("Hello")
    backend.close()


@pytest.mark.parametrize("path", ["tuned.onnx_adapter", "./tuned.onnx_adapter", "~nobody-here/x.onnx_adapter"])
def test_a_relative_path_is_an_invalid_request(genai: Adapted, path: str) -> None:
    error = refusal(genai.folder, path)
    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.details["fields"] == ["options.lora: must be an absolute path"]


@pytest.mark.parametrize("name", ["gone.onnx_adapter", "gone/deeper.onnx_adapter", "file/below.onnx_adapter"])
def test_a_file_that_is_not_there_is_model_not_found(genai: Adapted, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    error = refusal(genai.folder, tmp_path / name)
    assert (error.code, error.details["model_path"]) == (ErrorCode.MODEL_NOT_FOUND, str(tmp_path / name))


def damaged(adapted: Adapted, case: str) -> bytes:
    whole = adapted.adapter.read_bytes()
    return {"empty": b"", "text": b"hello", "half": whole[: len(whole) // 2], "GGUF": b"GGUF" + bytes(100)}[case]


@pytest.mark.parametrize("case", ["empty", "text", "half", "GGUF"])
def test_a_file_that_is_no_adapter_is_model_invalid(adapted: Adapted, tmp_path: Path, case: str) -> None:
    file = tmp_path / "x.onnx_adapter"
    file.write_bytes(damaged(adapted, case))
    error = refusal(adapted.folder, file)
    assert (error.code, error.details["model_path"]) == (ErrorCode.MODEL_INVALID, str(file))
    assert error.message.startswith("x.onnx_adapter is not a LoRA adapter")


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_what_is_no_file_is_model_invalid(genai: Adapted, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.onnx_adapter"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path)
    assert refusal(genai.folder, path).code is ErrorCode.MODEL_INVALID


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "a matrix that is not there": ({"layers.7.attn.q.lora_A.weight": np.zeros((64, 4), np.float32)}, "layers.7"),
    "another width": (
        {"lm_head.lora_A.weight": np.zeros((96, 4), np.float32)},
        "96 x 4 float32, not 64 x lm_head.rank",
    ),
    "another type": ({"lm_head.lora_A.weight": np.zeros((64, 4), np.int64)}, "lm_head.lora_A.weight"),
    "another number of dimensions": ({"lm_head.lora_A.weight": np.zeros((64,), np.float32)}, "lm_head"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_an_adapter_for_another_model_is_model_invalid_and_says_where(
    adapted: Adapted, tmp_path: Path, case: str
) -> None:
    parameters, told = OTHERS[case]
    if "fp16" in adapted.graph.name and case != "a matrix that is not there":
        halves = {np.dtype(np.float32): np.float16}
        parameters = {name: array.astype(halves.get(array.dtype, array.dtype)) for name, array in parameters.items()}
        told = told.replace("float32", "float16")
    write_adapter(tmp_path / "other.onnx_adapter", parameters)
    error = refusal(adapted.folder, tmp_path / "other.onnx_adapter")
    assert error.code is ErrorCode.MODEL_INVALID
    assert "other.onnx_adapter is an adapter for another model" in error.message
    assert told in error.message


def test_factors_that_do_not_fit_each_other_are_model_invalid(adapted: Adapted, tmp_path: Path) -> None:
    parameters = {name: array[:, :2] if "lora_A" in name else array for name, array in adapted.parameters.items()}
    write_adapter(tmp_path / "odd.onnx_adapter", {name: np.ascontiguousarray(one) for name, one in parameters.items()})
    error = refusal(adapted.folder, tmp_path / "odd.onnx_adapter")
    assert error.code is ErrorCode.MODEL_INVALID
    assert f"with the adapter {tmp_path / 'odd.onnx_adapter'}" in error.message


def test_a_model_exported_without_inputs_for_adapters_refuses_them(
    tiny_folder: Path, genai: Adapted, tmp_path: Path
) -> None:
    plain = make_transformersjs(tmp_path / "plain", dtypes=("fp32",))
    for folder in (tiny_folder, plain):
        error = refusal(folder, genai.adapter)
        assert error.code is ErrorCode.MODEL_INVALID
        assert "exported without inputs for adapters" in error.message


def test_an_adapter_whose_shapes_lie_about_its_size_is_model_invalid(genai: Adapted, tmp_path: Path) -> None:
    data = genai.adapter.read_bytes()
    rows = (64).to_bytes(8, "little")
    honest, lie = rows + (4).to_bytes(8, "little"), rows + (2**40).to_bytes(8, "little")
    assert honest in data
    (tmp_path / "x.onnx_adapter").write_bytes(data.replace(honest, lie, 1))
    error = refusal(genai.folder, tmp_path / "x.onnx_adapter")
    assert error.code is ErrorCode.MODEL_INVALID
    assert "is not a LoRA adapter" in error.message


def test_an_adapter_without_weights_is_model_invalid(genai: Adapted, tmp_path: Path) -> None:
    write_adapter(tmp_path / "x.onnx_adapter", {})
    error = refusal(genai.folder, tmp_path / "x.onnx_adapter")
    assert error.code is ErrorCode.MODEL_INVALID
    assert "without any weights" in error.message
