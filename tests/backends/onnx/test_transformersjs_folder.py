"""Transformers.js folders that are not what they should be, each with its error; and what a good one says of itself."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from support.tiny_genai import load, run
from support.tiny_transformersjs import make_transformersjs

from backends import chat_template
from backends.onnx.describe import describe
from backends.registry import detect, row
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions
from native_host.runtime import source_root

Damage = Callable[[Path], object]

GRAPH = "onnx/model.onnx"
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_transformersjs(tmp_path_factory.mktemp("models") / "whole", dtypes=("fp32",), external_data=True)


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """A folder that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def refusal(folder: Path, **options: Any) -> HostError:
    """The error of a load."""
    with pytest.raises(HostError) as loaded:
        load(folder, **options)
    return loaded.value


def write(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


def remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def cut(name: str, keep: int) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep])


def set_in(name: str, **values: Any) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return damage


def in_graph(change: Callable[[onnx.ModelProto], object]) -> Damage:
    """Change the graph; its external data stays where it is."""

    def damage(folder: Path) -> None:
        model = onnx.load(str(folder / GRAPH), load_external_data=False)
        change(model)
        (folder / GRAPH).write_bytes(model.SerializeToString())

    return damage


def weights_at(location: str) -> Damage:
    def change(model: onnx.ModelProto) -> None:
        for weight in model.graph.initializer:
            for entry in weight.external_data:
                if entry.key == "location":
                    entry.value = location

    return in_graph(change)


def other_graph(inputs: dict[str, list[str | int]], output: str, shape: list[str | int]) -> Damage:
    """Another model's graph: int64 inputs, of which the first is cast to the output."""

    def damage(folder: Path) -> None:
        first = next(iter(inputs))
        taken = [helper.make_tensor_value_info(name, INT64, size) for name, size in inputs.items()]
        given = helper.make_tensor_value_info(output, FLOAT, shape)
        nodes = [helper.make_node("Cast", [first], [output], to=FLOAT)]
        onnx.save(helper.make_model(helper.make_graph(nodes, "other", taken, [given]), ir_version=10), folder / GRAPH)

    return damage


def rename_past(model: onnx.ModelProto) -> None:
    for value in model.graph.output:
        if value.name == "present.0.key":
            value.name = "gone"
    for node in model.graph.node:
        node.output[:] = ["gone" if name == "present.0.key" else name for name in node.output]
        node.input[:] = ["gone" if name == "present.0.key" else name for name in node.input]


def prefixed_merges(folder: Path) -> None:
    """A prefix that no token has: tokenizers 0.23 cuts it off from each all the same."""
    file = folder / "tokenizer.json"
    description = json.loads(file.read_text())
    description["model"]["continuing_subword_prefix"] = "no token begins with this"
    file.write_text(json.dumps(description))


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
TEXT: dict[str, list[str | int]] = {"input_ids": ["batch", "length"]}
PICTURE: dict[str, list[str | int]] = {"pixel_values": [1, 3, 8, 8]}
LOGITS: list[str | int] = ["batch", "length", 288]

