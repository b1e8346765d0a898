"""Whatever a body holds, an OpenAI endpoint answers in OpenAI's shape, and never with a failure of the host's own."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.http_host import HttpHost

from native_host.http.openai_requests import ChatBody, CompletionBody, EmbeddingBody, ResponseBody

PARTS: list[Any] = [
    "a b",
    [{"type": "text", "text": "\ud800 a"}],
    [{"type": "input_text", "text": None}],
    [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}],
    [{"type": "input_audio", "input_audio": {"data": 3}}],
    [{"type": "input_image", "image_url": "data:image/png;base64,", "detail": 7}],
]
GOOD: dict[str, dict[str, Any]] = {
    "chat/completions": {"model": "echo", "messages": [{"role": "user", "content": "a b"}]},
    "completions": {"model": "echo", "prompt": "a b"},
    "responses": {"model": "echo", "input": "a b"},
    "embeddings": {"model": "echo", "input": "a b"},
}
FIELDS = {
    "chat/completions": sorted(ChatBody.model_fields),
    "completions": sorted(CompletionBody.model_fields),
    "responses": sorted(ResponseBody.model_fields),
    "embeddings": sorted(EmbeddingBody.model_fields),
}
NUMBERS = [0, 1, -1, 2**31, 2**53 + 1, 10**400, 0.5, 1e308]
JSON = st.recursive(
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "", None])
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": ROLES, "content": st.sampled_from(PARTS) | JSON},
        optional={"name": JSON, "tool_calls": JSON, "tool_call_id": JSON, "type": JSON, "id": JSON},
    ),
    max_size=3,
)


@st.composite
def bodies(draw: st.DrawFn, path: str) -> dict[str, Any]:
    names = st.sampled_from([*FIELDS[path], "nonsense"])
    changes = draw(st.dictionaries(names, JSON | MESSAGES | st.sampled_from(PARTS), max_size=3))
    return {**GOOD[path], **changes}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with HttpHost("--no-token") as host, host.client() as made:
        yield made


def check(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        assert error["param"] is None or isinstance(error["param"], str)


@pytest.mark.parametrize("path", GOOD)
def test_no_body_makes_the_host_fail(client: httpx.Client, path: str) -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(bodies(path))
    def try_body(body: dict[str, Any]) -> None:
        check(client.post(f"/v1/{path}", content=json.dumps(body), headers={"Content-Type": "application/json"}))

    try_body()
    assert client.post(f"/v1/{path}", json=GOOD[path]).status_code == (400 if path == "embeddings" else 200)


def test_no_name_of_a_model_makes_the_host_fail(client: httpx.Client) -> None:
    for name in ("%2e%2e%2f%2e%2e%2fetc%2fpasswd", "a" * 5000, "%00", "%F0%9F%99%82", "%ff", "//", "demo/"):
        check(client.get(f"/v1/models/{name}"))
        for path in ("chat/completions", "embeddings"):
            check(client.post(f"/v1/{path}", json={**GOOD[path], "model": httpx.URL(f"http://x/{name}").path[1:]}))
