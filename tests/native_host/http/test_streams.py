"""GET /api/v1/stream/{job_id}: the events of a job, resumed without loss."""

import re
from collections.abc import Iterator
from itertools import islice

import httpx
import pytest
from support.browsers.waiting import wait_until
from support.http_host import HttpHost
from support.sse import ServerEvent, events

from native_host.http.job_events import Place
from native_host.http.streams import HEARTBEAT_S

WORDS = [f"w{number}" for number in range(40)]
TEXT = " ".join(WORDS)


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost("--no-token", env={"TABAGENT_TEST_FAULTS": "1"}) as made:
        yield made


@pytest.fixture(scope="module")
def client(host: HttpHost) -> Iterator[httpx.Client]:
    with host.client() as made:
        yield made


def begin(client: httpx.Client, prompt: str = TEXT, options: dict[str, object] | None = None, **fields: object) -> str:
    """Load an echo with these options and begin a job on it."""
    client.post("/api/v1/unload", json={"all": True}).raise_for_status()
    given = options or {"tokens_per_second": 100, "prefill_ms": 100}
    client.post("/api/v1/load", json={"model": "echo", "options": given}).raise_for_status()
    job: str = client.post("/api/v1/jobs", json={"prompt": prompt, **fields}).json()["job_id"]
    return job


def watch(
    client: httpx.Client, job: str, last_event_id: str | None = None, count: int | None = None
) -> list[ServerEvent]:
    """The events of a job, all or the first `count`."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    with client.stream("GET", f"/api/v1/stream/{job}", headers=headers) as answer:
        assert answer.status_code == 200
        return list(islice(events(answer), count))


def of(told: list[ServerEvent], name: str) -> list[ServerEvent]:
    return [one for one in told if one.name == name]


def text_of(told: list[ServerEvent]) -> str:
    return "".join(one.fields["text"] for one in of(told, "token"))


def test_a_jobs_life_is_told_from_connected_to_done(client: httpx.Client) -> None:
    job = begin(client, thinking_update_interval=0.1)
    told = watch(client, job)
    assert [told[0].name, told[1].name, told[-2].name, told[-1].name] == [
        "connected",
        "status_update",
        "analysis_complete",
        "done",
    ]
    assert all(one.fields["job_id"] == job for one in told)
    assert text_of(told) == TEXT == told[-2].fields["text"]
    assert told[-2].fields["stats"]["output_tokens"] == len(WORDS)
    assert told[-1].fields == {"job_id": job, "status": "finished"}


def test_progress_is_between_0_and_100_and_never_goes_back(client: httpx.Client) -> None:
    told = of(watch(client, begin(client)), "status_update")
    assert set(told[0].fields) == {
        "job_id",
        "status",
        "step_phase",
        "progress_percentage",
        "current_step",
        "llm_thinking",
    }
    percentages = [one.fields["progress_percentage"] for one in told]
    assert percentages == sorted(percentages)
    assert 0 <= percentages[0] < 100 == percentages[-1]
    phases = list(dict.fromkeys(one.fields["step_phase"] for one in told))
    assert phases[-2:] == ["decode", "finished"]


def test_signs_of_life_have_the_wording_that_clients_match(client: httpx.Client) -> None:
    told = watch(client, begin(client, thinking_update_interval=0.05))
    signs = of(told, "thinking_update")
    assert {
        "job_id",
        "thinking",
        "phase",
        "tokens",
        "tokens_per_second",
        "elapsed_ms",
        "eta_ms",
        "memory_bytes",
    } == set(signs[-1].fields)
    assert re.search(r"\((\d+) tokens,\s*([\d.]+) tps\)", signs[-1].fields["thinking"])
    assert of(told, "status_update")[-1].fields["llm_thinking"] == signs[-1].fields["thinking"]


def test_who_comes_back_gets_the_rest_and_nothing_twice(client: httpx.Client) -> None:
    job = begin(client)
    told: list[ServerEvent] = []
    while not told or told[-1].name != "done":
        told += watch(client, job, told[-1].id if told else None, count=7)
    assert text_of(told) == TEXT
    assert [one.fields["seq"] for one in of(told, "token")] == list(range(len(of(told, "token"))))
    assert len(of(told, "analysis_complete")) == len(of(told, "done")) == 1


def test_who_comes_after_the_end_is_told_all_and_who_has_all_is_told_not_to_come_again(client: httpx.Client) -> None:
    job = begin(client)
    wait_until("the end", lambda: client.get(f"/api/v1/jobs/{job}").json()["state"] == "finished")
    told = watch(client, job)
    assert text_of(told) == TEXT
    assert client.get(f"/api/v1/stream/{job}", headers={"Last-Event-ID": told[-1].id}).status_code == 204


@pytest.mark.parametrize("nonsense", ["", "abc", "-1", "1e9", "9" * 30, "5-else"])
def test_an_id_that_is_none_of_ours_begins_at_the_beginning(client: httpx.Client, nonsense: str) -> None:
    assert Place.read(nonsense) == Place()


def test_an_id_beyond_the_jobs_text_is_another_jobs_and_begins_at_the_beginning(client: httpx.Client) -> None:
    assert text_of(watch(client, begin(client), "999")) == TEXT


def test_many_watch_one_job_and_see_the_same(host: HttpHost, client: httpx.Client) -> None:
    job = begin(client)
    with host.client() as other, other.stream("GET", f"/api/v1/stream/{job}") as answer:
        assert text_of(watch(client, job)) == TEXT
        assert text_of(list(events(answer))) == TEXT


def test_a_job_that_is_stopped_ends_without_a_result(host: HttpHost, client: httpx.Client) -> None:
    job = begin(client, options={"tokens_per_second": 20})
    with host.client() as other, other.stream("GET", f"/api/v1/stream/{job}") as answer:
        told = events(answer)
        next(one for one in told if one.name == "token")
        client.delete(f"/api/v1/jobs/{job}").raise_for_status()
        rest = list(told)
    assert rest[-1].fields == {"job_id": job, "status": "cancelled"}
    assert of(rest, "analysis_complete") == of(rest, "error") == []


def test_a_job_that_fails_says_why_and_what_it_had_said(client: httpx.Client) -> None:
    job = begin(client, options={"tokens_per_second": 100, "fault": "kill@5"})
    told = watch(client, job)
    assert [one.name for one in told[-2:]] == ["error", "done"]
    error = told[-2].fields
    assert error["error"]["code"] == "backend_crashed"
    assert error["message"]
    assert error["text"] == text_of(told)
    assert told[-1].fields["status"] == "failed"


def test_text_of_any_kind_arrives_as_it_was(client: httpx.Client) -> None:
    text = "line\nbreak \r\n data: x \u2028 \N{GRINNING FACE} \x0b end"
    told = watch(client, begin(client, prompt=text))
    assert told[-2].fields["text"] == text


def test_the_stream_is_also_where_older_clients_look_for_it(client: httpx.Client) -> None:
    job = begin(client)
    with client.stream("GET", f"/stream/{job}") as answer:
        assert text_of(list(events(answer))) == TEXT


@pytest.mark.slow
def test_quiet_is_broken_by_a_heartbeat(client: httpx.Client) -> None:
    job = begin(client, prompt="one", options={"prefill_ms": HEARTBEAT_S * 1000 + 2000}, thinking_update_interval=0)
    told = watch(client, job)
    beats = of(told, "heartbeat")
    assert len(beats) == 1
    assert beats[0].fields["timestamp"] > 0
    client.post("/api/v1/unload", json={"all": True}).raise_for_status()
