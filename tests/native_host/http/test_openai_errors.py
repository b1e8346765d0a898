"""What goes wrong under /v1 is an exception of the openai client's own; and a client that goes away stops its work."""

import json
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai as sdk
import pytest
from openai import OpenAI
from support.browsers.waiting import wait_until
from support.host_process import Port
from support.http_host import HttpHost

ASKED: list[Any] = [{"role": "user", "content": "a b c d"}]
PAGE = "http://localhost:3000"
CONFIG = f"[daemon]\nqueue_limit = 1\n\n[http]\nwrite_timeout_s = 1.0\nallowed_origins = ['{PAGE}']\n"
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost(config=CONFIG, env={"TABAGENT_TEST_FAULTS": "1"}) as made:
        yield made


@pytest.fixture(scope="module")
def openai(host: HttpHost) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{host.url}/v1", api_key=host.token, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def port(host: HttpHost) -> Iterator[Port]:
    """A native port; all that was loaded is unloaded at the end."""
    with host.port() as opened:
        yield opened
        opened.call("unload", all=True)


def is_generating(port: Port) -> bool:
    return any(model["state"] == "busy" for model in port.call("get_state")["models"])


def chat(openai: OpenAI, **fields: Any) -> Any:
    return openai.chat.completions.create(**{"model": "echo", "messages": ASKED, **fields})


def test_a_wrong_key_is_an_authentication_error(host: HttpHost) -> None:
    with OpenAI(base_url=f"{host.url}/v1", api_key="wrong", max_retries=0) as stranger:
        for ask in (stranger.models.list, lambda: chat(stranger)):
            with pytest.raises(sdk.AuthenticationError) as refused:
                ask()
            assert (refused.value.code, refused.value.type) == ("invalid_api_key", "authentication_error")


def test_a_page_of_another_site_is_a_permission_error(host: HttpHost, openai: OpenAI) -> None:
    with pytest.raises(sdk.PermissionDeniedError):
        openai.models.list(extra_headers={"Origin": "https://example.com"})


def test_a_page_that_is_let_in_may_send_the_headers_of_the_javascript_client(host: HttpHost) -> None:
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-stainless-os"}
    with host.client() as page:
        answer = page.options("/v1/chat/completions", headers={**wanted, "Origin": PAGE})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-headers"] == "Authorization, *"


def test_an_answer_does_not_wait_until_its_head_was_acknowledged(host: HttpHost) -> None:
    with host.client(host.token) as client:
        waits = [client.get("/api/v1/health").elapsed.total_seconds() for _ in range(21)]
    assert statistics.median(waits) < 0.03, "a delayed acknowledgement takes 0.04 s"


def test_a_model_that_is_not_there_is_a_not_found_error_that_names_it(openai: OpenAI) -> None:
    with pytest.raises(sdk.NotFoundError, match="no-such-model") as missing:
        chat(openai, model="no-such-model")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")


def test_without_a_model_it_is_the_one_that_was_used_last(openai: OpenAI, host: HttpHost, port: Port) -> None:
    port.call("unload", all=True)
    with host.client(host.token) as client:
        refused = client.post("/v1/chat/completions", json={"messages": ASKED})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")
        port.call("load", model="echo")
        answer = client.post("/v1/chat/completions", json={"messages": ASKED}).json()
    assert (answer["model"], answer["choices"][0]["message"]["content"]) == ("echo", "a b c d")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model": NaN}', b"[" * 100_000, b'"\xff"'])
def test_a_body_that_is_no_json_object_is_a_bad_request(host: HttpHost, body: bytes) -> None:
    with host.client(host.token) as client:
        headers = {"Content-Type": "application/json"}
        for path in ("chat/completions", "completions", "responses", "embeddings"):
            answer = client.post(f"/v1/{path}", content=body, headers=headers)
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("GET", "/v1/completions", 405)])
def test_a_wrong_path_or_method_is_told_in_openais_shape(host: HttpHost, method: str, path: str, status: int) -> None:
    with host.client(host.token) as client:
        answer = client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_does_not_fit_is_a_bad_request_also_of_a_stream(openai: OpenAI, port: Port, stream: bool) -> None:
    with pytest.raises(sdk.BadRequestError) as refused:
        chat(openai, model="demo", messages=[{"role": "user", "content": "word " * 9000}], stream=stream)
    assert refused.value.code == "context_length_exceeded"


