"""A provider that prints to stdout reaches the log and never the wire."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browsers.waiting import wait_until
from support.host_process import BrowserHost, Port
from support.printing_provider import WORDS, make_printing_provider
from support.tiny_transformersjs import make_transformersjs

from backends.onnx.plugins import VARIABLE
from native_host import runtime


@pytest.fixture
def home(tmp_path: Path) -> Iterator[BrowserHost]:
    with BrowserHost(env={VARIABLE: f"greeter={make_printing_provider(tmp_path)}"}) as made:
        yield made


@pytest.fixture
def port(home: BrowserHost) -> Iterator[Port]:
    """The host on its own stdin and stdout; a byte that is no frame's would end it."""
    environment = {**home.env, "PYTHONPATH": runtime.source_root()}
    with Port([sys.executable, "-m", "native_host", "stdio"], environment) as opened:
        yield opened


def test_what_a_provider_prints_while_a_model_loads_is_in_the_log_and_not_on_the_wire(
    home: BrowserHost, port: Port, tmp_path: Path
) -> None:
    folder = make_transformersjs(tmp_path / "model")
    loaded = port.call("load", model=str(folder), options={"device": "auto"})
    assert loaded["model"]["device"] == "cpu"
    text = port.call("generate", model=str(folder), prompt="Hello", settings={"max_tokens": 4, "temperature": 0.0})
    assert text["status"] == "success"
    assert port.call("ping")["response"] == "pong"
    wait_until("the printed words", lambda: f"] {WORDS}\n" in home.log and f"] {WORDS} again\n" in home.log)


def test_what_a_provider_prints_while_engines_are_asked_is_not_on_the_wire(port: Port) -> None:
    (onnx,) = [one for one in port.call("list_backends")["backends"] if one["backend"] == "onnx"]
    assert (onnx["usable"], onnx["devices"]) == (True, ["cpu"])
    assert port.call("ping")["response"] == "pong"
