"""A model whose tokenizer never ends at some text, through the real relay: an error in time, the rest is answered."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.host_process import BrowserHost, Json, Port
from support.tiny_embedder import make_embedder
from support.tiny_genai import make_tiny

LIMIT_S = 3
CONFIG = f"[worker]\nstop_timeout_s = 0.5\ncount_timeout_s = {LIMIT_S}\n"
GOOD, BAD = "aaaa", "a" * 60 + "!"


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost(CONFIG) as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose tokenizer cuts by an expression that takes twice the time for each letter more."""
    made = make_tiny(tmp_path_factory.mktemp("genai") / "hangs")
    file = made / "tokenizer.json"
    description = json.loads(file.read_text())
    cut = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    steps = [step for step in (cut, description.get("pre_tokenizer")) if step is not None]
    file.write_text(json.dumps({**description, "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}))
    return made


@pytest.fixture
def port(host: BrowserHost, folder: Path) -> Iterator[Port]:
    with host.port() as opened:
        assert opened.call("load", model=str(folder))["status"] == "success"
        yield opened
        opened.call("unload", all=True)


def worker(port: Port) -> int:
    pid: int = port.call("get_state")["models"][0]["pid"]
    return pid


def test_a_count_that_never_ends_is_an_error_in_time_and_the_model_goes_on(port: Port) -> None:
    before, started = worker(port), time.monotonic()
    hung = port.call("count_tokens", prompt=BAD)
    assert LIMIT_S - 0.5 < time.monotonic() - started < LIMIT_S + 3
    assert hung["error"]["code"] == "timeout"
    assert f"did not count this prompt's tokens within {LIMIT_S} s" in hung["message"]
    assert port.call("count_tokens", prompt=GOOD)["tokens"] > 0
    assert worker(port) != before


def generation(port: Port) -> str:
    return port.ask("generate", prompt=GOOD, settings={"max_tokens": 2})


def test_what_else_was_asked_of_the_model_is_answered_by_the_next_worker(port: Port) -> None:
    hung = [port.ask("count_tokens", prompt=BAD) for _ in range(2)]
    others = [generation(port), port.ask("count_tokens", prompt=GOOD), generation(port)]
    for request in others:
        answer = port.result(request, 10 * LIMIT_S)
        assert answer["status"] == "success", answer
        assert answer.get("tokens") or answer["stats"]["output_tokens"] == 2
    assert [port.result(request)["error"]["code"] for request in hung] == ["timeout", "timeout"]
    assert port.call("get_state")["models"][0]["state"] == "ready"


def test_a_generation_behind_a_count_stops_at_once_and_the_count_goes_on(port: Port) -> None:
    before = worker(port)
    hung = port.ask("count_tokens", prompt=BAD)
    behind = generation(port)
    port.accepted(behind)
    started = time.monotonic()
    assert len(port.call("stop_generation")["stopped_jobs"]) == 1
    assert time.monotonic() - started < 0.4
    assert port.result(behind)["finish_reason"] == "cancelled"
    assert worker(port) == before
    assert port.result(hung)["error"]["code"] == "timeout"
    assert port.result(generation(port))["finish_reason"] == "length"


def test_a_count_whose_client_has_left_holds_the_model_up_no_longer(
    host: BrowserHost, port: Port, folder: Path
) -> None:
    with host.port() as lost:
        lost.ask("count_tokens", model=str(folder), prompt=BAD)
        lost.call("ping")
    assert port.call("count_tokens", prompt=GOOD)["tokens"] > 0
    events = [one.message for one in port.arrivals if one.message["type"] == "event"]
    assert [one["event"] for one in events] == ["model_crashed"]
    assert "so it was killed and is started again" in events[0]["message"]
    assert events[0]["restarted"] is True


def test_a_model_that_hangs_can_be_unloaded(port: Port) -> None:
    hung: Json = {"id": port.ask("count_tokens", prompt=BAD)}
    assert len(port.call("unload", all=True)["unloaded"]) == 1
    assert port.result(hung["id"])["error"]["code"] == "cancelled"


@pytest.mark.parametrize("action", ["count_tokens", "embed"])
def test_embeddings_behind_what_hangs_are_made_by_the_next_worker(
    host: BrowserHost, tmp_path: Path, action: str
) -> None:
    """The engine hangs in the first request, whose client has left: an embed may take as long as somebody waits."""
    fields: dict[str, Json] = {"count_tokens": {"prompt": "a cat"}, "embed": {"input": ["a cat"]}}
    make_embedder(tmp_path / "model")
    with host.port() as port:
        assert port.call("load", model=str(tmp_path / "model"))["status"] == "success"
        os.kill(worker(port), signal.SIGSTOP)
        with host.port() as lost:
            lost.ask(action, **fields[action])
            lost.call("ping")
        answer = port.call("embed", input=["a dog"])
        assert len(answer["embeddings"]) == 1, answer
        port.call("unload", all=True)
