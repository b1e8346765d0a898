"""Folders that are not what they should be, each with its error; and what a good one says of itself."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tiny_genai import load, make_tiny

from backends.base import LoadSpec
from backends.onnx.backend import OnnxBackend
from backends.onnx.describe import describe
from backends.onnx.limits import DEFAULT_CONTEXT
from backends.registry import detect, row
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions
from native_host.runtime import source_root

Damage = Callable[[Path], object]


@pytest.fixture
def copied(tiny_folder: Path, tmp_path: Path) -> Path:
    """A folder that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def refusal(folder: Path, **options: Any) -> HostError:
    """The error that both the description and the load give."""
    with pytest.raises(HostError) as described:
        describe(folder, LoadOptions(**options))
    with pytest.raises(HostError) as loaded:
        load(folder, **options)
    assert (described.value.code, described.value.message) == (loaded.value.code, loaded.value.message)
    return loaded.value


def cut(name: str, keep: int) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep])


def remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


def zero(name: str) -> Damage:
    return lambda folder: (folder / name).write_bytes(bytes((folder / name).stat().st_size))


def edit(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / "genai_config.json"
        config = json.loads(file.read_text())
        change(config)
        file.write_text(json.dumps(config))

    return damage


def in_model(**values: Any) -> Damage:
    return edit(lambda config: config["model"].update(values))


def in_decoder(**values: Any) -> Damage:
    return edit(lambda config: config["model"]["decoder"].update(values))


BAD = {
    "config missing": (remove("genai_config.json"), "genai_config.json"),
    "config empty": (write("genai_config.json", b""), "genai_config.json"),
    "config not JSON": (write("genai_config.json", b"{oops"), "genai_config.json"),
    "config nested too deep": (write("genai_config.json", b"[" * 100_000), "genai_config.json"),
    "config a list": (write("genai_config.json", b"[]"), "genai_config.json"),
    "config not UTF-8": (write("genai_config.json", b'{"a": "\xff"}'), "genai_config.json"),
    "config without model": (edit(lambda config: config.pop("model")), "genai_config.json"),
    "context negative": (in_model(context_length=-1), "genai_config.json"),
    "context absurd": (in_model(context_length=2**60), "genai_config.json"),
    "decoder absent": (edit(lambda config: config["model"].pop("decoder")), "genai_config.json"),
    "end token absent": (edit(lambda config: config["model"].pop("eos_token_id")), "genai_config.json"),
    "vision model": (in_model(vision={"filename": "v.onnx"}), "genai_config.json"),
    "code of its own": (in_decoder(session_options={"custom_ops_library": "evil.so"}), "genai_config.json"),
    "weights above": (in_decoder(filename="../model.onnx"), "genai_config.json"),
    "weights elsewhere": (in_decoder(filename="/etc/passwd"), "genai_config.json"),
    "library elsewhere": (
        in_decoder(session_options={"provider_options": [{"qnn": {"backend_path": "/tmp/x.so"}}]}),
        "genai_config.json",
    ),
    "providers a number": (in_decoder(session_options={"provider_options": 5}), "genai_config.json"),
    "graph missing": (remove("model.onnx"), "model.onnx"),
    "graph empty": (write("model.onnx", b""), "model.onnx"),
    "graph cut off": (cut("model.onnx", 3000), "model.onnx"),
    "graph is text": (write("model.onnx", b"hello, I am no model at all"), "model.onnx"),
    "weights missing": (remove("model.onnx.data"), "model.onnx.data"),
    "weights cut off": (cut("model.onnx.data", 1000), "model.onnx.data"),
    "tokenizer missing": (remove("tokenizer.json"), "tokenizer.json"),
    "tokenizer not JSON": (write("tokenizer.json", b"hello"), "tokenizer.json"),
    "tokenizer without a model": (write("tokenizer.json", b"{}"), "tokenizer.json"),
    "tokenizer without a vocabulary": (write("tokenizer.json", b'{"model": {"type": "BPE"}}'), "tokenizer.json"),
    "tokenizer without merges": (write("tokenizer.json", b'{"model": {"vocab": {"a": 0}}}'), "tokenizer.json"),
    "tokenizer with a token that would take all memory": (
        write("tokenizer.json", b'{"model": {"vocab": {"a": 1000000000}, "merges": []}}'),
        "tokenizer.json",
    ),
    "tokenizer settings missing": (remove("tokenizer_config.json"), "tokenizer_config.json"),
}


@pytest.mark.parametrize(("damage", "file"), BAD.values(), ids=BAD.keys())
def test_a_bad_folder_is_refused_with_the_file_s_name(copied: Path, damage: Damage, file: str) -> None:
    damage(copied)
    error = refusal(copied)
    assert error.code is ErrorCode.MODEL_INVALID
    assert error.details["file"] == str(copied / file)
    assert file in error.message


LATE = {
    "tokenizer of no kind": write(
        "tokenizer.json", b'{"model": {"type": "Nonsense", "vocab": {"a": 0}, "merges": []}}'
    ),
    "tokenizer of another model": in_model(vocab_size=100),
    "end token out of range": in_model(eos_token_id=100_000),
    "input of another name": in_decoder(inputs={"input_ids": "banana"}),
    "output of another name": in_decoder(outputs={"logits": "banana"}),
    "template that does not compile": write("chat_template.jinja", b"{% for %}"),
    "template that is not UTF-8": write("chat_template.jinja", b"\xff\xfe"),
    "weights that are zeros": zero("model.onnx.data"),
    "type that no engine knows": in_model(type="nonsense"),
}


@pytest.mark.parametrize("damage", LATE.values(), ids=LATE.keys())
def test_what_shows_only_when_the_engine_loads_is_still_model_invalid(copied: Path, damage: Damage) -> None:
    damage(copied)
    with pytest.raises(HostError) as caught:
        load(copied)
    assert caught.value.code is ErrorCode.MODEL_INVALID


def test_a_folder_says_its_size_and_what_it_needs(tiny_folder: Path) -> None:
    small, large = describe(tiny_folder, LoadOptions(context_length=64)), describe(tiny_folder, LoadOptions())
    assert small.size_bytes == sum((tiny_folder / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    assert small.needed_bytes is not None
    assert large.needed_bytes is not None
    layers, kv_heads, head_size = 2, 2, 16
    assert large.needed_bytes - small.needed_bytes == (512 - 64) * 2 * layers * kv_heads * head_size * 4
    assert (large.context_length, small.context_length) == (512, 512)


def test_describing_imports_no_engine(tiny_folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from backends.onnx.describe import describe;"
        "from messages.options import LoadOptions; describe(Path(sys.argv[1]), LoadOptions());"
        "sys.exit(any(name.startswith(('onnxruntime', 'numpy', 'llguidance')) for name in sys.modules))"
    )
    command = [sys.executable, "-c", code, str(tiny_folder)]
    assert subprocess.run(command, check=False, env={"PYTHONPATH": source_root()}, timeout=60).returncode == 0


def test_the_registry_finds_describes_and_probes_it(tiny_folder: Path) -> None:
    found = detect(tiny_folder)
    assert found is row("onnx")
    assert found.read_description(tiny_folder, LoadOptions()).format in found.formats
    assert "cpu" in found.read_probe().devices


def test_a_large_model_gets_a_context_that_fits(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "long", context=3 * DEFAULT_CONTEXT)
    backend = OnnxBackend()
    info = backend.load(LoadSpec(folder, LoadOptions()), lambda *report: None)
    assert info.context_length == DEFAULT_CONTEXT
    backend.close()


def test_a_context_beyond_the_model_s_is_an_invalid_request(tiny_folder: Path) -> None:
    error = refusal(tiny_folder, context_length=513)
    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.details["trained_context"] == 512


def test_a_model_whose_rotary_factors_change_is_kept_below_that(copied: Path) -> None:
    edit(lambda config: config["model"].update(type="phi3", context_length=100_000))(copied)
    assert refusal(copied, context_length=4097).code is ErrorCode.INVALID_REQUEST


def test_a_model_that_does_not_fit_is_out_of_memory_before_it_is_loaded(copied: Path) -> None:
    with (copied / "model.onnx.data").open("r+b") as weights:
        weights.truncate(2**42)
    with pytest.raises(HostError) as caught:
        load(copied)
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY
    needed, free = caught.value.details["needed_bytes"], caught.value.details["free_bytes"]
    assert isinstance(needed, int)
    assert isinstance(free, int)
    assert needed > free > 0


@pytest.mark.parametrize("device", ["cuda", "npu", "banana"])
def test_a_device_that_the_build_does_not_have_is_unsupported(tiny_folder: Path, device: str) -> None:
    with pytest.raises(HostError) as caught:
        load(tiny_folder, device=device)
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION
    assert "cpu" in caught.value.message
