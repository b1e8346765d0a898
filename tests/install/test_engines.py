"""Engines besides onnx: the prebuilt llama.cpp first, its sources next, and a failure that takes nothing down."""

import functools
import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.compilers import make_compiler
from support.install_machine import Machine, make_environment

from backends.registry import BACKENDS
from installer import engines
from installer.compiler import WITHOUT_AMX
from installer.context import Options
from installer.environment import Environment
from installer.errors import InstallError
from installer.sources import Checkout
from installer.terminal import Terminal

# Says what it was asked for; has no prebuilt wheel where the test says so.
PIP = """
import os, pathlib, sys
print("ARGUMENTS", *sys.argv[2:])
print("CXXFLAGS", os.environ.get("CXXFLAGS"))
if "--only-binary" in sys.argv and pathlib.Path(__file__).with_name("none").exists():
    raise SystemExit("ERROR: No matching distribution found for llama-cpp-python")
"""
CLOSED = "http://127.0.0.1:9/whl"


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    environment = Environment(tmp_path / "venv", tmp_path / "install.log")
    make_environment(environment.folder)
    (environment.site_packages() / "pip" / "__main__.py").write_text(PIP)
    return environment


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """The address of a server that answers."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    extras = '[project.optional-dependencies]\nllamacpp = ["llama-cpp-python>=0.3"]\nmlx = ["mlx-vlm>=0.3"]\n'
    (tmp_path / "pyproject.toml").write_text(f'[project]\nversion = "0.1.0"\n{extras}')
    return Checkout(tmp_path)


def asked(environment: Environment) -> list[str]:
    """What pip was asked for, run by run."""
    return [line for line in environment.log.read_text().splitlines() if line.startswith("ARGUMENTS")]


def test_a_prebuilt_llamacpp_is_tried_first(
    environment: Environment, checkout: Checkout, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "PREBUILT_LLAMACPP", index)
    engines.install_engine(environment, checkout, "llamacpp", Terminal(io.StringIO()))
    (run,) = asked(environment)
    assert f"--only-binary llama-cpp-python --extra-index-url {index} llama-cpp-python>=0.3" in run


def test_where_there_is_no_prebuilt_one_its_sources_are_compiled_and_the_time_is_said(
    environment: Environment, checkout: Checkout, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "PREBUILT_LLAMACPP", index)
    monkeypatch.setenv("CXX", "c++")
    (environment.site_packages() / "pip" / "none").touch()
    out = io.StringIO()
    engines.install_engine(environment, checkout, "llamacpp", Terminal(out))
    assert "--only-binary" not in asked(environment)[-1]
    assert len(asked(environment)) == 2
    assert "6 to 8 minutes" in out.getvalue()


def test_without_a_network_the_prebuilt_one_is_given_up_at_once(
    environment: Environment, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "PREBUILT_LLAMACPP", CLOSED)
    monkeypatch.setenv("CXX", "c++")
    engines.install_engine(environment, checkout, "llamacpp", Terminal(io.StringIO()))
    (run,) = asked(environment)
    assert "--only-binary" not in run


def test_a_compiler_that_gets_amx_wrong_is_told_to_leave_it_alone(
    environment: Environment, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engines, "PREBUILT_LLAMACPP", CLOSED)
    monkeypatch.setenv("CXX", make_compiler(tmp_path, "exit 1"))
    monkeypatch.setenv("CXXFLAGS", "-g")
    engines.install_engine(environment, checkout, "llamacpp", Terminal(io.StringIO()))
    assert f"CXXFLAGS -g {' '.join(WITHOUT_AMX)}" in environment.log.read_text().splitlines()


def test_without_a_compiler_nothing_is_begun_and_the_package_is_named(
    environment: Environment, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "PREBUILT_LLAMACPP", CLOSED)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(InstallError, match="no C\\+\\+ compiler") as raised:
        engines.install_engine(environment, checkout, "llamacpp", Terminal(io.StringIO()))
    assert "build-essential" in raised.value.remedy
    assert not environment.log.exists()


def test_another_engine_is_what_its_extra_says(environment: Environment, checkout: Checkout) -> None:
    engines.install_engine(environment, checkout, "mlx", Terminal(io.StringIO()))
    assert asked(environment)[0].endswith("mlx-vlm>=0.3")


def test_an_engine_that_no_backend_is_for_is_installed_when_it_is_named_and_said_to_do_nothing(
    environment: Environment, checkout: Checkout
) -> None:
    with (checkout.root / "pyproject.toml").open("a") as project:
        project.write('mediapipe = ["mediapipe>=0.10"]\n')
    out = io.StringIO()
    engines.install_engine(environment, checkout, "mediapipe", Terminal(out))
    assert asked(environment)[0].endswith("mediapipe>=0.10")
    assert "No backend of this version uses mediapipe yet" in out.getvalue()


def test_the_host_is_installed_from_a_copy_with_onnx_and_http(environment: Environment, machine: Machine) -> None:
    engines.install_host(environment, machine.checkout, Terminal(io.StringIO()))
    (run,) = asked(environment)
    assert run.endswith("[onnx,http]")
    assert str(machine.checkout.root) not in run


def test_an_engine_that_fails_does_not_stop_the_rest(prepared: Machine) -> None:
    packages = prepared.context.environment.site_packages()
    (packages / "pip" / "__main__.py").write_text("raise SystemExit('ERROR: no such package')")
    text = (prepared.checkout.root / "pyproject.toml").read_text()
    extras = '[project.optional-dependencies]\nmlx = ["mlx-vlm"]\n'
    (prepared.checkout.root / "pyproject.toml").write_text(text + extras)
    prepared.checkout = Checkout(prepared.checkout.root)
    prepared.receipt_of_environment().save(prepared.context.prefix)
    assert prepared.install(Options("install", engines=("mlx",))) == 1
    said = prepared.output.getvalue()
    assert "mlx is not installed; everything else goes on" in said
    assert "ERROR: no such package" in said
    assert "What are you?" in said
    assert prepared.context.receipt().engines == ["onnx"]


def test_an_engine_that_was_installed_is_in_the_receipt_and_not_installed_again(prepared: Machine) -> None:
    written = prepared.context.receipt()
    written.engines.append("mlx")
    written.save(prepared.context.prefix)
    assert prepared.install(Options("install", engines=("mlx",))) == 0
    assert "Installing" not in prepared.output.getvalue()


def test_every_engine_has_a_backend_or_is_said_to_have_none() -> None:
    assert {*engines.ALWAYS, *engines.OPTIONAL} - engines.UNUSED == {row.extra for row in BACKENDS if row.extra}