BAD: dict[str, tuple[Damage, str, str]] = {
    "config not JSON": (write("config.json", b"{oops"), "config.json", "cannot be read"),
    "config a list": (write("config.json", b"[]"), "config.json", "is not a JSON object"),
    "config nested too deep": (write("config.json", b"[" * 100_000), "config.json", "cannot be read"),
    "config with words for numbers": (set_in("config.json", vocab_size="many"), "config.json", "vocab_size"),
    "tokenizer missing": (remove("tokenizer.json"), "tokenizer.json", "is missing"),
    "tokenizer a web page": (write("tokenizer.json", b"<!DOCTYPE html>"), "tokenizer.json", "cannot be read"),
    "tokenizer of no kind": (write("tokenizer.json", b'{"model": {"type": "X"}}'), "tokenizer.json", "no tokenizer"),
    "tokenizer that makes its reader panic": (prefixed_merges, "tokenizer.json", "is not a tokenizer"),
    "tokenizer settings missing": (remove("tokenizer_config.json"), "tokenizer_config.json", "is missing"),
    "graph missing": (remove(GRAPH), GRAPH, "is missing"),
    "graph empty": (write(GRAPH, b""), GRAPH, "the file is empty"),
    "graph cut off": (cut(GRAPH, 3000), GRAPH, "cut off"),
    "graph is text": (write(GRAPH, b"hello, I am no model at all"), GRAPH, "is not a whole ONNX model"),
    "graph a pointer": (write(GRAPH, POINTER), GRAPH, "git lfs pull"),
    "weights missing": (remove(f"{GRAPH}_data"), f"{GRAPH}_data", "is missing (it holds weights)"),
    "weights cut off": (cut(f"{GRAPH}_data", 1000), f"{GRAPH}_data", "it has 1000 bytes and needs"),
    "weights above": (weights_at("../../secret"), GRAPH, "outside the folder (../../secret)"),
    "weights elsewhere": (weights_at("/etc/passwd"), GRAPH, "outside the folder (/etc/passwd)"),
    "weights by a Windows path": (weights_at("C:\\secret"), GRAPH, "outside the folder (C:\\secret)"),
    "weights without a name": (weights_at(""), GRAPH, "outside the folder"),
    "a picture's graph": (other_graph(PICTURE, "scores", [1, 3, 8, 8]), GRAPH, "neither a text decoder"),
    "a classifier": (other_graph(TEXT, "logits", ["batch", 2]), GRAPH, "its own are batch x 2"),
    "logits of a picture": (other_graph(PICTURE, "logits", LOGITS), GRAPH, "it takes pixel_values and gives logits"),
    "a decoder without a cache": (other_graph(TEXT, "logits", LOGITS), GRAPH, "take the export with past"),
    "an input of another kind": (
        in_graph(lambda model: model.graph.input.append(helper.make_tensor_value_info("pixels", FLOAT, [1]))),
        GRAPH,
        "inputs that this backend does not know: pixels",
    ),
    "a cache that does not come back": (in_graph(rename_past), GRAPH, "gives no output for it back"),
    "another vocabulary": (set_in("config.json", vocab_size=999), GRAPH, "it has 288 where vocab_size says 999"),
    "other layers": (set_in("config.json", num_hidden_layers=7), GRAPH, "it has 2 where num_hidden_layers says 7"),
    "other heads": (set_in("config.json", num_key_value_heads=4), GRAPH, "where num_key_value_heads says 4"),
    "an encoder-decoder's config": (
        set_in("config.json", is_encoder_decoder=True),
        "onnx/encoder_model.onnx",
        "is missing, and the config is an encoder-decoder's",
    ),
    "an end token out of range": (
        set_in("generation_config.json", eos_token_id=[2, 99_999]),
        "config.json",
        "names the end token 99999, and the vocabulary has 288 tokens",
    ),
    "no end token": (
        lambda folder: [set_in(name, eos_token_id=None)(folder) for name in ("config.json", "generation_config.json")],
        "config.json",
        "names no eos_token_id",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_folder_is_refused_with_the_file_s_name_and_why(copied: Path, case: str) -> None:
    damage, file, reason = BAD[case]
    damage(copied)
    error = refusal(copied)
    assert error.code is ErrorCode.MODEL_INVALID
    assert (error.details["file"], error.details["model_path"]) == (str(copied / file), str(copied))
    assert Path(file).name in error.message
    assert str(copied) in error.message
    assert reason.replace("no tokenizer", "is not a tokenizer") in error.message


def set_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def set_ir_version(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def set_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Banana"


def turn_weight(model: onnx.ModelProto) -> None:
    """Give a matrix the shape of its transpose."""
    weight = next(weight for weight in model.graph.initializer if weight.name.endswith("mlp.up.weight"))
    weight.dims[:] = list(weight.dims)[::-1]


LATE: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "opset too new": (set_opset, "it needs opset 99 of ai.onnx"),
    "format too new": (set_ir_version, "it needs ONNX's IR version 99"),
    "operator unknown": (set_operator, "the graph has an operator Banana"),
    "weights of another shape": (turn_weight, "ONNX Runtime cannot load"),
}


@pytest.mark.parametrize("case", LATE)
@pytest.mark.parametrize("layout", ["transformersjs", "genai"])
def test_what_shows_only_when_the_engine_loads_is_told_in_plain_words(
    copied: Path, tiny_folder: Path, tmp_path: Path, case: str, layout: str
) -> None:
    change, reason = LATE[case]
    folder, name = (copied, GRAPH) if layout == "transformersjs" else (tmp_path / "genai", "model.onnx")
    if layout == "genai":
        shutil.copytree(tiny_folder, folder)
    model = onnx.load(str(folder / name), load_external_data=False)
    change(model)
    (folder / name).write_bytes(model.SerializeToString())
    error = refusal(folder)
    assert (error.code, error.details["model_path"]) == (ErrorCode.MODEL_INVALID, str(folder))
    assert reason in error.message
    assert "onnxruntime_src" not in error.message
    assert "[ONNXRuntimeError]" not in error.message
    assert "\n" not in error.message


def test_a_tokenizer_with_more_tokens_than_the_model_is_model_invalid(copied: Path, tmp_path: Path) -> None:
    larger = make_transformersjs(tmp_path / "larger", shape={"vocab": 320}, dtypes=("fp32",))
    shutil.copy(larger / "tokenizer.json", copied / "tokenizer.json")
    error = refusal(copied)
    assert error.code is ErrorCode.MODEL_INVALID
    assert "not a tokenizer for this model" in error.message


TEMPLATES = {
    "loops for ever": (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "runs for longer",
    ),
    "makes a huge text": ("{{ 'x' * 99999999 }}", "too large"),
    "makes a text that fits nowhere": ("{{ 'x'.ljust(2 ** 60) }}", "does not fit into memory"),
    "imports": ("{% import 'os' as os %}{{ os }}", "it imports os, and a template may import nothing"),
    "includes a file": ("{% include '/etc/passwd' %}", "it imports /etc/passwd"),
    "looks into Python": ("{{ ''.__class__.__mro__ }}", "unsafe"),
    "is no template": ("{% for %}", "Expected an expression"),
    "fails": ("{{ messages[0].content + 1 }}", "can only concatenate"),
}


def ask(folder: Path) -> str:
    """The answer to a message, of a backend of its own."""
    backend = load(folder)
    try:
        return run(backend, [("user", "Hello")]).text
    finally:
        backend.close()


@pytest.mark.parametrize("case", TEMPLATES)
def test_a_chat_template_that_does_not_work_is_model_invalid_and_says_why(
    copied: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(chat_template, "TIME_LIMIT_S", 0.3)
    template, reason = TEMPLATES[case]
    set_in("tokenizer_config.json", chat_template=template)(copied)
    with pytest.raises(HostError) as caught:
        ask(copied)
    assert caught.value.code is ErrorCode.MODEL_INVALID
    assert caught.value.message.startswith("The model's chat template does not work: ")
    assert reason in caught.value.message


def test_a_bare_prompt_runs_after_a_chat_template_failed(copied: Path) -> None:
    set_in("tokenizer_config.json", chat_template="{% import 'os' as os %}")(copied)
    backend = load(copied)
    with pytest.raises(HostError):
        run(backend, [("user", "Hello")])
    assert run(backend, "Hello").end.output_tokens > 0
    backend.close()


def test_a_dtype_that_the_folder_does_not_have_is_unsupported_and_says_which_there_are(copied: Path) -> None:
    error = refusal(copied, dtype="q4")
    assert error.code is ErrorCode.UNSUPPORTED_OPTION
    assert "it has: fp32" in error.message


def test_a_context_beyond_the_model_s_is_an_invalid_request(copied: Path) -> None:
    assert refusal(copied, context_length=513).code is ErrorCode.INVALID_REQUEST


def test_a_folder_with_both_configs_is_read_as_genai_s(copied: Path, tiny_folder: Path) -> None:
    shutil.copytree(tiny_folder, copied, dirs_exist_ok=True)
    assert describe(copied, LoadOptions()).format == "ONNX Runtime GenAI folder"


def test_graphs_beside_the_config_are_found(copied: Path) -> None:
    for file in (copied / "onnx").iterdir():
        file.rename(copied / file.name)
    (copied / "onnx").rmdir()
    backend = load(copied)
    assert run(backend, "Hello").end.output_tokens > 0
    backend.close()


def test_a_vocabulary_that_the_graph_leaves_open_is_the_config_s(copied: Path, whole: Path) -> None:
    model = onnx.load(str(copied / GRAPH))
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_param = "vocab_size"
    onnx.save(model, copied / GRAPH)
    opened, given = load(copied, dtype="fp32"), load(whole, dtype="fp32")
    assert run(opened, "Hello").text == run(given, "Hello").text
    opened.close()
    given.close()


def test_weights_that_are_listed_among_the_inputs_are_not_asked_for(tmp_path: Path) -> None:
    folder = make_transformersjs(tmp_path / "old", dtypes=("fp32",))
    model = onnx.load(str(folder / GRAPH))
    for weight in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims)))
    onnx.save(model, folder / GRAPH)
    backend = load(folder)
    assert run(backend, "Hello").end.output_tokens > 0
    backend.close()


def test_a_folder_says_its_size_and_what_it_needs(whole: Path) -> None:
    small, large = describe(whole, LoadOptions(context_length=64)), describe(whole, LoadOptions())
    assert small.size_bytes == sum(file.stat().st_size for file in (whole / "onnx").iterdir())
    assert small.needed_bytes is not None
    assert large.needed_bytes is not None
    layers, kv_heads, head_size = 2, 2, 16
    assert large.needed_bytes - small.needed_bytes == 2 * (512 - 64) * 2 * layers * kv_heads * head_size * 4
    assert (large.format, large.context_length) == ("Transformers.js folder", 512)


def test_describing_imports_no_engine(whole: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from backends.onnx.describe import describe;"
        "from messages.options import LoadOptions; describe(Path(sys.argv[1]), LoadOptions());"
        "sys.exit(any(name.startswith(('onnxruntime', 'numpy', 'llguidance', 'tokenizers')) for name in sys.modules))"
    )
    command = [sys.executable, "-c", code, str(whole)]
    assert subprocess.run(command, check=False, env={"PYTHONPATH": source_root()}, timeout=60).returncode == 0


def test_the_registry_finds_it(whole: Path) -> None:
    assert detect(whole) is row("onnx")
