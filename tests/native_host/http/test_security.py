"""Who may come in over HTTP: the token, the Host header, the Origin, the content type."""

import json
import stat
from collections.abc import Iterator

import httpx
import pytest
from support.http_host import HttpHost, read_all

CONFIG = """
[http]
allowed_origins = ["http://localhost:3000", "http://Box.lan/"]
allowed_hosts = ["box.lan", "Mac.local"]
max_body_bytes = 2048
"""


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost(config=CONFIG) as made:
        yield made


@pytest.fixture(scope="module")
def client(host: HttpHost) -> Iterator[httpx.Client]:
    with host.client(host.token) as made:
        yield made


def code_of(answer: httpx.Response) -> str:
    """The error's code."""
    body = answer.json()
    assert body["status"] == "error"
    assert body["message"]
    code: str = body["error"]["code"]
    return code


def test_health_is_told_to_anyone_on_this_computer(host: HttpHost) -> None:
    with host.client() as stranger:
        health = stranger.get("/api/v1/health").json()
    assert (health["status"], health["token_required"], health["pid"]) == ("ok", True, host.daemon_pid)


def test_without_the_token_nothing_else_is_answered(host: HttpHost) -> None:
    with host.client() as stranger:
        answer = stranger.get("/api/v1/models")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert code_of(answer) == "unauthorized"


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "Basic dXNlcjpwYXNz", "Bearer \xe9\xe9"])
def test_a_wrong_token_is_refused(host: HttpHost, header: str) -> None:
    with host.client() as stranger:
        answer = stranger.get("/api/v1/models", headers={b"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401


def test_the_token_is_in_a_file_of_this_user_alone_and_stays_the_same(host: HttpHost) -> None:
    file = host.home.data_dir / "http-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() == host.token == host.token
    assert len(host.token) >= 32


NO_NAMES = ("localhost/x", "x@localhost", "localhost:x", "localhost:8000:8000", "::1", "[localhost]", "localhost?x")


def test_a_page_that_points_its_own_name_here_is_refused(client: httpx.Client) -> None:
    for name in (
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "",
        "[",
        "localhost@evil.example",
        *NO_NAMES,
    ):
        answer = client.get("/api/v1/health", headers={"Host": name})
        assert (answer.status_code, code_of(answer)) == (403, "host_forbidden"), name


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "box.lan", "mac.local:8000"]
)
def test_this_computers_names_are_taken(client: httpx.Client, name: str) -> None:
    assert client.get("/api/v1/health", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3001", "chrome-extension://aaaa"])
def test_a_page_of_another_site_is_refused(client: httpx.Client, origin: str) -> None:
    answer = client.get("/api/v1/health", headers={"Origin": origin})
    assert (answer.status_code, code_of(answer)) == (403, "origin_forbidden")
    assert "access-control-allow-origin" not in answer.headers


def test_what_a_foreign_page_loads_into_itself_is_refused_though_it_has_no_origin(client: httpx.Client) -> None:
    fetched = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert client.get("/api/v1/health", headers=fetched).status_code == 403
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/api/v1/health", headers=followed).status_code == 200


def test_our_own_page_and_one_that_is_configured_may_ask(client: httpx.Client) -> None:
    own = str(client.base_url).rstrip("/")
    for origin in (own, "http://localhost:3000", "http://box.lan"):
        answer = client.get("/api/v1/health", headers={"Origin": origin})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)


def test_a_permitted_pages_jobs_are_its_own(client: httpx.Client) -> None:
    page = {"Origin": "http://localhost:3000"}
    client.post("/api/v1/load", json={"model": "echo"}).raise_for_status()
    job = client.post("/api/v1/jobs", json={"prompt": "a"}, headers=page).json()["job_id"]
    assert client.get(f"/api/v1/jobs/{job}", headers=page).status_code == 200
    for path in ("/api/v1/jobs", "/api/v1/stream", "/stream"):
        answer = client.get(f"{path}/{job}")
        assert (answer.status_code, code_of(answer)) == (404, "job_not_found")
    assert client.get("/api/v1/jobs").json()["jobs"] == []


def test_a_preflight_of_a_configured_page_is_answered_and_another_ones_is_not(host: HttpHost) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with host.client() as stranger:
        good = stranger.options("/api/v1/load", headers={**asks, "Origin": "http://localhost:3000"})
        bad = stranger.options("/api/v1/load", headers={**asks, "Origin": "http://evil.example"})
    assert (good.status_code, bad.status_code) == (204, 403)
    assert good.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "Authorization" in good.headers["access-control-allow-headers"]


def test_a_body_that_is_not_json_is_refused_by_its_type(client: httpx.Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = client.post("/api/v1/load", content=b'{"model": "demo"}', headers={"Content-Type": kind})
        assert (answer.status_code, code_of(answer)) == (415, "unsupported_media_type")


def test_a_body_over_the_limit_is_refused(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/api/v1/load", content=b" " * 2049, headers=headers)
    assert (answer.status_code, code_of(answer)) == (413, "frame_too_large")


def test_an_unknown_path_and_a_wrong_method_are_told(client: httpx.Client) -> None:
    unknown, wrong = client.get("/api/v1/nothing"), client.delete("/api/v1/health")
    assert (unknown.status_code, code_of(unknown)) == (404, "not_found")
    assert (wrong.status_code, code_of(wrong)) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, HEAD"
    several = {
        "/api/v1/jobs": "GET, HEAD, POST",
        "/api/v1/params": "GET, HEAD, POST",
        "/api/v1/jobs/x": "DELETE, GET, HEAD",
        "/api/v1/load": "POST",
    }
    assert {path: client.put(path).headers["allow"] for path in several} == several


def test_a_body_that_is_packed_is_refused_by_its_encoding(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = client.post("/api/v1/load", content=b"\x1f\x8b", headers=headers)
    assert (answer.status_code, code_of(answer)) == (415, "unsupported_media_type")
    assert "gzip" in answer.json()["message"]
    headers["Content-Encoding"] = "identity"
    assert client.post("/api/v1/unload", content=b'{"all": true}', headers=headers).status_code == 200


def test_what_is_no_request_is_told_in_json_like_every_other_error(host: HttpHost) -> None:
    for sent in (b"HELLO\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"\x16\x03\x01\x02\x00" + bytes(64)):
        with host.raw(sent) as connection:
            head, _, body = read_all(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request"), sent
        assert b"application/json" in head
        assert json.loads(body)["error"]["code"] == "invalid_request"


def test_errors_under_v1_have_openais_shape(host: HttpHost) -> None:
    with host.client() as stranger:
        answer = stranger.get("/v1/models")
    assert answer.status_code == 401
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
