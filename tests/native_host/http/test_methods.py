"""What HTTP itself asks of a server: HEAD wherever there is GET, and no chunks for a client of HTTP/1.0."""

import json
from collections.abc import Iterator

import httpx
import pytest
from support.http_host import HttpHost, read_all

PATHS = ("/", "/docs", "/openapi.json", "/metrics", "/v1/models", "/v1/models/demo", "/api/v1/health", "/api/v1/stats")


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost("--no-token") as made:
        with made.port() as port:
            port.call("load", model="echo", options={"tokens_per_second": 100})
        yield made
        assert "Traceback" not in made.log


@pytest.fixture(scope="module")
def client(host: HttpHost) -> Iterator[httpx.Client]:
    with host.client() as made:
        yield made


def from_old_client(host: HttpHost, head: str, body: bytes = b"") -> tuple[str, bytes]:
    """The head and the body of an answer to a client of HTTP/1.0."""
    headers = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    with host.raw(f"{head} HTTP/1.0\r\n{headers}\r\n".encode() + body) as connection:
        answer, _, rest = read_all(connection).partition(b"\r\n\r\n")
    return answer.decode().lower(), rest


@pytest.mark.parametrize("path", PATHS)
def test_head_is_answered_like_get_without_the_body(client: httpx.Client, path: str) -> None:
    whole, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    if path != "/metrics":  # it differs from one time to the next
        assert head.headers["content-length"] == whole.headers["content-length"]


def test_head_tells_what_is_not_there(client: httpx.Client) -> None:
    assert client.head("/v1/models/none").status_code == 404
    assert client.head("/api/v1/nothing").status_code == 404
    assert client.head("/api/v1/load").status_code == 405


def test_head_of_a_stream_neither_waits_for_it_nor_stops_its_job(client: httpx.Client) -> None:
    job = client.post("/api/v1/jobs", json={"model": "echo", "prompt": "word " * 5000}).json()["job_id"]
    head = client.head(f"/api/v1/stream/{job}")
    assert (head.status_code, head.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    assert client.get(f"/api/v1/jobs/{job}").json()["status"] == "running"
    assert client.delete(f"/api/v1/jobs/{job}").status_code == 200


def test_an_old_client_gets_a_stream_without_chunks(host: HttpHost) -> None:
    body = json.dumps({"model": "echo", "prompt": "one two three", "stream": True}).encode()
    head, answer = from_old_client(host, "POST /v1/completions", body)
    assert "chunked" not in head
    assert "connection: close" in head
    *events, last = answer.decode().removesuffix("\n\n").split("\n\n")
    texts = [json.loads(event.removeprefix("data: "))["choices"][0]["text"] for event in events]
    assert ("".join(texts), last) == ("one two three", "data: [DONE]")


def test_an_old_client_gets_an_export_without_chunks(host: HttpHost, client: httpx.Client) -> None:
    client.post("/v1/completions", json={"model": "echo", "prompt": "a"}).raise_for_status()
    head, answer = from_old_client(host, "GET /api/v1/stats/export.csv")
    assert "chunked" not in head
    assert answer.startswith(b"time,origin,")
    assert answer.endswith(b"\r\n")


def test_an_old_client_gets_whole_answers_with_their_length(host: HttpHost) -> None:
    head, answer = from_old_client(host, "GET /api/v1/health")
    assert f"content-length: {len(answer)}\r\n" in head + "\r\n"
    assert json.loads(answer)["status"] == "ok"
    assert from_old_client(host, "HEAD /api/v1/health")[1] == b""
