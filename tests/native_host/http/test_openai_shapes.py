"""What the OpenAI endpoints say where no model here can make them say it: tool calls, a stop from elsewhere, errors."""

import json
from typing import Any

import pytest

from messages.errors import ErrorCode
from messages.facts import Figures, TokenLogprob
from messages.replies import Generated, Partial
from native_host.http.errors import HttpCode, HttpError, error_body
from native_host.http.openai_answers import ChatAnswer, CompletionAnswer
from native_host.http.openai_requests import ChatBody, ResponseBody
from native_host.http.openai_responses import ResponseAnswer

CALLS = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def generated(**fields: Any) -> Generated:
    stats = Figures(input_tokens=3, output_tokens=2, cached_tokens=1)
    return Generated(**{"job_id": "j", "model": "m", "text": "", "finish_reason": "stop", "stats": stats, **fields})


def data_of(events: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in events.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def test_tool_calls_are_in_the_message_and_in_a_streams_delta() -> None:
    result = generated(tool_calls=CALLS, finish_reason="tool_calls")
    choice = ChatAnswer("m").whole(result)["choices"][0]
    assert (choice["message"]["tool_calls"], choice["message"]["content"]) == (CALLS, None)
    assert choice["finish_reason"] == "tool_calls"
    partial = Partial("1", "j", 0, "", 0, tool_calls=tuple(result.tool_calls or ()), first_call=1)
    calls, end = data_of("".join([*ChatAnswer("m").partial(partial), *ChatAnswer("m").end(result)]))
    assert calls["choices"][0]["delta"] == {"tool_calls": [{"index": 1, **CALLS[0]}]}
    assert end["choices"][0]["finish_reason"] == "tool_calls"


def test_reasoning_has_a_field_of_its_own() -> None:
    result = generated(text="4", reasoning="2 + 2")
    assert ChatAnswer("m").whole(result)["choices"][0]["message"]["reasoning_content"] == "2 + 2"
    (chunk,) = data_of("".join(ChatAnswer("m").partial(Partial("1", "j", 0, "", 1, reasoning="2"))))
    assert chunk["choices"][0]["delta"] == {"reasoning_content": "2"}


def test_text_behind_a_call_is_a_message_of_its_own_and_each_token_is_told_once() -> None:
    def token(name: str) -> TokenLogprob:
        return TokenLogprob(token=name, logprob=-1.0, bytes=tuple(name.encode()), top=())

    calls = tuple(generated(tool_calls=CALLS).tool_calls or ())
    answer = ResponseAnswer("m", ResponseBody(input=[{"role": "user", "content": "x"}]))
    told = [
        *answer.partial(Partial("1", "j", 0, "a", 1, (token("a"),))),
        *answer.partial(Partial("1", "j", 1, "", 2, (token("call"),), tool_calls=calls)),
        *answer.partial(Partial("1", "j", 2, "b", 3, (token("b"),))),
        *answer.end(generated(text="ab", tool_calls=CALLS)),
    ]
    ended = [one["item"] for one in data_of("".join(told)) if one["type"] == "response.output_item.done"]
    assert ended == data_of(told[-1])[0]["response"]["output"]
    first, call, second = ended
    assert (call["type"], call["arguments"]) == ("function_call", "{}")
    names = [[one["token"] for one in item["content"][0]["logprobs"]] for item in (first, second)]
    assert names == [["a", "call"], ["b"]]


def test_a_generation_that_somebody_stopped_ends_in_a_word_that_clients_know() -> None:
    result = generated(text="a b", finish_reason="cancelled")
    assert ChatAnswer("m").whole(result)["choices"][0]["finish_reason"] == "stop"
    assert CompletionAnswer("m").whole(result)["choices"][0]["finish_reason"] == "stop"
    response = ResponseAnswer("m", ResponseBody(input=[{"role": "user", "content": "x"}])).whole(result)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", None)


def test_tools_and_sound_are_passed_on_for_the_host_to_judge() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    body = ChatBody(messages=[{"role": "user", "content": [sound]}], tools=tools, tool_choice="auto")
    wire = body.to_wire()
    assert (wire["tools"], wire["tool_choice"]) == (tools, "auto")
    assert wire["messages"][0]["content"] == [{"type": "audio", "data": "data:audio/wav;base64,AAAA"}]


@pytest.mark.parametrize(
    ("error", "kind", "code", "param"),
    [
        (HttpError(HttpCode.UNAUTHORIZED, ""), "authentication_error", "invalid_api_key", None),
        (HttpError(ErrorCode.BUSY, ""), "service_unavailable_error", "busy", None),
        (HttpError(ErrorCode.INTERNAL, ""), "server_error", "internal", None),
        (HttpError(ErrorCode.MODEL_NOT_LOADED, "", {"model": "m"}), "not_found_error", "model_not_loaded", "model"),
        (
            HttpError(ErrorCode.UNSUPPORTED_OPTION, "", {"fields": ["settings.min_p"]}),
            "invalid_request_error",
            "unsupported_parameter",
            "min_p",
        ),
        (
            HttpError(ErrorCode.INVALID_REQUEST, "", {"fields": ["messages[0].role: is required", "x: y"]}),
            "invalid_request_error",
            "invalid_request",
            "messages[0].role",
        ),
    ],
)
def test_an_error_names_its_kind_its_code_and_its_parameter(
    error: HttpError, kind: str, code: str, param: str | None
) -> None:
    told = error_body("/v1/chat/completions", error).content["error"]
    assert (told["type"], told["code"], told["param"]) == (kind, code, param)


def test_clients_are_told_not_to_repeat_what_will_fail_again() -> None:
    missing = error_body("/v1/models", HttpError(ErrorCode.ENGINE_MISSING, ""))
    assert missing.headers["x-should-retry"] == "false"
    assert "x-should-retry" not in error_body("/v1/models", HttpError(ErrorCode.BUSY, "")).headers
    assert "x-should-retry" not in error_body("/api/v1/models", HttpError(ErrorCode.ENGINE_MISSING, "")).headers


@pytest.mark.parametrize("answer", [ChatAnswer("m", True), CompletionAnswer("m")])
def test_an_event_is_one_line_for_every_client_whatever_its_text(answer: ChatAnswer | CompletionAnswer) -> None:
    text = 'a\u2028b\u2029c\x85d\n"e"\r\ud83d\ufdd0 ü🙂'
    plain = Partial("1", "j", 0, text, 1)
    assert plain.is_plain
    told = []
    for begun in (False, True):
        begin = "".join(answer.begin()) if begun else ""
        events = "".join(answer.partial(plain))
        assert len((begin + events).splitlines()) == 2 * (begin + events).count("data: ")
        (chunk,) = data_of(events)
        told.append(chunk)
    assert told[0] == told[1]
    choice = told[0]["choices"][0]
    assert (choice["delta"]["content"] if "delta" in choice else choice["text"]) == text.replace("\ud83d", "\ufffd")
