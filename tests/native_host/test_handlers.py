"""What the handlers answer over the wire, in the shape that PROTOCOL.md gives; and bugs, which are answered too."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browsers.waiting import wait_until
from support.host_process import BrowserHost, Json, Port
from support.tiny_embedder import make_embedder

from messages.actions import ActionType
from native_host import runtime

STREAM_TYPES = {"accepted", "partial", "progress", "thinking_update", "result"}


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost() as made:
        yield made


@pytest.fixture
def port(host: BrowserHost) -> Iterator[Port]:
    with host.port() as opened:
        assert opened.call("load", model="echo")["status"] == "success"
        yield opened


SMALLEST: dict[ActionType, Json] = {
    ActionType.LOAD: {"model": "echo"},
    ActionType.GENERATE: {"prompt": "a b"},
    ActionType.UPDATE_SETTINGS: {"settings": {"temperature": 0.5}},
    ActionType.COUNT_TOKENS: {"prompt": "a b"},
    ActionType.EMBED: {"input": "a b"},
    ActionType.ATTACH: {"job_id": ""},
    ActionType.READ_JOB: {"job_id": ""},
}

FIELDS: dict[ActionType, set[str]] = {
    ActionType.PING: {"response", "version", "protocol", "pid", "features", "http_url"},
    ActionType.LOAD: {"model", "message"},
    ActionType.UNLOAD: {"unloaded", "message"},
    ActionType.GENERATE: {"job_id", "model", "text", "finish_reason", "tool_calls", "reasoning", "logprobs", "stats"},
    ActionType.STOP_GENERATION: {"message", "stopped_jobs", "stopped_backends"},
    ActionType.UPDATE_SETTINGS: {"message", "updated_backends", "settings"},
    ActionType.GET_STATS: {
        *("time_to_first_token", "tokens_per_second", "input_tokens", "output_tokens", "total_time", "cached_tokens"),
        *("reasoning_tokens", "finish_reason", "pictures", "model", "aggregate", "by_backend"),
    },
    ActionType.GET_STATE: {"models", "active"},
    ActionType.LIST_MODELS: {"models"},
    ActionType.LIST_BACKENDS: {"backends"},
    ActionType.GET_SYSTEM_INFO: {
        *("os", "os_version", "python_version", "host_version", "cpu", "memory", "accelerators", "disk", "problems"),
    },
    ActionType.COUNT_TOKENS: {"tokens", "context_length"},
    ActionType.EMBED: {"embeddings", "dimensions", "input_tokens", "truncated"},
    ActionType.LIST_JOBS: {"jobs"},
    ActionType.ATTACH: {"job_id", "model", "text", "finish_reason", "tool_calls", "reasoning", "logprobs", "stats"},
    ActionType.READ_JOB: {
        *("job_id", "text", "cursor", "state", "tokens", "model", "finish_reason", "tool_calls", "reasoning"),
        "logprobs",
        *("stats", "error", "message"),
    },
}


@pytest.mark.parametrize("action", [action for action in ActionType if action is not ActionType.OPEN_HTTP])
def test_each_action_answers_with_its_fields_and_exactly_one_result(
    port: Port, action: ActionType, tmp_path: Path
) -> None:
    fields = dict(SMALLEST.get(action, {}))
    if action is ActionType.EMBED:
        fields["model"] = port.call("load", model=str(make_embedder(tmp_path)))["model"]["model"]
    if "job_id" in fields:
        fields["job_id"] = port.call("generate", prompt="a b", stream=False)["job_id"]
    request = port.ask(action, **fields)
    result = port.result(request)
    assert (result["status"], result["action"]) == ("success", str(action)), result
    assert set(result) - {"id", "type", "action", "status"} == FIELDS[action]
    port.call("ping")
    assert [answer["type"] for answer in port.of(request)].count("result") == 1
    assert {answer["type"] for answer in port.of(request)} <= STREAM_TYPES


def test_an_extension_cannot_open_the_http_api(port: Port) -> None:
    refused = port.result(port.ask("open_http"))
    assert refused["error"]["code"] == "origin_forbidden"
    assert "tabagent-host serve --http" in refused["message"]
    assert port.call("ping")["http_url"] is None


def test_a_ping_tells_which_host_this_is(host: BrowserHost, port: Port) -> None:
    pong = port.call("ping")
    assert (pong["response"], pong["version"], pong["protocol"]) == ("pong", runtime.VERSION, runtime.PROTOCOL)
    assert pong["pid"] == host.daemon_pid != os.getpid()


def test_the_machine_is_told(port: Port) -> None:
    told = port.call("get_system_info")
    assert told["memory"]["total_bytes"] >= told["memory"]["available_bytes"] > 0
    assert told["cpu"]["threads"] == os.cpu_count()
    assert told["disk"]["free_bytes"] > 0


def test_the_backends_are_told_with_what_they_read(port: Port) -> None:
    told = {backend["backend"]: backend for backend in port.call("list_backends")["backends"]}
    assert told["llamacpp"]["formats"] == ["GGUF"]
    assert told["echo"]["formats"] == []
    assert told["echo"]["installed"] is True


def test_a_bug_in_a_handler_is_one_error_without_a_traceback_and_the_port_goes_on() -> None:
    with BrowserHost() as host:
        daemon = host.home.folder / "buggy.py"
        daemon.write_text(
            "async def broken(*_):\n    raise KeyError('a secret of the code')\n"
            "import native_host.handlers as handlers\n"
            "from messages.actions import ActionType\n"
            "handlers.HANDLERS[ActionType.LIST_JOBS] = broken\n"
            "from native_host.daemon import main\nmain()\n"
        )
        with Daemon(host, str(daemon)), host.port() as port:
            answer = port.call("list_jobs")
            assert answer["error"]["code"] == "internal"
            assert "KeyError" in answer["message"]
            assert "secret" not in answer["message"]
            assert port.call("ping")["response"] == "pong"
            assert "a secret of the code" in host.log


class Daemon:
    """A daemon that a script starts, there before any relay looks for one."""

    def __init__(self, host: BrowserHost, script: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, script], env={**host.env, "PYTHONPATH": runtime.source_root()}, cwd="/"
        )
        self._socket = host.home.runtime_dir / runtime.DAEMON_FACTS

    def __enter__(self) -> "Daemon":
        wait_until("a daemon", self._socket.exists)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)


def test_a_stop_of_the_daemon_ends_a_stream_with_its_result() -> None:
    with BrowserHost() as host, host.port() as port:
        port.call("load", model="echo", options={"tokens_per_second": 50})
        request = port.ask("generate", prompt="w " * 1000)
        port.wait_count(lambda message: message["type"] == "partial", 3)
        host.stop_daemon()
        assert port.wait_end(10) == 0
        (result,) = port.of(request, "result")
        assert result["message"] == "The host was stopped before this was answered; ask again."
        assert port.wait(lambda message: message["type"] == "event")["event"] == "daemon_stopping"
