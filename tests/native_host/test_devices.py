"""Devices over the wire: what was chosen is told, and what cannot be had is an error with those that can."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.host_process import BrowserHost, Port
from support.tiny_genai import make_tiny
from support.tiny_transformersjs import make_transformersjs

NO_ACCELERATOR = "The installed ONNX Runtime has no accelerator for this model; it runs on the CPU."


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost() as made:
        yield made


@pytest.fixture
def port(host: BrowserHost) -> Iterator[Port]:
    with host.port() as opened:
        yield opened


@pytest.fixture(params=["genai", "transformersjs"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    folder = tmp_path / "model"
    return str(make_tiny(folder) if request.param == "genai" else make_transformersjs(folder))


def test_a_device_that_cannot_be_had_is_an_error_and_the_model_loads_without_it(port: Port, model: str) -> None:
    answer = port.call("load", model=model, options={"device": "cuda"})
    assert answer["error"]["code"] == "unsupported_option"
    assert answer["message"] == "The installed ONNX Runtime has no device 'cuda'; it has: cpu."
    assert port.call("load", model=model)["model"]["device"] == "cpu"


def test_what_auto_came_to_is_told_by_the_last_progress_and_ever_after(port: Port, model: str) -> None:
    port.call("ping")
    request = port.ask("load", model=model, options={"device": "auto"})
    state = port.result(request)["model"]
    assert (state["backend_type"], state["device"]) == ("ONNX_CPU", "cpu")
    assert state["notes"][0] == NO_ACCELERATOR
    last = port.of(request, "progress")[-1]
    assert (last["phase"], NO_ACCELERATOR in last["message"]) == ("ready", True)
    (known,) = [one for one in port.call("get_state")["models"] if one["model_path"] == model]
    assert known["notes"] == state["notes"]


def test_the_weights_that_were_chosen_are_told(port: Port, tmp_path: Path) -> None:
    folder = str(make_transformersjs(tmp_path / "model"))
    state = port.call("load", model=folder)["model"]
    assert (state["dtype"], state["notes"]) == ("q4", ["Of the folder's weights (fp32, q4) q4 was taken."])


def test_list_backends_names_what_works_here(port: Port) -> None:
    (onnx,) = [one for one in port.call("list_backends")["backends"] if one["backend"] == "onnx"]
    assert onnx["devices"] == ["cpu"]