def test_a_crash_before_the_first_token_is_a_server_error(openai: OpenAI, port: Port) -> None:
    port.call("load", model="echo", options={"fault": "kill@0"})
    with pytest.raises(sdk.InternalServerError) as failed:
        chat(openai)
    assert (failed.value.status_code, failed.value.code) == (502, "backend_crashed")


def test_a_crash_while_the_prompt_is_read_is_raised_where_the_stream_is_read(openai: OpenAI, port: Port) -> None:
    port.call("load", model="echo", options={"fault": "kill@0"})
    with pytest.raises(sdk.APIError, match="crashed"):
        list(chat(openai, stream=True))


def test_a_crash_in_the_middle_of_a_stream_is_raised_where_it_is_read(openai: OpenAI, port: Port) -> None:
    port.call("load", model="echo", options={"fault": "kill@2", "tokens_per_second": 20})
    heard: list[str] = []
    with pytest.raises(sdk.APIError, match="crashed"):
        heard.extend(chunk.choices[0].delta.content or "" for chunk in chat(openai, stream=True))
    assert "".join(heard) == "a b"


def test_a_crash_in_the_middle_of_a_response_is_its_last_event(openai: OpenAI, port: Port) -> None:
    port.call("load", model="echo", options={"fault": "kill@2", "tokens_per_second": 20})
    last = list(openai.responses.create(model="echo", input="a b c d", stream=True))[-1]
    assert last.type == "response.failed"
    assert last.response.error
    assert "crashed" in last.response.error.message


@pytest.mark.parametrize("instructions", [None, "Be brief."])
def test_what_is_wrong_with_a_response_names_the_item_that_was_sent(host: HttpHost, instructions: str | None) -> None:
    user = {"role": "user", "content": "hi"}
    thought = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    calls = [{"type": "function_call", "name": "f", "call_id": "1", "arguments": text} for text in ("{}", "{")]
    looked = {"role": "user", "content": [{"type": "input_image", "image_url": "http://x/y.png"}]}
    odd = {"role": "user", "content": "hi", "tool_calls": [{"id": "", "function": {}}, "messages[99]"]}
    cases: list[tuple[list[dict[str, Any]], str]] = [
        ([user, looked], "input[1].content[0].image_url"),
        ([user, thought, *calls], "input[3].arguments"),
        ([user, thought, calls[0], looked], "input[3].content[0].image_url"),
        ([user, {"role": "nobody", "content": "hi"}], "input[1].role"),
        ([user, odd], "input[1].tool_calls[0].id"),
    ]
    path = "/no/messages/settings.max_tokens.gguf"
    with host.client(host.token) as client:
        for items, param in cases:
            body = {"model": "echo", "input": items, "instructions": instructions}
            error = client.post("/v1/responses", json=body).json()["error"]
            assert error["param"] == param, error
            assert "messages[" not in error["message"], error
        error = client.post("/v1/responses", json={"model": path, "input": "x"}).json()["error"]
        assert path in error["message"]
        tool = {"type": "function", "name": "f"}
        choice = {"type": "function", "name": "messages"}
        error = client.post("/v1/responses", json={"input": "x", "tools": [tool], "tool_choice": choice}).json()[
            "error"
        ]
        assert "there is no tool 'messages'" in error["message"]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}, "sometimes"])
def test_a_choice_among_no_tools_is_refused(host: HttpHost, choice: object) -> None:
    with host.client(host.token) as client:
        chat = client.post("/v1/chat/completions", json={"messages": ASKED, "tool_choice": choice})
        response = client.post("/v1/responses", json={"input": "x", "tool_choice": choice})
    for answer in (chat, response):
        assert answer.status_code == 400
        assert answer.json()["error"]["param"].startswith("tool_choice"), answer.json()


def test_more_requests_than_may_wait_are_told_when_to_come_back(host: HttpHost, port: Port) -> None:
    port.call("load", model="echo", options={"prefill_ms": 60_000})
    port.ask("generate", prompt="x")
    port.ask("generate", prompt="y")
    wait_until("the first to be at work", lambda: is_generating(port))
    with host.client(host.token) as client:
        refused = client.post("/v1/chat/completions", json={"model": "echo", "messages": ASKED})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
    assert int(refused.headers["Retry-After"]) >= 1
    port.call("stop_generation")


Leave = Callable[[httpx.Client, dict[str, Any]], None]


def leave_while_waiting(client: httpx.Client, body: dict[str, Any]) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/chat/completions", json=body, timeout=httpx.Timeout(10, read=1))


