"""What the dashboard asks for, over real HTTP against a real daemon."""

from collections.abc import Iterator

import httpx
import pytest
from support.browsers.waiting import wait_until
from support.http_host import HttpHost

from messages.replies import Stopped


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost() as made:
        yield made


@pytest.fixture
def api(host: HttpHost) -> Iterator[httpx.Client]:
    with host.client(host.token) as made:
        yield made


def test_the_page_needs_no_token_and_what_it_asks_for_does(host: HttpHost) -> None:
    with host.client() as stranger:
        assert stranger.get("/").headers["content-type"] == "text/html; charset=utf-8"
        assert stranger.get("/dashboard/main.js").headers["content-type"] == "text/javascript; charset=utf-8"
        for path in ("", "/log"):
            assert stranger.get(f"/api/v1/overview{path}").status_code == 401
        assert stranger.delete("/api/v1/overview/jobs/j1").status_code == 401


def test_no_path_leads_out_of_the_pages_folder(api: httpx.Client) -> None:
    for path in ("/dashboard/README.md", "/dashboard/%2e%2e/__init__.py", "/dashboard/..%2f__init__.py", "/dashboard/"):
        assert api.get(path).status_code == 404, path


def test_generations_of_every_caller_are_seen_and_can_be_stopped(host: HttpHost, api: httpx.Client) -> None:
    with host.port() as port:
        port.call("load", model="echo", options={"tokens_per_second": 20.0})
        asked = port.ask("generate", prompt="word " * 1000)
        job = wait_until(
            "a speed", lambda: [job for job in api.get("/api/v1/overview").json()["jobs"] if job["tokens_per_second"]]
        )[0]
        assert job["origin"].startswith("chrome-extension://")
        assert (job["model"], job["state"]) == ("echo", "decode")
        stopped = api.delete(f"/api/v1/overview/jobs/{job['job_id']}")
        assert stopped.json()["stopped_jobs"] == [job["job_id"]]
        assert stopped.json().keys() == {"status", *Stopped.model_fields}
        assert port.result(asked)["finish_reason"] == "cancelled"
    overview = api.get("/api/v1/overview").json()
    assert overview["jobs"] == []
    assert overview["generations"] == 1
    assert overview["current"]["finish_reason"] == "cancelled"


def test_the_current_figures_are_those_of_the_active_model_everywhere(host: HttpHost, api: httpx.Client) -> None:
    with host.port() as port:
        port.call("unload", all=True)
        port.call("load", model="talked", backend="echo")
        assert port.call("generate", prompt="one two three")["status"] == "success"
        port.call("load", model="fresh", backend="echo")
        for active, tokens in (("fresh", None), ("talked", 3), (None, 3)):
            overview, stats = api.get("/api/v1/overview").json(), port.call("get_stats")
            assert (overview["active"], stats["model"]) == (active, active)
            told = (overview["current"], api.get("/api/v1/stats").json(), stats)
            assert [one["output_tokens"] for one in told] == [tokens] * 3
            if active is not None:
                port.call("unload", model=active)


def test_a_port_is_told_where_the_page_is(host: HttpHost) -> None:
    with host.port() as port:
        assert port.call("ping")["http_url"] == host.url


def test_a_generation_that_does_not_run_is_not_found(api: httpx.Client) -> None:
    answer = api.delete("/api/v1/overview/jobs/j-none")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "job_not_found"


@pytest.mark.parametrize("query", ["log?lines=0", "log?lines=9999999", "log?lines=x"])
def test_what_is_out_of_range_is_refused_by_name(api: httpx.Client, query: str) -> None:
    answer = api.get(f"/api/v1/overview/{query}")
    assert answer.status_code == 400
    assert query.partition("?")[2].partition("=")[0] in answer.json()["message"]


def test_a_page_that_the_configuration_lets_in_sees_nothing_of_others() -> None:
    with HttpHost("--no-token", config='[http]\nallowed_origins = ["https://example.org"]\n') as host:
        with host.client() as client:
            answer = client.get("/api/v1/overview", headers={"Origin": "https://example.org"})
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "origin_forbidden"


def test_the_log_ends_with_what_happened_last(api: httpx.Client) -> None:
    lines = api.get("/api/v1/overview/log?lines=5").json()["lines"]
    assert 1 <= len(lines) <= 5
