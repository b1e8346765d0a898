"""The OpenAPI document and its page: complete, without a broken reference, and loading nothing from elsewhere."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from support.http_host import HttpHost
from support.tiny_embedder import make_embedder

from native_host.http import answer_schemas as shapes

ROUTES = {
    *("GET /health", "GET /backends", "GET /system-info", "GET /params", "POST /params", "GET /stats"),
    *("GET /stats/aggregate", "POST /load", "POST /unload", "GET /models", "GET /models/{model}"),
    *("POST /chat/completions", "POST /completions", "POST /embeddings", "POST /tokenize", "POST /halt"),
    *("GET /jobs", "POST /jobs", "GET /jobs/{job_id}", "DELETE /jobs/{job_id}", "GET /stream/{job_id}"),
}

API: dict[str, type[BaseModel]] = {
    "health": shapes.Health,
    "params": shapes.Params,
    "models": shapes.Models,
    "models/demo": shapes.OneModel,
    "stats": shapes.FiveFigures,
    "stats/grouped": shapes.GroupedStats,
    "stats/history": shapes.StatsHistory,
    "stats/memory": shapes.MemoryHistory,
}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with HttpHost("--no-token") as host, host.client() as made:
        yield made


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_every_route_of_the_api_is_in_it(document: dict[str, Any]) -> None:
    listed = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert {route.replace(" ", " /api/v1") for route in ROUTES} <= listed


def test_every_reference_points_to_a_schema(document: dict[str, Any]) -> None:
    referred = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert referred <= set(document["components"]["schemas"])


def test_bodies_are_the_wires_without_its_envelope(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert {"model", "model_path", "backend", "options"} == set(schemas["Load"]["properties"])
    assert schemas["Load"]["required"] == []
    assert schemas["Load"]["anyOf"] == [{"required": ["model"]}, {"required": ["model_path"]}]
    assert {"settings", "temperature", "messages", "prompt"} <= set(schemas["Generate"]["properties"])
    assert all("action" not in schemas[name]["properties"] for name in ("Load", "Unload", "Generate", "Embed"))


def test_every_json_answer_has_a_schema_of_its_own(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            contents = [answer.get("content", {}) for answer in operation["responses"].values()]
            schemas = [content["application/json"]["schema"] for content in contents if "application/json" in content]
            assert all("$ref" in schema for schema in schemas), (method, path)
            assert any(str(status).startswith("2") for status in operation["responses"]), (method, path)


def answers(client: httpx.Client) -> Iterator[tuple[type[BaseModel], dict[str, Any]]]:
    """Real answers, each with the model that the document has of it."""

    def get(path: str) -> dict[str, Any]:
        found: dict[str, Any] = client.get(path).json()
        return found

    def post(path: str, **body: object) -> dict[str, Any]:
        found: dict[str, Any] = client.post(path, json={"model": "demo", "temperature": 0, **body}).json()
        return found

    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "What are you?"}], "max_tokens": 3}
    bare: dict[str, Any] = {"prompt": "Hello", "max_tokens": 3}
    told: dict[str, Any] = {"logprobs": True, "top_logprobs": 2}
    yield shapes.ChatCompletion, post("/v1/chat/completions", **asked)
    yield shapes.ChatCompletion, post("/v1/chat/completions", **asked, **told)
    yield shapes.ChatCompletionWithStats, post("/api/v1/chat/completions", **asked, **told)
    yield shapes.Completion, post("/v1/completions", **bare, logprobs=2)
    yield shapes.CompletionWithStats, post("/api/v1/completions", **bare, **told)
    yield shapes.ResponseObject, post("/v1/responses", input="Hello", max_output_tokens=3)
    job = post("/api/v1/jobs", **asked, **told)
    yield shapes.JobBegun, job
    yield shapes.JobNow, get(f"/api/v1/jobs/{job['job_id']}")
    yield shapes.JobNow, get(f"/api/v1/jobs/{job['job_id']}?wait_ms=5000&cursor=1000")
    yield shapes.ModelObjects, get("/v1/models")
    yield shapes.ModelObject, get("/v1/models/demo")
    yield shapes.OpenAIError, get("/v1/models/nobody")
    for path, shape in API.items():
        yield shape, get(f"/api/v1/{path}")


def test_real_answers_are_as_the_document_says(client: httpx.Client) -> None:
    for shape, answer in answers(client):
        shape.model_validate(answer)
        if shape is not shapes.ResponseObject:
            assert answer.keys() <= shape.model_fields.keys(), shape


def test_vectors_are_as_the_document_says(client: httpx.Client, tmp_path: Path) -> None:
    body = {"model": str(make_embedder(tmp_path)), "input": ["a", "b"]}
    shapes.EmbeddingList.model_validate(client.post("/v1/embeddings", json=body).json())
    shapes.EmbeddingListWithFacts.model_validate(client.post("/api/v1/embeddings", json=body).json())


def test_the_page_tells_every_path_and_loads_nothing(client: httpx.Client, document: dict[str, Any]) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert all(path in page.text for path in document["paths"])
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"<script|src=|href=\"http", page.text)
