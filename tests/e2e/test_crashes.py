"""The daemon, the relay or a model's worker dies in mid-stream, and the extension goes on."""

from __future__ import annotations

import os
import signal

import pytest
from support.browsers.echo import Json, load_echo, one_shot, saying, words
from support.browsers.lab import ChromiumLab
from support.browsers.page import Page
from support.browsers.sandbox import kill
from support.browsers.waiting import wait_until

PACED = 100.0


def begin_stream(page: Page, text: str) -> int:
    """Start a paced stream over a client, wait for its first text, and return the client's number."""
    client: int = page.call("connect")
    page.call("begin", client, saying(text))
    page.wait_for(f"window.harness.progress({client}).partials >= 3")
    return client


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_worker_that_dies_is_one_error_and_the_port_lives(chromium_page: Page, number: signal.Signals) -> None:
    worker = load_echo(chromium_page, tokens_per_second=PACED)["pid"]
    port = chromium_page.call("open")
    chromium_page.call("post", port, {"id": "g", "action": "generate", **saying(words(1000))})
    assert chromium_page.call("next", port)["type"] == "accepted"
    assert chromium_page.call("next", port)["type"] == "partial"
    os.kill(worker, number)
    last = frames_to_result(chromium_page, port)
    assert last["error"]["code"] == "backend_crashed"
    assert last["error"]["details"]["signal"] in (number.name, int(number))
    again = chromium_page.call("exchange", port, {"id": "again", "action": "generate", **saying("hello again")})
    assert again[-1]["text"] == "hello again"
    assert [frame for frame in again if frame.get("id") == "g"] == []


def frames_to_result(page: Page, port: int) -> Json:
    """Read on to the next ``result``, and return it."""
    while True:
        frame: Json = page.call("next", port)
        assert "disconnected" not in frame, frame
        assert "timeout" not in frame, frame
        if frame["type"] == "result":
            return frame


def test_a_killed_daemon_ends_the_port_and_the_next_connection_starts_another(
    chromium: ChromiumLab, chromium_page: Page
) -> None:
    worker = load_echo(chromium_page, tokens_per_second=PACED)["pid"]
    port = chromium_page.call("open")
    chromium_page.call("post", port, {"id": "g", "action": "generate", **saying(words(1000))})
    assert chromium_page.call("next", port)["type"] == "accepted"
    first = chromium.daemon_pid()
    kill(first)
    wait_until("port ended", lambda: "disconnected" in chromium_page.call("next", port))
    wait_until("worker gone", lambda: worker not in [process.pid for process in chromium.sandbox.processes()])
    assert one_shot(chromium_page, "ping")["pid"] != first
    load_echo(chromium_page)
    assert one_shot(chromium_page, "generate", stream=False, **saying("back again"))["text"] == "back again"


def test_the_client_says_that_an_answer_was_lost_with_its_daemon(chromium: ChromiumLab, chromium_page: Page) -> None:
    load_echo(chromium_page, tokens_per_second=PACED)
    client = begin_stream(chromium_page, words(1000))
    kill(chromium.daemon_pid())
    end = chromium_page.call("finished", client)
    assert end["error"]["code"] == "job_not_found"
    assert end["error"]["message"].endswith("Ask again.")
    assert chromium_page.call("request", client, "ping")["result"]["response"] == "pong"


def test_the_client_resumes_a_stream_whose_relay_was_killed(chromium: ChromiumLab, chromium_page: Page) -> None:
    load_echo(chromium_page, tokens_per_second=PACED)
    text = words(200)
    client = begin_stream(chromium_page, text)
    relays = chromium.relays()
    assert relays
    for pid in relays:
        kill(pid)
    end = chromium_page.call("finished", client)
    assert end["text"] == end["result"]["text"] == text
    assert end["seqs"] == sorted(set(end["seqs"]))
    assert "reconnecting" in chromium_page.call("statuses", client)
