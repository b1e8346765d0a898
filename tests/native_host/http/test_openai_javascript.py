"""The openai JavaScript client, on Node.js, gets from a real daemon what the Python client gets."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from support.browsers.waiting import wait_until
from support.http_host import HttpHost
from support.npm import npm_folder
from support.scripted_gguf import CHATML_TOOLS, write_scripted
from support.tiny_embedder import make_embedder

VERSION = "6.49.0"
SCRIPT = Path(__file__).with_name("openai_client.mjs")
TIMEOUT_S = 120
CALLING = '<think>Hm.</think><tool_call>{"name": "add", "arguments": {"a": 41}}</tool_call>'


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost() as made:
        make_embedder(made.home.data_dir / "models" / "embedder")
        write_scripted(made.home.data_dir / "models" / "caller.gguf", CALLING, "{# </think> #}" + CHATML_TOOLS)
        yield made


@pytest.fixture(scope="module")
def heard(host: HttpHost) -> dict[str, Any]:
    """All that the client heard, in one run of it."""
    node = shutil.which("node")
    assert node, "Node.js is not installed; scripts/setup does it (Debian and Ubuntu: apt install nodejs npm)"
    with host.port() as port:
        port.call("load", model="echo", options={"tokens_per_second": 5})
    script = Path(shutil.copy(SCRIPT, npm_folder("openai", VERSION)))
    command = [node, str(script), f"{host.url}/v1", host.token]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=script.parent)
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


@pytest.fixture(scope="module")
def whole(host: HttpHost) -> str:
    """What the Python client is answered."""
    with OpenAI(base_url=f"{host.url}/v1", api_key=host.token, max_retries=0, timeout=60) as client:
        asked = client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "What are you?"}], temperature=0
        )
    text = asked.choices[0].message.content
    assert text
    return text


def test_chat_completions_are_the_same_whole_and_streamed(heard: dict[str, Any], whole: str) -> None:
    assert heard["whole"]["choices"][0]["message"]["content"] == whole
    *chunks, last = heard["chunks"]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == whole
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert last["usage"]["completion_tokens"] == heard["whole"]["usage"]["completion_tokens"]


def test_a_bare_prompt_is_gone_on_from(heard: dict[str, Any]) -> None:
    assert heard["completion"]["choices"][0]["text"]
    assert heard["completion"]["usage"]["completion_tokens"] == 4


def test_responses_are_the_same_whole_and_streamed(heard: dict[str, Any], whole: str) -> None:
    assert heard["response"]["output_text"] == whole
    deltas = [event["delta"] for event in heard["events"] if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == whole
    assert heard["events"][-1]["type"] == "response.completed"


def test_calls_come_whole_and_the_clients_own_runner_answers_them(heard: dict[str, Any]) -> None:
    message = heard["called"]["choices"][0]["message"]
    (call,) = message["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("add", {"a": 41})
    assert (message["reasoning_content"], heard["called"]["choices"][0]["finish_reason"]) == ("Hm.", "tool_calls")
    asked, answered, result, *_ = heard["turns"]
    assert [asked["role"], answered["role"], result["role"]] == ["user", "assistant", "tool"]
    assert (result["tool_call_id"], result["content"]) == (answered["tool_calls"][0]["id"], "42")


def test_a_responses_stream_adds_up_to_its_items(heard: dict[str, Any]) -> None:
    assert [item["type"] for item in heard["items"]] == ["reasoning", "function_call"]
    assert json.loads(heard["items"][1]["arguments"]) == {"a": 41}


def test_embeddings_are_the_same_in_both_encodings(heard: dict[str, Any]) -> None:
    assert len(heard["vector"]) == 32
    assert heard["vector"] == pytest.approx(heard["plain"], abs=1e-6)


def test_models_are_listed(heard: dict[str, Any]) -> None:
    assert {"demo", "embedder", "echo"} <= set(heard["models"])


def test_errors_are_the_clients_own_classes(heard: dict[str, Any]) -> None:
    errors = heard["errors"]
    assert (errors["key"]["name"], errors["key"]["status"]) == ("AuthenticationError", 401)
    assert (errors["missing"]["name"], errors["missing"]["code"]) == ("NotFoundError", "model_not_found")
    assert (errors["refused"]["name"], errors["refused"]["param"]) == ("BadRequestError", "n")


def test_a_stream_that_is_left_stops_its_generation(host: HttpHost, heard: dict[str, Any]) -> None:
    with host.port() as port:
        wait_until(
            "the end of the generation", lambda: port.call("get_state", model="echo")["models"][0]["state"] == "ready"
        )
        performance = port.call("get_state", model="echo")["models"][0]["performance"]
    assert performance["aggregate"]["cancelled"] == 1
