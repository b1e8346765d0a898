"""Engines that are not there or do not start: a host whose own Python has none, or broken ones."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import tiny_gguf
from support.bare_python import link_packages, make_bare_python
from support.host_process import BrowserHost, Json, Port
from support.tiny_genai import make_tiny

BROKEN = "raise ImportError('libengine.so.1: cannot open shared object file')\n"
CRASHING = "import os\nos.abort()\n"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    """A host that has no engine."""
    python, _ = make_bare_python(tmp_path_factory.mktemp("bare") / "venv")
    with BrowserHost(python=str(python)) as host, host.port() as port:
        yield port


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    """A host one engine of which does not import, while the other crashes."""
    python, packages = make_bare_python(tmp_path_factory.mktemp("broken") / "venv")
    link_packages(packages, ("jinja2", "markupsafe", "PIL", "pillow*", "llguidance*", "numpy*", "tokenizers*"))
    for module, text in (("llama_cpp", BROKEN), ("onnxruntime_genai", CRASHING), ("onnxruntime", CRASHING)):
        (packages / f"{module}.py").write_text(text)
    with BrowserHost(python=str(python)) as host, host.port() as port:
        yield port


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A whole model for each engine."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "llamacpp": str(tiny_gguf.write_tiny(folder / "tiny.gguf")),
        "onnx": str(make_tiny(folder / "tiny")),
    }


def listing(port: Port, name: str) -> Json:
    found: Json = next(one for one in port.call("list_backends")["backends"] if one["backend"] == name)
    return found


@pytest.mark.parametrize("backend", ["llamacpp", "onnx"])
@pytest.mark.parametrize("named", [True, False])
def test_an_engine_that_is_not_installed_is_named_with_the_command_that_installs_it(
    bare: Port, models: dict[str, str], backend: str, named: bool
) -> None:
    answer = bare.call("load", model=models[backend], backend=backend if named else "auto")
    assert answer["error"]["code"] == "engine_missing"
    assert answer["error"]["details"]["backend"] == backend
    command = answer["error"]["details"]["install"]
    assert "venv/bin/python" in command
    assert "-m pip install" in command
    assert {"llamacpp": "llama-cpp-python", "onnx": "onnxruntime-genai"}[backend] in command
    assert command in answer["message"]


def test_the_demo_without_an_engine_is_engine_missing(bare: Port) -> None:
    assert bare.call("load", model="demo")["error"]["code"] == "engine_missing"


def test_a_host_without_engines_still_lists_models_and_echoes(bare: Port) -> None:
    demo = bare.call("list_models")["models"][0]
    assert "not installed" in demo["problem"]
    assert bare.call("load", model="echo")["status"] == "success"
    assert bare.call("generate", prompt="still here")["text"] == "still here"


def test_engines_that_are_not_installed_are_listed_with_the_command_that_installs_them(bare: Port) -> None:
    for backend in ("llamacpp", "onnx"):
        found = listing(bare, backend)
        assert (found["installed"], found["usable"], found["version"], found["devices"]) == (False, False, None, [])
        assert found["install"] in found["problem"]
    assert listing(bare, "echo")["usable"] is True


@pytest.mark.parametrize("model", ["given", "demo"])
def test_an_engine_that_does_not_import_is_engine_broken_with_its_reason(
    broken: Port, models: dict[str, str], model: str
) -> None:
    answer = broken.call("load", model="demo" if model == "demo" else models["llamacpp"])
    assert answer["error"]["code"] == "engine_broken"
    assert "libengine.so.1: cannot open shared object file" in answer["message"]
    assert answer["error"]["details"]["install"]


def test_an_engine_that_crashes_as_it_is_imported_is_one_error(broken: Port, models: dict[str, str]) -> None:
    answer = broken.call("load", model=models["onnx"])
    assert answer["error"]["code"] == "backend_crashed"
    assert answer["error"]["details"]["signal"] == "SIGABRT"


def test_engines_that_do_not_start_are_listed_with_their_problem(broken: Port) -> None:
    found = listing(broken, "llamacpp")
    assert (found["installed"], found["usable"]) == (True, False)
    assert "libengine.so.1" in found["problem"]
    assert found["install"]
    crashed = listing(broken, "onnx")
    assert (crashed["installed"], crashed["usable"]) == (True, False)
    assert crashed["problem"]


def test_an_engine_that_is_added_later_is_seen_without_a_restart(tmp_path: Path) -> None:
    python, packages = make_bare_python(tmp_path / "venv")
    with BrowserHost(python=str(python)) as host, host.port() as port:
        assert port.call("load", model="demo", backend="llamacpp")["error"]["code"] == "engine_missing"
        assert not listing(port, "llamacpp")["installed"]
        link_packages(packages, ("jinja2", "markupsafe", "PIL", "pillow*"))
        (packages / "llama_cpp.py").write_text("raise ValueError('numpy.dtype size changed')")
        assert port.call("load", model="demo", backend="llamacpp")["error"]["code"] == "engine_broken"
        assert listing(port, "llamacpp")["installed"]


def test_every_engine_that_is_installed_here_is_usable() -> None:
    with BrowserHost(python=sys.executable) as host, host.port() as port:
        for name in ("llamacpp", "onnx", "echo"):
            found = listing(port, name)
            assert (found["installed"], found["usable"], found["problem"]) == (True, True, None), found
            assert found["version"]
            assert "cpu" in [device.lower() for device in found["devices"]]
