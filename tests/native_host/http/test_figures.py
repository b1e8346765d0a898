"""Figures over HTTP beside get_stats: in groups, over time, as CSV."""

import asyncio
import csv
import io
import logging
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from support.browsers.waiting import wait_until
from support.host_process import ORIGIN, Json
from support.http_host import HttpHost
from support.stats_rows import row

from native_host import stats_queries, stats_store
from native_host.config import Config, Paths
from native_host.config_sections import HttpConfig
from native_host.host import Host
from native_host.http.server import HttpServer
from native_host.http.settings import HttpSettings
from native_host.stats_database import Database
from native_host.stats_rows import GENERATION_COLUMNS, Filter, MemorySample

PAGE = "http://page.example"
ROWS = 2500
SAMPLE_TIMEOUT_S = 30.0
TOO_LONG_S = 30.0


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    """A daemon that has answered two extensions' prompts, and one of them twice."""
    with HttpHost("--no-token", config=f'[http]\nallowed_origins = ["{PAGE}"]\n') as made:
        with made.port() as port, made.port("add-on@example.org") as other:
            port.call("load", model="echo", options={"tokens_per_second": 50})
            for asker in (port, port, other):
                assert asker.call("generate", prompt="one two three", stream=False)["status"] == "success"
        yield made


@pytest.fixture
def client(host: HttpHost) -> Iterator[httpx.Client]:
    with host.client() as opened:
        yield opened


def get(client: httpx.Client, path: str, **parameters: str | float) -> Json:
    answer = client.get(f"/api/v1/stats/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def test_groups_are_by_backend_model_or_origin(client: httpx.Client) -> None:
    for by, names in (("backend", ["ECHO"]), ("model", ["echo"]), ("origin", ["add-on@example.org", ORIGIN])):
        assert sorted(get(client, "grouped", by=by)["groups"]) == names
    mine = get(client, "grouped", by="origin")["groups"][ORIGIN]
    assert (mine["count"], mine["output_tokens"]) == (2, 6)
    assert 20 < mine["tokens_per_second"]["p50"] < 100
    assert get(client, "grouped", by="model", origin="nobody")["groups"] == {}


def test_history_has_the_generations_of_each_backend_over_time(client: httpx.Client) -> None:
    points = get(client, "history", parts=5)["backends"]["ECHO"]
    assert sum(point["count"] for point in points) == 3
    assert all(point["time_to_first_token"]["p99"] > 0 for point in points)
    assert get(client, "history", until=1)["backends"] == {}


def test_memory_over_time_is_there_after_a_while(host: HttpHost, client: httpx.Client) -> None:
    with host.port() as port:
        resident = port.call("get_state")["models"][0]["resident_bytes"]
    wait_until("a sample", lambda: get(client, "memory")["models"] != {}, SAMPLE_TIMEOUT_S)
    (point, *_) = get(client, "memory")["models"]["echo"]
    assert point["resident_bytes"] == pytest.approx(resident, rel=0.2)


def test_memory_over_time_falls_to_nothing_where_a_model_was_unloaded(host: HttpHost, client: httpx.Client) -> None:
    with closing(Database(host.home.data_dir / "stats.sqlite3")) as database:
        database.insert(
            [MemorySample(time, "ECHO", "gone", size) for time, size in ((1005, 300), (1006, 200), (1007, 0))]
        )
    points = get(client, "memory", model="gone", since=1000, until=1100, parts=10)["models"]["gone"]
    assert points == [{"time": 1000.0, "resident_bytes": 300}, {"time": 1007.0, "resident_bytes": 0}]


def test_the_export_has_a_line_for_each_generation(client: httpx.Client) -> None:
    answer = client.get("/api/v1/stats/export.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "tabagent-stats.csv" in answer.headers["content-disposition"]
    lines = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert tuple(lines[0]) == GENERATION_COLUMNS
    assert [line["origin"] for line in lines] == [ORIGIN, ORIGIN, "add-on@example.org"]
    for line in lines:
        assert (line["outcome"], line["finish_reason"], line["output_tokens"]) == ("success", "stop", "3")
        assert int(line["peak_memory"]) > 1_000_000
        assert 0 <= float(line["queue_time"]) < float(line["time_to_first_token"]) < float(line["total_time"])


def test_a_page_that_is_let_in_sees_its_own_figures_alone(client: httpx.Client) -> None:
    headers = {"Origin": PAGE}
    for path in ("grouped", "grouped?by=origin", f"grouped?origin={ORIGIN}"):
        assert client.get(f"/api/v1/stats/{path}", headers=headers).json()["groups"] == {}
    assert client.get("/api/v1/stats/export.csv", headers=headers).text.count("\n") == 1
    assert client.get("/metrics", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("history", "parts", "0"),
        ("history", "parts", "1001"),
        ("memory", "since", "nan"),
        ("export.csv", "until", "-1"),
        ("grouped", "by", "text"),
    ],
)
def test_a_bad_parameter_is_named(client: httpx.Client, path: str, name: str, value: str) -> None:
    answer = client.get(f"/api/v1/stats/{path}", params={name: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"
    assert answer.json()["error"]["details"]["fields"][0].startswith(f"{name}: ")


def test_an_export_of_many_pages_is_whole(host: HttpHost, client: httpx.Client) -> None:
    with closing(Database(host.home.data_dir / "stats.sqlite3")) as database:
        database.insert([row(model="many", rate=float(number)) for number in range(ROWS)])
    lines = client.get("/api/v1/stats/export.csv", params={"model": "many"}).text.splitlines()
    rates = [line.split(",")[GENERATION_COLUMNS.index("tokens_per_second")] for line in lines[1:]]
    assert rates == [str(float(number)) for number in range(ROWS)]


def test_an_export_that_cannot_be_read_to_its_end_breaks_off_with_one_line_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    paths, is_over, ask = Paths(tmp_path, tmp_path, tmp_path), threading.Event(), stats_queries.page
    with closing(Database(paths.stats_file)) as database:
        database.insert([row() for _ in range(ROWS)])

    def page(connection: sqlite3.Connection, wanted: Filter, after_id: int, limit: int) -> object:
        """The first page at once, the next one when it is too late."""
        if after_id:
            is_over.wait(TOO_LONG_S)
        return ask(connection, wanted, after_id, limit)

    monkeypatch.setattr(stats_queries, "page", page)
    monkeypatch.setattr(stats_store, "ANSWER_TIMEOUT_S", 3.0)

    text: list[str] = []

    async def read(url: str) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=TOO_LONG_S) as client, client.stream("GET", url) as got:
            async for piece in got.aiter_text():
                text.append(piece)

    async def play() -> None:
        host = Host(Config(), paths)
        listening = socket.create_server(("127.0.0.1", 0))
        server = HttpServer(host, HttpSettings(HttpConfig(), token=None), [listening])
        await server.start()
        try:
            with pytest.raises(httpx.RemoteProtocolError):
                await read(f"http://127.0.0.1:{listening.getsockname()[1]}/api/v1/stats/export.csv")
        finally:
            is_over.set()
            await server.stop()
            await host.close()

    asyncio.run(play())
    assert "".join(text).count("\n") == 1001
    (told,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert told.getMessage().startswith("An export of the statistics broke off: ")
    assert told.exc_info is None
