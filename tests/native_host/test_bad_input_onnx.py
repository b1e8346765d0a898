"""ONNX folders and adapters that cannot run, through the real relay: one clear error each, and everything goes on."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.host_process import BrowserHost, Json, Port
from support.tiny_genai import make_tiny
from support.tiny_transformersjs import make_transformersjs

from tools.make_lora import adapt_graph, random_parameters, write_adapter

Damage = Callable[[Path], object]

GRAPH = "onnx/model.onnx"


@pytest.fixture(scope="module")
def port() -> Iterator[Port]:
    with BrowserHost() as host, host.port() as opened:
        yield opened


@pytest.fixture(scope="module")
def transformersjs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "transformersjs"
    return make_transformersjs(folder, dtypes=("fp32",), external_data=True)


@pytest.fixture(scope="module")
def genai(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("models") / "genai")


def change(name: str, edit: Callable[[onnx.ModelProto], object]) -> Damage:
    def damage(folder: Path) -> None:
        model = onnx.load(str(folder / name), load_external_data=False)
        edit(model)
        (folder / name).write_bytes(model.SerializeToString())

    return damage


def too_new(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def elsewhere(model: onnx.ModelProto) -> None:
    for weight in model.graph.initializer:
        for entry in weight.external_data:
            if entry.key == "location":
                entry.value = "../../../etc/passwd"


def picture_graph(folder: Path) -> None:
    given = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])
    taken = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph([helper.make_node("Relu", ["pixels"], ["scores"])], "picture", [taken], [given])
    onnx.save(helper.make_model(graph, ir_version=10), folder / GRAPH)


def set_in(name: str, **values: Any) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return damage


def without(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


BAD: dict[str, tuple[str, Damage, str]] = {
    "a graph that is no decoder": ("transformersjs", picture_graph, "neither a text decoder"),
    "no tokenizer": ("transformersjs", without("tokenizer.json"), "tokenizer.json is missing"),
    "no external data": ("transformersjs", without(f"{GRAPH}_data"), "model.onnx_data is missing"),
    "external data elsewhere": ("transformersjs", change(GRAPH, elsewhere), "outside the folder"),
    "a config of another model": ("transformersjs", set_in("config.json", num_hidden_layers=9), "num_hidden_layers"),
    "an opset too new": ("transformersjs", change(GRAPH, too_new), "it needs opset 99"),
    "genai, external data elsewhere": ("genai", change("model.onnx", elsewhere), "outside the folder"),
    "genai, an opset too new": ("genai", change("model.onnx", too_new), "it needs opset 99"),
    "genai, an end token out of range": (
        "genai",
        lambda folder: (folder / "genai_config.json").write_text(
            (folder / "genai_config.json")
            .read_text()
            .replace('"eos_token_id": [\n   2,', '"eos_token_id": [\n   9999,')
        ),
        "the end token 9999",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_folder_that_cannot_run_is_one_clear_error(
    port: Port, tmp_path: Path, case: str, request: pytest.FixtureRequest
) -> None:
    layout, damage, reason = BAD[case]
    whole = request.getfixturevalue(layout)
    folder = shutil.copytree(whole, tmp_path / "model")
    damage(folder)
    answer = port.call("load", model=str(folder))
    assert answer["error"]["code"] == "model_invalid"
    assert answer["error"]["details"]["model_path"] == str(folder)
    assert reason in answer["message"]
    assert "Traceback" not in answer["message"]
    assert port.call("get_state")["models"] == []
    assert port.call("load", model=str(whole))["status"] == "success"
    assert port.call("generate", prompt="Hello", settings={"max_tokens": 3})["status"] == "success"
    port.call("unload", all=True)


def ask(port: Port, **fields: Any) -> Json:
    return port.call("generate", settings={"max_tokens": 3, "temperature": 0}, **fields)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "longer than 5 seconds"),
        ("{% import 'os' as os %}", "it imports os"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    ],
    ids=["loops", "imports", "escapes"],
)
def test_a_chat_template_that_does_not_work_is_one_clear_error(
    port: Port, transformersjs: Path, tmp_path: Path, template: str, reason: str
) -> None:
    folder = shutil.copytree(transformersjs, tmp_path / "model")
    set_in("tokenizer_config.json", chat_template=template)(folder)
    answer = port.call("load", model=str(folder))
    if answer["status"] == "success":
        answer = ask(port, messages=[{"role": "user", "content": "Hello"}])
        assert ask(port, prompt="Hello")["status"] == "success"
    assert answer["error"]["code"] == "model_invalid"
    assert reason in answer["message"]
    port.call("unload", all=True)
    assert port.call("load", model=str(transformersjs))["status"] == "success"
    assert ask(port, messages=[{"role": "user", "content": "Hello"}])["status"] == "success"
    port.call("unload", all=True)


@pytest.mark.parametrize("layout", ["transformersjs", "genai"])
def test_an_adapter_runs_and_one_for_another_model_is_one_clear_error(
    port: Port, tmp_path: Path, layout: str, request: pytest.FixtureRequest
) -> None:
    folder = shutil.copytree(request.getfixturevalue(layout), tmp_path / "model")
    matrices = adapt_graph(folder / (GRAPH if layout == "transformersjs" else "model.onnx"))
    good, other = tmp_path / "good.onnx_adapter", tmp_path / "other.onnx_adapter"
    write_adapter(good, random_parameters(matrices))
    write_adapter(other, {"layers.9.mlp.up.lora_A.weight": np.zeros((64, 4), np.float32)})
    for path, code in (
        (str(other), "model_invalid"),
        (str(tmp_path / "gone.onnx_adapter"), "model_not_found"),
        ("good.onnx_adapter", "invalid_request"),
        (str(folder / "tokenizer.json"), "model_invalid"),
    ):
        refused = port.call("load", model=str(folder), options={"lora": path})
        assert refused["error"]["code"] == code, path
    assert port.call("load", model=str(folder))["status"] == "success"
    plain = ask(port, prompt="Hello")
    port.call("unload", all=True)
    assert port.call("load", model=str(folder), options={"lora": str(good)})["status"] == "success"
    tuned = ask(port, prompt="Hello")
    port.call("unload", all=True)
    assert (plain["status"], tuned["status"]) == ("success", "success")
    assert plain["text"] != tuned["text"]
