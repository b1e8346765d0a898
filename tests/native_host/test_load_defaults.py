"""Loads that say nothing of options, with the configuration's, on real engines through the real relay."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support import tiny_gguf
from support.browsers.waiting import wait_until
from support.host_process import BrowserHost, Json, Port

from backends.registry import row
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions
from native_host import runtime
from native_host.catalog import Catalog
from native_host.config_load import LoadConfig
from native_host.configured_options import ConfiguredOptions
from native_host.load_defaults import LoadDefaults

DEMO = Path(runtime.source_root()) / "backends" / "demo"
CONFIG = """
[models]
folders = ['{folder}']
[load]
context_length = 1024
gpu_layers = 8
threads = 1
dtype = "q4"
fast_path = true
[load.models.'team/coder.gguf']
context_length = 1536
keep_alive_s = 60
[load.models.'{folder}/team/typed.gguf']
dtype = "q4"
[load.models.'team/long.gguf']
context_length = 4096
[load.models.'team/adapted.gguf']
lora = '{folder}/none.gguf'
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("models")
    (top / "team").mkdir()
    for name in ("coder", "typed", "long", "adapted", "plain"):
        shutil.copy(DEMO / "demo-q8_0.gguf", top / "team" / f"{name}.gguf")
    shutil.copytree(DEMO / "onnx", top / "team" / "folder")
    tiny_gguf.write_tiny(top / "tiny.gguf", context=128)
    return top


@pytest.fixture(scope="module")
def host(folder: Path) -> Iterator[BrowserHost]:
    with BrowserHost(CONFIG.format(folder=folder)) as made:
        yield made


@pytest.fixture
def port(host: BrowserHost) -> Iterator[Port]:
    with host.port() as opened:
        yield opened
        opened.call("unload", all=True)


def load(port: Port, name: str, **options: object) -> Json:
    """The state of a model once it is loaded, which is what get_state tells too."""
    answer = port.call("load", model=name, options=options) if options else port.call("load", model=name)
    assert answer["status"] == "success", answer
    assert port.call("get_state", model=name)["models"][0]["context_length"] == answer["model"]["context_length"]
    model: Json = answer["model"]
    return model


@pytest.mark.parametrize(
    ("name", "context"), [("demo", 1024), ("team/plain.gguf", 1024), ("team/coder.gguf", 1536), ("team/folder", 1024)]
)
def test_a_model_is_loaded_with_its_own_options_or_those_of_all(port: Port, name: str, context: int) -> None:
    model = load(port, name)
    assert model["context_length"] == context
    assert (model["expires_at"] - time.time() < 61) == (name == "team/coder.gguf")


def test_the_path_of_a_model_means_its_options_too(folder: Path, port: Port) -> None:
    assert load(port, str(folder / "team" / "coder.gguf"))["context_length"] == 1536


def test_the_options_of_a_load_win_one_by_one(port: Port) -> None:
    model = load(port, "team/coder.gguf", context_length=512)
    assert model["context_length"] == 512
    assert model["expires_at"] - time.time() < 61


def test_options_of_all_models_are_left_out_where_there_is_no_such_thing_and_told_where_they_do_not_go(
    host: BrowserHost, port: Port
) -> None:
    of_gguf, of_folder = load(port, "team/plain.gguf")["notes"], load(port, "team/folder")["notes"]
    assert len(of_gguf) == len(of_folder) == 1
    assert of_gguf[0].startswith("Not in force here: load.gpu_layers of the configuration (gpu_layers is 8, but ")
    assert of_gguf[0] in host.log
    assert of_folder[0].startswith("Not in force here: load.dtype of the configuration (A genai folder has one kind")


def test_the_context_of_all_models_is_at_most_what_one_was_trained_on(port: Port) -> None:
    model = load(port, "tiny.gguf")
    assert model["context_length"] == 128
    assert "The context is 128 tokens, as the model was trained; load.context_length is 1024." in model["notes"]


@pytest.mark.parametrize(
    ("name", "code", "key", "message"),
    [
        (
            "team/typed.gguf",
            "unsupported_option",
            "load.models.'{folder}/team/typed.gguf'.dtype",
            "The llamacpp backend",
        ),
        (
            "team/long.gguf",
            "invalid_request",
            "load.models.'team/long.gguf'.context_length",
            "The model was trained on",
        ),
        (
            "team/adapted.gguf",
            "model_not_found",
            "load.models.'team/adapted.gguf'.lora",
            "The file {folder}/none.gguf cannot be read",
        ),
    ],
)
def test_what_a_model_cannot_do_of_its_own_options_is_an_error_that_names_the_key(
    folder: Path, port: Port, name: str, code: str, key: str, message: str
) -> None:
    key = key.format(folder=folder)
    refused = port.call("load", model=name)
    assert (refused["error"]["code"], refused["error"]["details"]["config_keys"]) == (code, [key])
    assert "fields" not in refused["error"]["details"]
    assert refused["message"].startswith(message.format(folder=folder))
    assert refused["message"].endswith(f" The host's configuration asks for it: {key}.")