def leave_a_stream(client: httpx.Client, body: dict[str, Any]) -> None:
    with client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as answer:
        assert next(answer.iter_lines()).startswith("data: ")


def leave_a_stream_before_its_first_token(client: httpx.Client, body: dict[str, Any]) -> None:
    leave_while_waiting(client, {**body, "stream": True})


@pytest.mark.parametrize(
    ("leave", "options"),
    [
        (leave_while_waiting, {"prefill_ms": 600_000}),
        (leave_while_waiting, {"tokens_per_second": 0.5}),
        (leave_a_stream, {"tokens_per_second": 0.5}),
        (leave_a_stream_before_its_first_token, {"prefill_ms": 600_000}),
    ],
)
def test_a_client_that_goes_away_stops_its_generation(
    host: HttpHost, port: Port, leave: Leave, options: dict[str, Any]
) -> None:
    port.call("load", model="echo", options=options)
    with host.client(host.token) as client:
        leave(client, {"model": "echo", "messages": [{"role": "user", "content": "w " * 1000}]})
    wait_until("the end of the generation", lambda: not is_generating(port), PATIENCE_S)
    state = port.call("get_state")["models"][0]
    assert state["performance"]["aggregate"]["cancelled"] == 1


def test_a_client_that_never_reads_its_stream_is_left_and_its_generation_stopped(host: HttpHost, port: Port) -> None:
    port.call("load", model="echo", options={"tokens_per_second": 20_000, "context_length": 100_000})
    messages = [{"role": "user", "content": ("w" * 500 + " ") * 60_000}]
    body = json.dumps({"model": "echo", "messages": messages, "stream": True, "max_tokens": 60_000}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {host.token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with host.raw(head.encode() + body):
        wait_until("the generation to begin", lambda: is_generating(port), PATIENCE_S)
        wait_until("the end of the generation", lambda: not is_generating(port), PATIENCE_S)
        state = port.call("get_state")["models"][0]
    assert state["performance"]["aggregate"]["cancelled"] == 1
    assert state["performance"]["current"]["output_tokens"] < 60_000


def test_a_client_that_goes_away_while_its_model_loads_leaves_a_host_that_works(
    host: HttpHost, openai: OpenAI, port: Port
) -> None:
    with host.client(host.token) as client, pytest.raises(httpx.ReadTimeout):
        client.post(
            "/v1/chat/completions",
            json={"model": "demo", "messages": ASKED},
            timeout=httpx.Timeout(10, read=0.02),
        )
    assert chat(openai, model="demo", max_tokens=2).choices[0].message.content


def test_a_long_prefill_is_no_dead_connection(host: HttpHost, openai: OpenAI, port: Port) -> None:
    port.call("load", model="echo", options={"prefill_ms": 700})
    asked = {"model": "echo", "messages": ASKED, "stream": True, "thinking_update_interval": 0.1}
    with host.client(host.token) as client:
        lines = client.post("/v1/chat/completions", json=asked).text.splitlines()
    assert any(line.startswith(": Reading prompt... (") for line in lines)
    heard = chat(openai, stream=True, extra_body={"thinking_update_interval": 0.1})
    assert "".join(chunk.choices[0].delta.content or "" for chunk in heard) == "a b c d"


def test_a_model_that_is_unloaded_in_the_middle_of_a_stream_ends_it_with_an_error(openai: OpenAI, port: Port) -> None:
    port.call("load", model="echo", options={"tokens_per_second": 20})
    heard = chat(openai, stream=True, messages=[{"role": "user", "content": "w " * 1000}])
    next(heard)
    port.call("unload", model="echo")
    with pytest.raises(sdk.APIError, match="unloaded"):
        list(heard)


def test_an_answer_that_was_stopped_by_the_callers_other_requests_is_what_was_said_until_then(
    openai: OpenAI, host: HttpHost, port: Port
) -> None:
    port.call("load", model="echo", options={"tokens_per_second": 20})
    heard = chat(openai, stream=True, messages=[{"role": "user", "content": "w " * 1000}])
    chunks = [next(heard)]
    with host.client(host.token) as client:
        assert client.post("/api/v1/halt", json={}).status_code == 200
    chunks += list(heard)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert 1 < len(chunks) < 1000


def test_a_file_that_is_no_model_is_named_as_such(host: HttpHost, port: Port) -> None:
    file = host.home.folder / "model.unknown"
    file.write_bytes(b"what is it?" * 100)
    with host.client(host.token) as client:
        answer = client.post("/v1/chat/completions", json={"model": str(file), "messages": ASKED})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unknown_format")
