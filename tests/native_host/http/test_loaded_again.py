"""A model that a request over HTTP loads again: as it was if it went by itself, and after an unload as by default."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.browsers.waiting import wait_until
from support.http_host import HttpHost

TALK = [{"role": "user", "content": "a b"}]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with HttpHost("--no-token", config="[models]\nmax_loaded = 1\n") as host, host.client(timeout=30) as opened:
        yield opened


def load(client: httpx.Client, model: str = "echo", **options: Any) -> int:
    body = {"model": model, "backend": "echo", "options": options}
    return int(client.post("/api/v1/load", json=body).raise_for_status().json()["model"]["context_length"])


def context_of(client: httpx.Client, model: str = "echo") -> int | None:
    """The context of a loaded model, None if it is not loaded."""
    state = client.get(f"/api/v1/models/{model}").json().get("state")
    return state and int(state["context_length"])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/chat/completions"])
def test_after_its_keep_alive_it_is_loaded_as_it_was(client: httpx.Client, path: str) -> None:
    assert load(client, context_length=512, keep_alive_s=1) == 512
    wait_until("the model's unloading", lambda: context_of(client) is None)
    client.post(path, json={"model": "echo", "messages": TALK}).raise_for_status()
    assert context_of(client) == 512


def test_after_an_unload_it_is_loaded_as_by_default(client: httpx.Client) -> None:
    client.post("/api/v1/unload", json={"model": "echo"})
    default = load(client)
    client.post("/api/v1/unload", json={"model": "echo"}).raise_for_status()
    load(client, context_length=512, keep_alive_s=1)
    wait_until("the model's unloading", lambda: context_of(client) is None)
    assert load(client) == default
    client.post("/api/v1/unload", json={"model": "echo"}).raise_for_status()
    client.post("/v1/chat/completions", json={"model": "echo", "messages": TALK}).raise_for_status()
    assert context_of(client) == default


def test_after_it_made_room_it_is_loaded_as_it_was(client: httpx.Client) -> None:
    client.post("/api/v1/unload", json={"model": "echo"})
    load(client, context_length=512)
    client.post("/v1/chat/completions", json={"model": "demo", "messages": TALK, "max_tokens": 1}).raise_for_status()
    assert context_of(client) is None
    client.post("/v1/chat/completions", json={"model": "echo", "messages": TALK}).raise_for_status()
    assert context_of(client) == 512
