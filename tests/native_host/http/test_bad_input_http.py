"""What clients do wrong on the wire: half a body, no end, no reading, too many connections, no HTTP at all."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from http.client import HTTPResponse

import httpx
import psutil
import pytest
from support.browsers.waiting import wait_until
from support.http_host import HttpHost, is_healthy, read_all

MAX_CONNECTIONS = 20
CONFIG = (
    f"[http]\nmax_connections = {MAX_CONNECTIONS}\nread_timeout_s = 1\nwrite_timeout_s = 1\nmax_body_bytes = 4096\n"
)
BODY_TIMEOUT_S = 1
HEAD = "POST /api/v1/load HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost("--no-token", config=CONFIG) as made:
        with made.port() as port:
            port.call("load", model="echo", options={"tokens_per_second": 20})
        yield made
        assert "Traceback" not in made.log


def answer_to(host: HttpHost, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what comes until the other end closes."""
    with host.raw(data) as connection:
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(status.split(" ")[1]), headers, body


def test_two_hosts_are_one_too_many(host: HttpHost) -> None:
    data = b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    status, _, body = answer_to(host, data)
    assert status == 400
    assert json.loads(body)["message"] == "The request has two Host headers; send one."


@pytest.mark.parametrize(
    ("target", "named", "expected"),
    [
        ("http://evil.example", "localhost", 403),
        ("http://localhost@evil.example", "localhost", 403),
        ("http://", "localhost", 400),
        ("http://localhost:8000", "evil.example", 200),
        ("http://localhost", "localhost\r\nHost: evil.example", 400),
    ],
)
def test_the_host_of_an_absolute_target_counts_and_not_the_header(
    host: HttpHost, target: str, named: str, expected: int
) -> None:
    data = f"GET {target}/api/v1/health HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\n\r\n"
    assert answer_to(host, data.encode())[0] == expected


def test_a_refused_request_that_asks_before_it_sends_its_body_ends_the_connection(host: HttpHost) -> None:
    asking = "Content-Length: 30\r\nExpect: 100-continue\r\n\r\n"
    for line in (
        "POST /api/v1/load HTTP/1.1\r\nHost: evil.example\r\n",
        "POST /nothing HTTP/1.1\r\nHost: localhost\r\n",
    ):
        status, headers, _ = answer_to(host, f"{line}Content-Type: application/json\r\n{asking}".encode())
        assert (status, headers["connection"]) in ((403, "close"), (404, "close"))


