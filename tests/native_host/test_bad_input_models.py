"""Models that are none, are broken or do not fit, loaded through the real relay with the real engines."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny_gguf
from support.host_process import BrowserHost, Json, Port
from support.tiny_genai import make_tiny

from tools.make_gguf import write_model
from tools.make_mmproj import MODEL_SHAPE, ProjectorShape, write_projector


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost() as made:
        yield made


@pytest.fixture(scope="module")
def port(host: BrowserHost) -> Iterator[Port]:
    with host.port() as opened:
        yield opened


@pytest.fixture(scope="module")
def whole_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write_tiny(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def whole_genai(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("genai") / "tiny")


def refusal(port: Port, path: Path | str, **fields: Any) -> Json:
    """The error of a load; the host goes on, and no worker is left."""
    answer = port.call("load", model=str(path), **fields)
    assert answer["status"] == "error"
    assert "Traceback" not in answer["message"]
    assert port.call("get_state")["models"] == []
    error: Json = answer["error"]
    return error


def first_bytes(count: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:count]


def of_whole_numbers(data: bytes) -> bytes:
    """A model one of whose matrices is of type I32, which has the size of F32."""
    name = b"blk.0.attn_q.weight"
    kind = data.index(name) + len(name) + 4 + 2 * 8
    assert data[kind : kind + 4] == bytes(4)
    return data[:kind] + bytes([26, 0, 0, 0]) + data[kind + 4 :]


GGUF_DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "nothing": ("x.gguf", lambda _: b""),
    "one byte": ("x.gguf", first_bytes(1)),
    "the magic alone": ("x.gguf", first_bytes(4)),
    "half the header": ("x.gguf", first_bytes(200)),
    "half the weights": ("x.gguf", lambda data: data[: len(data) // 2]),
    "one byte too few": ("x.gguf", first_bytes(-1)),
    "a wrong magic": ("x.gguf", lambda data: b"GGML" + data[4:]),
    "another byte order": ("x.gguf", lambda data: data[:4] + data[7:3:-1] + data[8:]),
    "a version of the future": ("x.gguf", lambda data: data[:4] + b"\x63\x00\x00\x00" + data[8:]),
    "2**63 tensors": ("x.gguf", lambda data: data[:8] + (2**63).to_bytes(8, "little") + data[16:]),
    "2**64 - 1 entries": ("x.gguf", lambda data: data[:16] + b"\xff" * 8 + data[24:]),
    "a web page": ("x.gguf", lambda _: b"<!DOCTYPE html><html><body>Not found</body></html>"),
    "a Git LFS pointer": ("x.gguf", lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
    "weights that are whole numbers": ("x.gguf", of_whole_numbers),
    "zeros": ("x.gguf", lambda data: bytes(len(data))),
}


@pytest.mark.parametrize("case", GGUF_DAMAGE)
def test_a_damaged_gguf_is_model_invalid(port: Port, whole_gguf: Path, tmp_path: Path, case: str) -> None:
    name, damage = GGUF_DAMAGE[case]
    (tmp_path / name).write_bytes(damage(whole_gguf.read_bytes()))
    error = refusal(port, tmp_path / name)
    assert error["code"] == "model_invalid"
    assert error["details"]["model_path"] == str(tmp_path / name)


def test_a_gguf_whose_norms_are_halves_is_model_invalid(port: Port, tmp_path: Path) -> None:
    path = tiny_gguf.write_tiny(tmp_path / "x.gguf", halves=r".*_norm\.weight")
    assert refusal(port, path) == {"code": "model_invalid", "details": {"model_path": str(path)}}


@pytest.mark.parametrize("backend", ["auto", "llamacpp", "onnx"])
def test_a_file_that_is_no_model_is_refused(port: Port, tmp_path: Path, backend: str) -> None:
    (tmp_path / "notes.txt").write_text("Dear diary")
    error = refusal(port, tmp_path / "notes.txt", backend=backend)
    assert error["code"] == ("unknown_format" if backend == "auto" else "model_invalid")


def test_a_folder_that_holds_no_model_is_refused(port: Port, tmp_path: Path) -> None:
    assert refusal(port, tmp_path)["code"] == "unknown_format"
    assert refusal(port, tmp_path, backend="llamacpp")["code"] == "model_invalid"


def test_a_folder_whose_config_is_damaged_is_no_unknown_format(port: Port, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_vl", ')
    answer = port.call("load", model=str(tmp_path))
    assert answer["error"]["code"] == "model_invalid"
    assert "config.json" in answer["message"]


def test_a_folder_named_like_a_file_is_refused(port: Port, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").mkdir()
    assert refusal(port, tmp_path / "model.gguf")["code"] == "unknown_format"


@pytest.mark.parametrize("name", ["missing.gguf", "/nowhere/at/all.gguf", "/etc/hostname/below-a-file.gguf"])
def test_a_path_that_does_not_exist_is_model_not_found(port: Port, name: str) -> None:
    error = refusal(port, name)
    assert (error["code"], error["details"]["model_path"]) == ("model_not_found", name)


def test_a_path_that_cannot_be_read_is_model_invalid_and_says_why(port: Port, tmp_path: Path) -> None:
    loop = tmp_path / "loop.gguf"
    loop.symlink_to(loop)
    answer = port.call("load", model=str(loop))
    assert answer["error"]["code"] == "model_invalid"
    assert "Too many levels of symbolic links" in answer["message"]
    answer = port.call("load", model=str(tmp_path / ("x" * 300)))
    assert answer["error"]["code"] == "model_invalid"
    assert "File name too long" in answer["message"]


def test_a_broken_link_is_model_not_found(port: Port, tmp_path: Path) -> None:
    (tmp_path / "link.gguf").symlink_to(tmp_path / "gone.gguf")
    assert refusal(port, tmp_path / "link.gguf")["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/proc/self/mem", "/proc/kmsg"])
def test_a_device_is_refused_without_being_read(port: Port, path: str) -> None:
    assert refusal(port, path)["code"] in ("unknown_format", "model_invalid")


@pytest.mark.parametrize("missing", ["model.onnx", "model.onnx.data", "tokenizer.json"])
def test_a_genai_folder_with_a_missing_file_is_model_invalid(
    port: Port, whole_genai: Path, tmp_path: Path, missing: str
) -> None:
    if not (whole_genai / missing).exists():
        pytest.fail(f"the tiny folder has no {missing}; it has {sorted(path.name for path in whole_genai.iterdir())}")
    folder = shutil.copytree(whole_genai, tmp_path / "model")
    (folder / missing).unlink()
    answer = port.call("load", model=str(folder))
    assert answer["error"]["code"] == "model_invalid"
    assert missing in answer["message"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model": 5}', "\xff"])
def test_a_genai_configuration_that_is_none_is_model_invalid(
    port: Port, whole_genai: Path, tmp_path: Path, text: str
) -> None:
    folder = shutil.copytree(whole_genai, tmp_path / "model")
    (folder / "genai_config.json").write_text(text, encoding="latin-1")
    assert refusal(port, folder)["code"] == "model_invalid"


def test_a_damaged_onnx_graph_is_model_invalid(port: Port, whole_genai: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole_genai, tmp_path / "model")
    graph = json.loads((folder / "genai_config.json").read_text())["model"]["decoder"]["filename"]
    (folder / graph).write_bytes((folder / graph).read_bytes()[:100])
    assert refusal(port, folder)["code"] == "model_invalid"


def test_a_gguf_for_the_other_engine_is_model_invalid(port: Port, whole_gguf: Path, whole_genai: Path) -> None:
    assert refusal(port, whole_gguf, backend="onnx")["code"] == "model_invalid"
    assert refusal(port, whole_genai, backend="llamacpp")["code"] == "model_invalid"


def test_an_unknown_backend_is_named_with_those_there_are(port: Port, whole_gguf: Path) -> None:
    error = refusal(port, whole_gguf, backend="vulkan")
    assert error["code"] == "invalid_request"
    assert error["details"]["fields"] == ["backend: must be one of auto, llamacpp, onnx, mlx_vlm, echo"]


def test_a_projector_whose_weights_do_not_go_together_is_model_invalid(port: Port, tmp_path: Path) -> None:
    write_model(tmp_path / "model.gguf", MODEL_SHAPE)
    bad = tmp_path / "projectors" / "bad.gguf"
    write_projector(bad, ProjectorShape(), instead={"v.blk.1.ln2.weight": np.ones(33, np.float32)})
    answer = port.call("load", model=str(tmp_path / "model.gguf"), options={"projector_path": str(bad)})
    assert answer["error"]["code"] == "model_invalid", answer
    assert "v.blk.1.ln2.weight" in answer["message"]


def test_a_model_that_does_not_fit_is_found_out_before_it_is_tried(port: Port, tmp_path: Path) -> None:
    huge = tiny_gguf.write_tiny(tmp_path / "huge.gguf", context=2**24, layers=64)
    error = refusal(port, huge, options={"context_length": 2**24})
    assert error["code"] == "out_of_memory"
    assert error["details"]["needed_bytes"] > error["details"]["free_bytes"] > 0


def test_a_demo_in_a_form_that_it_does_not_have_is_refused(port: Port) -> None:
    error = refusal(port, "demo", backend="echo")
    assert error["code"] == "invalid_request"


@pytest.mark.parametrize("engine", ["llamacpp", "onnx"])
def test_what_is_asked_of_a_real_model_is_checked_as_for_the_echo(
    port: Port, whole_gguf: Path, whole_genai: Path, engine: str
) -> None:
    model = str(whole_gguf if engine == "llamacpp" else whole_genai)
    state = port.call("load", model=model)["model"]
    assert (state["state"], state["backend"]) == ("ready", engine)
    try:
        long = port.call("generate", model=model, prompt="word " * (state["context_length"] + 1))
        assert long["error"]["code"] == "context_overflow"
        assert long["error"]["details"]["prompt_tokens"] > long["error"]["details"]["context_length"]
        many = port.call("generate", model=model, messages=[{"role": "user", "content": "hi"}] * 10_000)
        assert many["error"]["code"] == "context_overflow"
        greedy = [
            port.call("generate", model=model, prompt="hello", settings={"temperature": 0, "max_tokens": 5})
            for _ in range(2)
        ]
        assert greedy[0]["status"] == "success", greedy[0]
        assert greedy[0]["text"] == greedy[1]["text"]
        assert greedy[0]["stats"]["output_tokens"] <= 5
        picture = {"type": "image", "data": "data:image/png;base64,AA"}
        seen = port.call("generate", model=model, messages=[{"role": "user", "content": [picture]}])
        assert seen["error"]["code"] == "unsupported_option"
    finally:
        assert port.call("unload", model=model)["unloaded"] == [model]