def test_of_two_options_that_are_refused_each_is_told_where_it_comes_from(folder: Path, port: Port) -> None:
    details = port.call("load", model="team/typed.gguf", options={"pictures": True})["error"]["details"]
    assert details["fields"] == ["options.pictures"]
    assert details["config_keys"] == [f"load.models.'{folder}/team/typed.gguf'.dtype"]


def test_an_option_of_the_load_that_is_refused_is_no_matter_of_the_configuration(port: Port) -> None:
    refused = port.call("load", model="team/long.gguf", options={"context_length": 8192})["error"]
    assert refused["details"]["fields"] == ["options.context_length: must be <= 2048"]
    assert "config_keys" not in refused["details"]


def test_a_loaded_model_is_held_against_what_it_was_loaded_with(port: Port) -> None:
    first = load(port, "team/coder.gguf")
    assert load(port, "team/coder.gguf")["pid"] == first["pid"]
    assert load(port, "team/coder.gguf", context_length=1536, threads=1)["pid"] == first["pid"]
    refused = port.call(
        "load", model="team/coder.gguf", options={"context_length": 1024, "gpu_layers": 8, "threads": 2}
    )
    assert refused["error"]["details"]["fields"] == [
        "options.context_length: is 1536 in the loaded model",
        "options.gpu_layers: is not set in the loaded model",
        "options.threads: is 1 in the loaded model",
    ]


def test_a_model_that_crashed_is_loaded_again_with_what_is_configured(port: Port) -> None:
    first = load(port, "team/coder.gguf")
    os.kill(first["pid"], signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    wait_until("another worker", lambda: port.call("get_state")["models"][0]["pid"] not in (None, first["pid"]))
    again = load(port, "team/coder.gguf")
    assert (again["context_length"], psutil.pid_exists(again["pid"])) == (1536, True)


def test_the_list_tells_what_a_load_as_configured_takes(port: Port) -> None:
    listed = {one["model"]: one for one in port.call("list_models")["models"]}
    plain, coder = listed["team/plain.gguf"], listed["team/coder.gguf"]
    assert plain["needed_bytes"] < coder["needed_bytes"]
    assert listed["tiny.gguf"]["problem"] is None
    assert listed["team/long.gguf"]["problem"].endswith("load.models.'team/long.gguf'.context_length.")
    assert listed["team/typed.gguf"]["problem"].startswith("The llamacpp backend cannot do dtype")


@pytest.fixture
def defaults(folder: Path) -> LoadDefaults:
    catalog = Catalog([folder])
    tables = {str(folder / "team/plain.gguf"): 16, "./team/coder.gguf": 24, "gone.gguf": 32, "demo": 40, "echo": 48}
    (folder / "link.gguf").unlink(missing_ok=True)
    (folder / "link.gguf").symlink_to(folder / "team/coder.gguf")
    models = {name: {"context_length": context} for name, context in tables.items()}
    return LoadDefaults(LoadConfig.model_validate({"models": models}), catalog)


@pytest.mark.parametrize(
    ("name", "backend", "context"),
    [
        ("team/plain.gguf", "auto", 16),
        ("team/plain.gguf", "echo", None),
        ("team/coder.gguf", "auto", 24),
        ("link.gguf", "auto", 24),
        ("team/long.gguf", "auto", None),
        ("gone.gguf", "echo", 32),
        ("demo", "onnx", 40),
        ("echo", "auto", 48),
    ],
)
def test_a_table_is_of_the_model_that_its_name_means(
    defaults: LoadDefaults, folder: Path, name: str, backend: str, context: int | None
) -> None:
    found = defaults.of(*Catalog([folder]).resolve(name, backend))
    assert found.options.context_length == context


def test_a_models_own_name_comes_before_another_of_its_file(folder: Path) -> None:
    (folder / "alias.gguf").symlink_to(folder / "team/coder.gguf")
    models = {"team/coder.gguf": {"threads": 1}, "alias.gguf": {"threads": 2}}
    catalog = Catalog([folder])
    defaults = LoadDefaults(LoadConfig.model_validate({"models": models}), catalog)
    found = {name: defaults.of(*catalog.resolve(name, "auto")).options.threads for name in models}
    assert found == {"team/coder.gguf": 1, "alias.gguf": 2}


def test_where_memory_is_missing_the_configured_context_is_named() -> None:
    configured = ConfiguredOptions(LoadOptions(context_length=65_536, threads=2))
    error = HostError(ErrorCode.OUT_OF_MEMORY, "It needs 9 GB.", needed_bytes=9)
    explained = configured.explained(error, asked=LoadOptions())
    assert explained.message == "It needs 9 GB. The host's configuration asks for it: load.context_length."
    assert explained.details == {"needed_bytes": 9, "config_keys": ["load.context_length"]}
    assert configured.explained(error, asked=LoadOptions(context_length=65_536)) is error


def test_a_description_is_read_as_the_model_would_be_loaded(folder: Path) -> None:
    tiny, options = folder / "tiny.gguf", LoadOptions(context_length=1024)
    with pytest.raises(HostError, match="up to 128 tokens"):
        row("llamacpp").read_description(tiny, options)
    as_configured = row("llamacpp").read_description(tiny, options, {"context_length"})
    assert as_configured == row("llamacpp").read_description(tiny, LoadOptions())
