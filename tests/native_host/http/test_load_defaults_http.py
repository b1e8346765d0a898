"""A model that a request over HTTP loads: with the options of the configuration, also when it comes back."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.browsers.waiting import wait_until
from support.http_host import HttpHost

TALK = [{"role": "user", "content": "Hello"}]
CONFIG = """
[load]
context_length = 1024
gpu_layers = 8
[load.models.demo]
context_length = 1536
[load.models.demo-vision]
dtype = "q4"
"""


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with HttpHost("--no-token", config=CONFIG) as host, host.client(timeout=30) as opened:
        yield opened


def chat(client: httpx.Client, model: str) -> httpx.Response:
    return client.post("/v1/chat/completions", json={"model": model, "messages": TALK, "max_tokens": 1})


def state_of(client: httpx.Client, model: str) -> dict[str, Any] | None:
    state: dict[str, Any] | None = client.get(f"/api/v1/models/{model}").json().get("state")
    return state


@pytest.mark.parametrize(("model", "context"), [("demo", 1536), ("echo", 1024)])
def test_a_request_loads_the_model_it_names_as_is_configured(client: httpx.Client, model: str, context: int) -> None:
    chat(client, model).raise_for_status()
    state = state_of(client, model)
    assert state is not None
    assert state["context_length"] == context


def test_a_model_that_went_comes_back_with_its_loads_options_over_the_configured_ones(client: httpx.Client) -> None:
    client.post("/api/v1/unload", json={"all": True}).raise_for_status()
    body = {"model": "demo", "options": {"threads": 1, "keep_alive_s": 1}}
    client.post("/api/v1/load", json=body).raise_for_status()
    wait_until("the model's unloading", lambda: state_of(client, "demo") is None)
    chat(client, "demo").raise_for_status()
    body["options"] = {"threads": 1, "context_length": 1536}
    assert client.post("/api/v1/load", json=body).json()["message"] == "demo was loaded already."


def test_what_the_model_cannot_do_is_told_in_openais_shape_with_the_key(client: httpx.Client) -> None:
    answer = chat(client, "demo-vision")
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": "The llamacpp backend cannot do dtype; leave it out."
        " The host's configuration asks for it: load.models.demo-vision.dtype.",
        "type": "invalid_request_error",
        "param": None,
        "code": "unsupported_parameter",
    }


def test_who_sends_too_much_is_told_where_a_larger_context_is_set(client: httpx.Client) -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": "word " * 2000}]}
    error = client.post("/v1/chat/completions", json=body).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["message"].endswith("[load] in the host's configuration has one for all loads.")
