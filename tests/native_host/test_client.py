"""The client through the real relay and daemon, and with relays that misbehave."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.host_home import HostHome

from messages.actions import ActionType
from messages.errors import ErrorCode, HostError
from messages.facts import FinishReason
from messages.job_replies import JobList
from messages.replies import Generated, Loaded, Pong
from native_host.client import HostClient, HostGone, Interrupted


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostHome]:
    with HostHome() as home:
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in home.env.items():
            monkeypatch.setenv(name, value)
        yield home


def script(tmp_path: Path, text: str) -> list[str]:
    """A relay of a few lines."""
    file = tmp_path / "relay.py"
    file.write_text(text, encoding="utf-8")
    return [sys.executable, str(file)]


def test_a_ping_starts_the_daemon_and_is_answered(home: HostHome) -> None:
    with HostClient() as client:
        pong = client.call(ActionType.PING, Pong)
    assert pong.response == "pong"
    assert pong.pid == home.daemon_pid()


def test_an_answer_streams_and_joins_to_its_result(home: HostHome) -> None:
    pieces: list[str] = []
    with HostClient() as client:
        client.call(ActionType.LOAD, Loaded, model="echo")
        answer = client.call(
            ActionType.GENERATE,
            Generated,
            prompt="one two three",
            on_message=lambda message: pieces.append(message.get("text", "")),
        )
    assert "".join(pieces) == answer.text == "one two three"
    assert answer.stats.output_tokens == 3


def test_an_error_result_is_raised_with_its_code(home: HostHome) -> None:
    with HostClient() as client, pytest.raises(HostError) as caught:
        client.call(ActionType.GENERATE, Generated, prompt="x")
    assert caught.value.code is ErrorCode.NO_ACTIVE_BACKEND


def test_an_answer_over_the_frame_limit_arrives_whole(home: HostHome) -> None:
    prompt = "ä😀 " * 100_000
    with HostClient() as client:
        client.call(ActionType.LOAD, Loaded, model="echo")
        settings = {"max_tokens": 200_000}
        answer = client.call(ActionType.GENERATE, Generated, prompt=prompt, stream=False, settings=settings)
    assert answer.text == prompt


def test_an_interrupt_leaves_a_client_that_can_stop_what_runs(home: HostHome) -> None:
    with HostClient() as client:
        options = {"tokens_per_second": 5.0}
        client.call(ActionType.LOAD, Loaded, model="echo", backend="echo", options=options)
        request = client.send(ActionType.GENERATE, prompt="word " * 200)
        threading.Timer(0.2, client.interrupt).start()
        with pytest.raises(Interrupted):
            for _ in client.messages(request, 20):
                pass
        client.send(ActionType.STOP_GENERATION)
        *_, last = client.messages(request, 20)
        assert last["finish_reason"] == FinishReason.CANCELLED
        assert client.call(ActionType.LIST_JOBS, JobList).jobs[0].state == "cancelled"


def test_a_relay_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = script(tmp_path, "import sys; print('first', file=sys.stderr); sys.exit('no such thing.')")
    with HostClient(command) as client, pytest.raises(HostGone, match=r"\(no such thing\)"):
        client.receive(20)


def test_a_relay_that_ends_silently_is_told_too_and_every_time(tmp_path: Path) -> None:
    with HostClient(script(tmp_path, "pass")) as client:
        for _ in range(2):
            with pytest.raises(HostGone, match="stopped or killed"):
                client.receive(20)


def test_a_relay_that_sends_garbage_is_told(tmp_path: Path) -> None:
    command = script(tmp_path, "import os; os.write(1, b'\\x03\\0\\0\\0abc'); os.read(0, 1)")
    with HostClient(command) as client, pytest.raises(HostGone, match="not JSON"):
        client.receive(20)


def test_silence_is_a_timeout_and_a_deaf_relay_is_killed_on_close(tmp_path: Path) -> None:
    client = HostClient(script(tmp_path, "import time; time.sleep(60)"))
    with pytest.raises(TimeoutError):
        client.receive(0.05)
    before = {child.pid for child in psutil.Process().children()}
    client.close()
    assert len(before) - len(psutil.Process().children()) == 1
