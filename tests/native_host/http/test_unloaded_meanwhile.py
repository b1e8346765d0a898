"""A model that is unloaded between the moment in which a request finds it loaded and its generation."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.tiny_embedder import make_embedder

from messages.options import LoadOptions
from native_host.config import Config, Paths
from native_host.config_sections import HttpConfig
from native_host.host import Host
from native_host.http.app import ERROR_ANSWERS, direct_endpoints, make_app
from native_host.http.direct import Direct
from native_host.http.security import Gate
from native_host.http.settings import HttpSettings

TALK = [{"role": "user", "content": "a b"}]

REQUESTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": TALK}),
    "streamed chat": ("/v1/chat/completions", {"messages": TALK, "stream": True}),
    "completions": ("/v1/completions", {"prompt": "a b"}),
    "responses": ("/v1/responses", {"input": "a b"}),
    "our chat": ("/api/v1/chat/completions", {"messages": TALK}),
    "our streamed chat": ("/api/v1/chat/completions", {"messages": TALK, "stream": True}),
    "tokenize": ("/api/v1/tokenize", {"prompt": "a b"}),
    "jobs": ("/api/v1/jobs", {"prompt": "a b"}),
}


async def _answer_of(host: Host, path: str, body: dict[str, Any]) -> httpx.Response:
    settings = HttpSettings(HttpConfig(), token=None)
    app = Gate(Direct(make_app(host, settings), direct_endpoints(), ERROR_ANSWERS), settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return await client.post(path, json=body)


@pytest.mark.parametrize("name", REQUESTS)
def test_it_is_loaded_again_as_the_first_request_for_it_would(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, body = REQUESTS[name]

    async def play() -> None:
        host = Host(Config(), Paths(tmp_path, tmp_path, tmp_path))
        model, _ = await host.models.load("echo", "auto", LoadOptions())
        await model.wait_ready()
        found, asked = host.models.has_ready, list[bool]()

        def has_ready(name: str) -> bool:
            """Whether it is there, just before somebody else unloads it."""
            asked.append(found(name))
            host.models.unload(model)
            return asked[-1]

        monkeypatch.setattr(host.models, "has_ready", has_ready)
        try:
            answer = await _answer_of(host, path, {"model": "echo", **body})
            assert asked == [True]
            assert answer.is_success, answer.text
            assert "model_not_loaded" not in answer.text
            assert [one.source.name for one in host.models.all()] == ["echo"]
            assert host.models.all() != [model]
        finally:
            await host.close()

    asyncio.run(play())


def test_texts_that_wait_for_a_model_which_is_unloaded_do_not_bring_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(make_embedder(tmp_path / "embedder"))

    async def play() -> None:
        host = Host(Config(), Paths(tmp_path, tmp_path, tmp_path))
        model, _ = await host.models.load(folder, "auto", LoadOptions())
        await model.wait_ready()
        join, has_joined = model.join_queue, asyncio.Event()

        def note_joining() -> None:
            join()
            has_joined.set()

        join()
        monkeypatch.setattr(model, "join_queue", note_joining)
        try:
            async with model.turn():
                asked = asyncio.create_task(_answer_of(host, "/v1/embeddings", {"model": folder, "input": "a cat"}))
                await has_joined.wait()
                host.models.unload(model)
            answer = await asked
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "cancelled")
            assert host.models.all() == []
        finally:
            await host.close()

    asyncio.run(play())


def test_one_that_is_gone_from_the_disk_as_well_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        host = Host(Config(), Paths(tmp_path, tmp_path, tmp_path))
        monkeypatch.setattr(host.models, "has_ready", lambda _: True)
        try:
            answer = await _answer_of(host, "/v1/chat/completions", {"model": "gone.gguf", "messages": TALK})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        finally:
            await host.close()

    asyncio.run(play())