def test_a_request_that_asks_before_it_sends_its_body_is_told_to_go_on(host: HttpHost) -> None:
    body = b'{"all": false}'
    head = "POST /api/v1/unload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with host.raw(f"{head}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode()) as connection:
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert b"connection: close" not in connection.recv(65_536)
        connection.sendall(b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in read_all(connection)


def test_a_body_that_is_cut_off_costs_nothing(host: HttpHost) -> None:
    for _ in range(5):
        host.raw(f'{HEAD}Content-Length: 100\r\n\r\n{{"model":'.encode()).close()
    assert is_healthy(host.url)


@pytest.mark.parametrize("pieces", ["two\r\n{}", "1\r\n{}\r\n0\r\n\r\n"])
def test_a_body_whose_pieces_are_not_as_long_as_they_say_is_told_so(host: HttpHost, pieces: str) -> None:
    status, headers, body = answer_to(host, f"{HEAD}Transfer-Encoding: chunked\r\n\r\n{pieces}".encode())
    assert (status, headers["connection"]) == (400, "close")
    assert json.loads(body)["error"]["code"] == "invalid_request"
    assert is_healthy(host.url)


@pytest.mark.parametrize(
    ("rest", "answer"),
    [(b"zz\r\n", b""), (b"0\r\n" + b"X: y\r\n" * 20_000, b""), (b"0\r\n\r\n\x00\r\n\r\n", b"HTTP/1.1 400")],
    ids=["no chunk", "trailers without end", "no request behind it"],
)
def test_the_rest_of_an_answered_requests_body_gets_no_answer_of_its_own(
    host: HttpHost, rest: bytes, answer: bytes
) -> None:
    head = "POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with host.raw(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()) as connection:
        refused = HTTPResponse(connection)
        refused.begin()
        assert (refused.status, refused.read() != b"") == (404, True)
        connection.sendall(rest)
        assert read_all(connection)[:12] == answer
    assert is_healthy(host.url)


def test_a_body_that_stands_still_is_told_so(host: HttpHost) -> None:
    began = time.monotonic()
    status, _, body = answer_to(host, f'{HEAD}Content-Length: 100\r\n\r\n{{"model":'.encode())
    assert (status, json.loads(body)["error"]["code"]) == (408, "request_timeout")
    assert 0.9 < time.monotonic() - began < 10


def test_a_body_that_comes_drop_by_drop_for_ever_is_told_so() -> None:
    with HttpHost("--no-token", config=f"[http]\nbody_timeout_s = {BODY_TIMEOUT_S}\n") as host:
        began = time.monotonic()
        with host.raw(f"{HEAD}Content-Length: 4000\r\n\r\n".encode(), timeout=0.1) as connection:
            answer = _answer_while_dropping(connection, drops=300)
        assert time.monotonic() - began > BODY_TIMEOUT_S
    assert answer.startswith(b"HTTP/1.1 408")
    assert f"took longer than {BODY_TIMEOUT_S} s".encode() in answer


@pytest.mark.parametrize("data", [b"", b"GET /api/v1/health HTTP/1.1\r\nHost: local"])
def test_a_head_that_stands_still_is_closed(host: HttpHost, data: bytes) -> None:
    with host.raw(data) as connection:
        assert read_all(connection) == b""


def test_a_head_that_comes_drop_by_drop_is_closed_as_well(host: HttpHost) -> None:
    with host.raw(b"GET / HTTP/1.1\r\nX: ", timeout=0.1) as connection:
        assert any(_is_closed(connection) for _ in range(100))


def _answer_while_dropping(connection: socket.socket, drops: int) -> bytes:
    """The whole answer that comes while byte after byte is sent, whatever becomes of the bytes sent after it."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        for _ in range(drops):
            with contextlib.suppress(TimeoutError):
                if not answer:
                    connection.sendall(b" ")
                piece = connection.recv(65_536)
                if not piece:
                    break
                answer += piece
    return answer


def _is_closed(connection: socket.socket) -> bool:
    """Send one byte more, and see whether the other end has had enough."""
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize(
    "data", [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/x\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n"]
)
def test_what_is_not_http_is_refused_and_closed(host: HttpHost, data: bytes) -> None:
    status, headers, _ = answer_to(host, data)
    assert (status, headers["connection"]) == (400, "close")


def test_a_request_that_names_no_host_is_refused(host: HttpHost) -> None:
    assert answer_to(host, b"GET / HTTP/1.1\r\n\r\n")[0] == 403


def test_a_head_without_end_is_refused(host: HttpHost) -> None:
    data = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000
    assert answer_to(host, data)[0] in (400, 431)


def test_a_head_without_end_is_not_read_while_an_answer_streams_either(host: HttpHost) -> None:
    with stream_of(host, 10) as connection:
        assert connection.recv(12) == b"HTTP/1.1 200"
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 8_000_000)
            answer = read_all(connection)
            assert b"[DONE]" not in answer
            assert b"HTTP/1.1 400" not in answer  # nothing can be said amid an answer
    assert is_healthy(host.url)


def test_trailers_without_end_are_not_read(host: HttpHost) -> None:
    head = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n0\r\n".encode()
    trailers = (b"X: " + b"x" * 10_000 + b"\r\n") * 1000
    with host.raw(head) as connection, pytest.raises(ConnectionError):
        connection.sendall(trailers)


def test_a_request_that_was_sent_before_the_last_answer_is_answered_to_its_end(host: HttpHost) -> None:
    with host.raw(b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n" + completion(2)) as connection:
        assert read_all(connection).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_a_client_that_goes_away_stops_its_answer_though_it_had_asked_for_more(host: HttpHost) -> None:
    with stream_of(host, 30, "GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
        assert connection.recv(12) == b"HTTP/1.1 200"
    wait_until("the end of the generation", lambda: not jobs_that_run(host))


def jobs_that_run(host: HttpHost) -> list[str]:
    """The ids of generations that are not over."""
    overview = httpx.get(f"{host.url}/api/v1/overview", trust_env=False).raise_for_status().json()
    return [job["job_id"] for job in overview["jobs"]]


def stream_of(host: HttpHost, seconds: int, behind: str = "") -> socket.socket:
    """A connection on which a stream has been asked for, and what stands `behind` it."""
    return host.raw(completion(seconds, "keep-alive" if behind else "close") + behind.encode())


def completion(seconds: int, connection: str = "close") -> bytes:
    """A request for a stream that takes some seconds, which are more than `read_timeout_s`."""
    body = json.dumps({"model": "echo", "prompt": "word " * (20 * seconds), "stream": True}).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Connection: {connection}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_a_body_of_unknown_length_is_bounded_too(host: HttpHost) -> None:
    data = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n2000\r\n{' ' * 0x2000}\r\n0\r\n\r\n"
    with host.raw(data.encode()) as connection:
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_a_refused_requests_body_is_not_read_without_end() -> None:
    head = f"{HEAD}Content-Length: {2**40}\r\n\r\n".encode()
    with (
        HttpHost("--no-token", config="[http]\nread_timeout_s = 100\n") as host,
        host.raw(head, timeout=60) as connection,
    ):
        assert connection.recv(12) == b"HTTP/1.1 413"
        with pytest.raises(ConnectionError):
            connection.sendall(bytes(200 * 2**20))


def test_one_that_asks_before_it_sends_too_much_need_not_send_it(host: HttpHost) -> None:
    with host.raw(f"{HEAD}Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n".encode()) as connection:
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_a_client_that_never_reads_is_closed(host: HttpHost) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", host.http_port))
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
        mine = connection.getsockname()[1]
        daemon = psutil.Process(host.daemon_pid)

        def is_gone() -> bool:
            return all(one.raddr[1:] != (mine,) for one in daemon.net_connections("tcp"))

        wait_until("the connection", lambda: not is_gone())
        wait_until("the end of the connection", is_gone, 20)
    assert is_healthy(host.url)


def test_connections_that_are_opened_and_left_are_bounded_and_go_by_themselves(host: HttpHost) -> None:
    left = [host.raw() for _ in range(200)]
    answers = [read_all(one) for one in left]
    refused = [one for one in answers if one]
    assert len(refused) >= 200 - MAX_CONNECTIONS - 1
    for answer in refused:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 5\r\n" in head + b"\r\n"
        assert json.loads(body)["error"]["code"] == "busy"
    for one in left:
        one.close()
    wait_until("room again", lambda: is_healthy(host.url))


def test_a_client_over_the_limit_reads_its_503_though_it_has_sent_a_request(host: HttpHost) -> None:
    wait_until("room again", lambda: is_healthy(host.url))
    left = [host.raw() for _ in range(MAX_CONNECTIONS)]
    try:
        answer = httpx.get(f"{host.url}/api/v1/health", trust_env=False)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    finally:
        for one in left:
            one.close()
    wait_until("room again", lambda: is_healthy(host.url))
