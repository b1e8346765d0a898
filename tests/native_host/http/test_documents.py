"""The OpenAPI document and its page: complete, without a broken reference, and loading nothing from elsewhere."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.http_host import HttpHost

ROUTES = {
    *("GET /health", "GET /backends", "GET /system-info", "GET /params", "POST /params", "GET /stats"),
    *("GET /stats/aggregate", "POST /load", "POST /unload", "GET /models", "GET /models/{model}"),
    *("POST /chat/completions", "POST /completions", "POST /embeddings", "POST /tokenize", "POST /halt"),
    *("GET /jobs", "POST /jobs", "GET /jobs/{job_id}", "DELETE /jobs/{job_id}", "GET /stream/{job_id}"),
}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with HttpHost() as host, host.client() as made:
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
    assert {"settings", "temperature", "messages", "prompt"} <= set(schemas["Generate"]["properties"])
    assert all("action" not in schemas[name]["properties"] for name in ("Load", "Unload", "Generate", "Embed"))


def test_the_page_tells_every_path_and_loads_nothing(client: httpx.Client, document: dict[str, Any]) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert all(path in page.text for path in document["paths"])
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"<script|src=|href=\"http", page.text)
