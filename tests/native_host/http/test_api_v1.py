"""/api/v1 on a real daemon: every route, and that it is one host with the native port's."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.browsers.waiting import wait_until
from support.host_process import TIMEOUT_S
from support.http_host import HttpHost
from support.sse import events
from support.tiny_embedder import make_embedder, reference_embedding

FIGURES = {"time_to_first_token", "tokens_per_second", "input_tokens", "output_tokens", "total_time"}
SLOW = {"tokens_per_second": 20, "prefill_ms": 0}
MANY_WORDS = " ".join(f"word{number}" for number in range(2000))


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost("--no-token") as made:
        yield made


@pytest.fixture(scope="module")
def client(host: HttpHost) -> Iterator[httpx.Client]:
    with host.client() as made:
        yield made


@pytest.fixture
def echo(client: httpx.Client) -> Iterator[None]:
    """An echo that answers at once."""
    client.post("/api/v1/load", json={"model": "echo", "options": {"tokens_per_second": 100_000}}).raise_for_status()
    yield
    client.post("/api/v1/unload", json={"all": True}).raise_for_status()


@pytest.fixture
def slow_echo(client: httpx.Client) -> Iterator[None]:
    """An echo that takes its time."""
    client.post("/api/v1/load", json={"model": "echo", "options": SLOW}).raise_for_status()
    yield
    client.post("/api/v1/unload", json={"all": True}).raise_for_status()


def user(text: str) -> dict[str, list[dict[str, str]]]:
    return {"messages": [{"role": "user", "content": text}]}


def code_of(answer: httpx.Response) -> str:
    code: str = answer.json()["error"]["code"]
    return code


def test_the_sequence_of_load_chat_and_stats_works_to_the_letter(client: httpx.Client) -> None:
    loaded = client.post("/api/v1/load", json={"model_path": "demo"}).json()
    assert (loaded["status"], loaded["model"]["model"], loaded["model"]["state"]) == ("success", "demo", "ready")
    asked = {"messages": [{"role": "user", "content": "Hello"}], "stream": False}
    answer = client.post("/api/v1/chat/completions", json=asked).json()
    assert answer["choices"][0]["message"]["content"].strip()
    stats = client.get("/api/v1/stats").json()
    assert set(stats) == FIGURES
    assert stats["output_tokens"] == answer["usage"]["completion_tokens"] > 0
    assert stats["input_tokens"] == answer["usage"]["prompt_tokens"] > 0
    assert 0 < stats["time_to_first_token"] <= stats["total_time"]
    client.post("/api/v1/unload", json={}).raise_for_status()


def test_a_model_loaded_over_http_is_seen_by_an_extension_and_the_other_way_round(
    host: HttpHost, client: httpx.Client, echo: None
) -> None:
    with host.port() as port:
        assert port.call("get_state")["active"] == "echo"
        port.call("load", model="second", backend="echo")
        told = client.get("/api/v1/models").json()
        assert {one["model"] for one in told["loaded"]} == {"echo", "second"}
        assert told["active"] == "second"
        client.post("/api/v1/unload", json={"model": "second"}).raise_for_status()
        port.wait(lambda message: message.get("event") == "model_unloaded" and message["model"] == "second")


def test_figures_of_an_extensions_generation_are_the_active_models(
    host: HttpHost, client: httpx.Client, echo: None
) -> None:
    with host.port() as port:
        result = port.call("generate", prompt="one two three", stream=False)
    stats = client.get("/api/v1/stats").json()
    assert stats == {name: result["stats"][name] for name in FIGURES}


def test_a_chat_is_streamed_piece_by_piece_and_ends_with_done(client: httpx.Client, echo: None) -> None:
    asked = {**user("a b c d"), "stream": True, "stream_options": {"include_usage": True}}
    with client.stream("POST", "/api/v1/chat/completions", json=asked) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = list(events(answer))
    assert told[-1].data == "[DONE]"
    chunks = [one.fields for one in told[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"])
    assert text == "a b c d"
    assert chunks[-1]["usage"]["completion_tokens"] == 4
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


def test_a_prompt_is_completed_plain_and_streamed(client: httpx.Client, echo: None) -> None:
    plain = client.post("/api/v1/completions", json={"prompt": "x y z"}).json()
    assert plain["choices"][0]["text"] == "x y z"
    assert (plain["stats"]["output_tokens"], plain["choices"][0]["finish_reason"]) == (3, "stop")
    with client.stream("POST", "/api/v1/completions", json={"prompt": "x y z", "stream": True}) as answer:
        chunks = [one.fields for one in events(answer) if one.data != "[DONE]"]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "x y z"


def test_settings_may_stand_inside_and_beside_but_not_in_both_places(client: httpx.Client, echo: None) -> None:
    beside = client.post("/api/v1/chat/completions", json={**user("a b c d"), "max_tokens": 2}).json()
    inside = client.post("/api/v1/chat/completions", json={**user("a b c d"), "settings": {"max_tokens": 3}}).json()
    assert [one["usage"]["completion_tokens"] for one in (beside, inside)] == [2, 3]
    both = client.post("/api/v1/completions", json={"prompt": "a", "max_tokens": 2, "settings": {"max_tokens": 3}})
    assert (both.status_code, code_of(both)) == (400, "invalid_request")
    assert both.json()["error"]["details"]["fields"][0].startswith("settings.max_tokens: is given twice")


def test_what_is_wrong_with_a_request_is_named(client: httpx.Client, echo: None) -> None:
    for body, field in (
        ({**user("a"), "temperature": 3}, "settings.temperature: must be <= 2"),
        ({**user("a"), "top_q": 1}, "top_q: is not a known field"),
        ({**user("a"), "stream": "yes"}, "stream: must be true or false"),
        ({"messages": []}, "messages: must have at least 1 item(s)"),
    ):
        answer = client.post("/api/v1/chat/completions", json=body)
        assert (answer.status_code, code_of(answer)) == (400, "invalid_request")
        assert answer.json()["error"]["details"]["fields"] == [field]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("stats/history?parts=0", "parts: must be >= 1"),
        ("stats/history?since=soon", "since: must be a number"),
        ("stats/grouped?by=day", "by: must be 'backend', 'model' or 'origin'"),
        ("jobs/j1?cursor=1.5", "cursor: must be an integer"),
    ],
)
def test_what_is_wrong_with_a_query_is_named_in_the_same_words(client: httpx.Client, path: str, field: str) -> None:
    answer = client.get(f"/api/v1/{path}")
    assert (answer.status_code, code_of(answer)) == (400, "invalid_request")
    assert answer.json()["error"]["details"]["fields"] == [field]


def test_what_the_path_says_is_not_said_again_in_the_body(client: httpx.Client, echo: None) -> None:
    for path in ("load", "chat/completions", "jobs", "halt", "params"):
        for name, value in (("action", "unload"), ("background", True), ("id", "r1")):
            answer = client.post(f"/api/v1/{path}", json={name: value})
            assert (answer.status_code, code_of(answer)) == (400, "invalid_request")
            assert answer.json()["error"]["details"]["fields"] == [f"{name}: is not a known field"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"a": NaN}', b"null", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/api/v1/load", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, code_of(answer)) == (400, "invalid_json")


def test_errors_of_the_host_have_their_statuses(client: httpx.Client) -> None:
    for path, body, status, code in (
        ("load", {"model": "nobody"}, 404, "model_not_found"),
        ("load", {"model": "demo", "options": {"draft_model": "/x"}}, 400, "unsupported_option"),
        ("unload", {"model": "nobody"}, 404, "model_not_loaded"),
        ("chat/completions", user("a"), 409, "no_active_backend"),
        ("tokenize", {"prompt": "a"}, 409, "no_active_backend"),
    ):
        answer = client.post(f"/api/v1/{path}", json=body)
        assert (answer.status_code, code_of(answer)) == (status, code), path


def test_a_picture_for_a_model_that_sees_none_and_embeddings_of_one_that_makes_none_are_refused(
    client: httpx.Client, echo: None
) -> None:
    embedding = client.post("/api/v1/embeddings", json={"input": "a"})
    assert (embedding.status_code, code_of(embedding)) == (400, "unsupported_option")


def test_texts_are_made_into_vectors(client: httpx.Client, tmp_path: Path) -> None:
    folder = make_embedder(tmp_path / "embedder")
    client.post("/api/v1/load", json={"model_path": str(folder)}).raise_for_status()
    made = client.post("/api/v1/embeddings", json={"input": ["one", "one two"]}).json()
    assert [one["index"] for one in made["data"]] == [0, 1]
    expected = reference_embedding(folder, "one two", "mean", normalize=True)
    assert made["data"][1]["embedding"] == pytest.approx(expected.tolist(), abs=1e-3)
    assert made["usage"]["prompt_tokens"] == made["input_tokens"] > 0
    client.post("/api/v1/unload", json={"model": str(folder)}).raise_for_status()


def test_tokens_are_counted(client: httpx.Client, echo: None) -> None:
    told = client.post("/api/v1/tokenize", json={"prompt": "one two three"}).json()
    assert (told["status"], told["tokens"]) == ("success", 3)


def test_models_backends_and_the_system_are_told(client: httpx.Client, echo: None) -> None:
    models = client.get("/api/v1/models").json()
    assert "demo" in {one["model"] for one in models["models"]}
    assert [one["model"] for one in models["loaded"]] == ["echo"]
    one = client.get("/api/v1/models/demo").json()
    assert (one["listing"]["model"], one["state"]) == ("demo", None)
    by_path = client.get(f"/api/v1/models/{one['listing']['model_path']}").json()
    assert by_path["listing"] == one["listing"]
    assert client.get("/api/v1/models/nobody").status_code == 404
    assert "llamacpp" in {row["backend"] for row in client.get("/api/v1/backends").json()["backends"]}
    assert client.get("/api/v1/system-info").json()["memory"]


def test_params_are_this_callers_and_hold_for_its_next_generations(client: httpx.Client, echo: None) -> None:
    before = client.get("/api/v1/params").json()["settings"]
    assert before["max_tokens"] == 2048
    changed = client.post("/api/v1/params", json={"max_tokens": 2}).json()
    assert changed["settings"]["max_tokens"] == 2
    assert client.get("/api/v1/params").json()["settings"] == {**before, "max_tokens": 2}
    answer = client.post("/api/v1/completions", json={"prompt": "a b c d"}).json()
    assert answer["usage"]["completion_tokens"] == 2
    client.post("/api/v1/params", json={"settings": {"max_tokens": 2048}}).raise_for_status()


def test_aggregates_count_what_was_generated(client: httpx.Client, echo: None) -> None:
    before = client.get("/api/v1/stats/aggregate").json()["aggregate"]["count"]
    client.post("/api/v1/completions", json={"prompt": "a b"}).raise_for_status()
    told = client.get("/api/v1/stats/aggregate").json()
    assert told["aggregate"]["count"] == before + 1
    assert "ECHO" in told["by_backend"]


def test_halt_stops_what_runs_and_says_so_if_nothing_does(client: httpx.Client, slow_echo: None) -> None:
    job = client.post("/api/v1/jobs", json={"prompt": MANY_WORDS}).json()["job_id"]
    wait_until("the first token", lambda: client.get(f"/api/v1/jobs/{job}").json()["tokens"] > 0)
    stopped = client.post("/api/v1/halt").json()
    assert stopped["stopped_jobs"] == [job]
    assert client.post("/api/v1/halt", json={}).json()["stopped_jobs"] == []


def test_a_caller_that_leaves_a_stream_stops_its_generation(
    host: HttpHost, client: httpx.Client, slow_echo: None
) -> None:
    body = {"prompt": MANY_WORDS, "stream": True}
    with host.client() as leaving, leaving.stream("POST", "/api/v1/completions", json=body) as answer:
        assert next(events(answer)).data
    wait_until("its end", lambda: _states(client) == {"cancelled"}, TIMEOUT_S)


def test_a_caller_that_does_not_wait_for_its_answer_stops_its_generation(
    host: HttpHost, client: httpx.Client, slow_echo: None
) -> None:
    with host.client(timeout=0.5) as leaving, pytest.raises(httpx.ReadTimeout):
        leaving.post("/api/v1/completions", json={"prompt": MANY_WORDS})
    wait_until("its end", lambda: "decode" not in _states(client), TIMEOUT_S)
    assert _jobs(client)[-1]["state"] == "cancelled"


def _states(client: httpx.Client) -> set[str]:
    """Of the newest job."""
    return {_jobs(client)[-1]["state"]}


def _jobs(client: httpx.Client) -> list[dict[str, str]]:
    jobs: list[dict[str, str]] = client.get("/api/v1/jobs").json()["jobs"]
    return jobs


def test_a_job_is_begun_listed_read_and_stopped(client: httpx.Client, slow_echo: None) -> None:
    begun = client.post("/api/v1/jobs", json=user(MANY_WORDS))
    assert begun.status_code == 202
    job = begun.json()["job_id"]
    assert job in {one["job_id"] for one in _jobs(client)}
    first = client.get(f"/api/v1/jobs/{job}", params={"wait_ms": 5000}).json()
    assert (first["state"], first["status"]) in (("prefill", "running"), ("decode", "running"))
    more = client.get(f"/api/v1/jobs/{job}", params={"wait_ms": 5000, "cursor": first["cursor"]}).json()
    assert MANY_WORDS.startswith(first["text"] + more["text"])
    assert client.delete(f"/api/v1/jobs/{job}").json()["stopped_jobs"] == [job]
    last = client.get(f"/api/v1/jobs/{job}").json()
    assert (last["state"], last["finish_reason"]) == ("cancelled", "cancelled")
    assert last["text"].startswith(first["text"] + more["text"])


def test_the_last_sign_of_life_can_be_read_after_the_end(client: httpx.Client, slow_echo: None) -> None:
    asked = {"prompt": " ".join("abcdefghijkl"), "thinking_update_interval": 0.1}
    job = client.post("/api/v1/jobs", json=asked).json()["job_id"]
    wait_until("the end", lambda: client.get(f"/api/v1/jobs/{job}").json()["state"] == "finished")
    told = client.get(f"/api/v1/jobs/{job}").json()
    assert told["llm_thinking"].startswith("Generating analysis... (")
    assert told["progress_percentage"] == 100


def test_a_job_of_another_caller_is_not_found(host: HttpHost, client: httpx.Client, slow_echo: None) -> None:
    with host.port() as port:
        job = port.accepted(port.ask("generate", prompt=MANY_WORDS))
        for answer in (
            client.get(f"/api/v1/jobs/{job}"),
            client.delete(f"/api/v1/jobs/{job}"),
            client.get(f"/api/v1/stream/{job}"),
        ):
            assert (answer.status_code, code_of(answer)) == (404, "job_not_found")
        port.call("stop_generation", job_id=job)


def test_too_many_that_wait_are_told_when_to_come_back() -> None:
    with HttpHost("--no-token", config="[daemon]\nqueue_limit = 0\n") as host, host.client() as client:
        client.post("/api/v1/load", json={"model": "echo", "options": SLOW}).raise_for_status()
        client.post("/api/v1/jobs", json={"prompt": MANY_WORDS}).raise_for_status()
        wait_until("its turn", lambda: _jobs(client)[0]["state"] != "queued")
        answer = client.post("/api/v1/completions", json={"prompt": "a"})
        assert (answer.status_code, code_of(answer)) == (503, "busy")
        assert answer.headers["retry-after"] == "1"


def test_figures_count_from_the_requests_arrival(client: httpx.Client) -> None:
    client.post("/api/v1/load", json={"model": "echo", "options": {"prefill_ms": 300}}).raise_for_status()
    began = time.monotonic()
    stats = client.post("/api/v1/completions", json={"prompt": "a b c"}).json()["stats"]
    took_ms = (time.monotonic() - began) * 1000
    assert 300 <= stats["time_to_first_token"] <= took_ms
    client.post("/api/v1/unload").raise_for_status()


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("chat/completions", user("a b")),
        ("completions", {"prompt": "a b", "stream": True}),
        ("tokenize", {"prompt": "a b"}),
        ("jobs", {"prompt": "a b"}),
    ],
)
def test_a_model_that_is_named_is_loaded_by_its_first_request(
    client: httpx.Client, path: str, fields: dict[str, Any]
) -> None:
    client.post("/api/v1/unload", json={"all": True})
    answer = client.post(f"/api/v1/{path}", json={**fields, "model": "echo"})
    assert answer.status_code in (200, 202), answer.text
    assert [model["model"] for model in client.get("/api/v1/models").json()["loaded"]] == ["echo"]


def test_what_is_wrong_with_a_request_is_told_before_its_model_is_loaded(client: httpx.Client) -> None:
    client.post("/api/v1/unload", json={"all": True})
    answer = client.post("/api/v1/chat/completions", json={"model": "echo", "messages": []})
    assert (answer.status_code, code_of(answer)) == (400, "invalid_request")
    assert client.get("/api/v1/models").json()["loaded"] == []


def test_without_any_model_it_is_told_what_to_do(client: httpx.Client) -> None:
    client.post("/api/v1/unload", json={"all": True})
    answer = client.post("/api/v1/chat/completions", json=user("a"))
    assert (answer.status_code, code_of(answer)) == (409, "no_active_backend")
    assert "GET /api/v1/models" in answer.json()["message"]
    assert client.get("/api/v1/params").json()["settings"]["temperature"] == 0.7
