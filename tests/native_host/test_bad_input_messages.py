"""Bad messages, sent as a browser could send them: each has its error code, and the port goes on or closes."""

import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from support.browsers.waiting import wait_until
from support.host_process import BrowserHost, Json, Port, frame_of, raw_frame

LIMIT = 65_536
PICTURE = {"type": "image", "data": "data:image/png;base64,AA"}
NO_DATA_URL = "must be a data URL (data:image/png;base64,...); no address is fetched and no file is read"
SOUND = {"type": "audio", "data": "data:audio/wav;base64,AA"}
SMALLEST: dict[str, Json] = {
    "generate": {"prompt": "x"},
    "count_tokens": {"prompt": "x"},
    "update_settings": {"settings": {}},
}


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost(f"[daemon]\nmax_frame_bytes = {LIMIT}\n") as made:
        yield made


@pytest.fixture
def port(host: BrowserHost) -> Iterator[Port]:
    with host.port() as opened:
        yield opened


@pytest.fixture(scope="module")
def echo(host: BrowserHost) -> str:
    with host.port() as opened:
        assert opened.call("load", model="echo")["status"] == "success"
    return "echo"


def is_result(message: Json) -> bool:
    return bool(message["type"] == "result")


def code_of(answer: Json) -> str:
    assert answer["status"] == "error"
    assert answer["message"].endswith(".")
    assert "Traceback" not in answer["message"]
    code: str = answer["error"]["code"]
    return code


BAD_FRAMES: dict[str, bytes] = {
    "a length of zero": raw_frame(b""),
    "half an object": raw_frame(b'{"id": 1'),
    "NaN": raw_frame(b'{"id": 1, "action": "ping", "x": NaN}'),
    "a byte-order mark": raw_frame(b"\xef\xbb\xbf" + b'{"action": "ping"}'),
    "bad UTF-8": raw_frame(b'{"action": "\xff"}'),
    "UTF-16": raw_frame('{"action": "ping"}'.encode("utf-16")),
    "an array": frame_of([{"action": "ping"}]),
    "a string": frame_of("ping"),
    "null": frame_of(None),
    "too deep": raw_frame(b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
    "too deep with half an emoji": raw_frame(b'{"s":"\\ud83d","a":' + b"[" * 900 + b"]" * 900 + b"}"),
    "a number of 10,000 digits": raw_frame(b'{"id":' + b"9" * 10_000 + b"}"),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_a_frame_that_is_no_object_is_invalid_json_and_the_port_stays_open(port: Port, case: str) -> None:
    port.send_bytes(BAD_FRAMES[case])
    answer = port.wait(is_result)
    assert code_of(answer) == "invalid_json"
    assert (answer["id"], answer["action"]) == (None, None)
    assert port.call("ping")["response"] == "pong"


def test_a_frame_over_the_limit_is_answered_and_the_port_closes(port: Port) -> None:
    port.send_bytes(struct.pack("=I", LIMIT + 1))
    answer = port.wait(is_result)
    assert code_of(answer) == "frame_too_large"
    assert answer["id"] is None
    assert port.wait_end(5) == 0


def test_a_length_of_four_gigabytes_is_refused_before_a_byte_of_it_came(port: Port) -> None:
    port.send_bytes(b"\xff\xff\xff\xff")
    assert code_of(port.wait(is_result)) == "frame_too_large"
    assert port.wait_end(5) == 0


def test_a_frame_of_exactly_the_limit_is_read(port: Port) -> None:
    body = b'{"id":1,"action":"ping"}'
    port.send_bytes(raw_frame(body + b" " * (LIMIT - len(body))))
    assert port.result(1)["response"] == "pong"


def test_a_frame_that_the_end_cuts_off_is_logged_and_the_port_closes(host: BrowserHost) -> None:
    with host.port() as port:
        port.call("ping")
        port.send_bytes(raw_frame(b'{"id": 1, "action": "ping"}')[:-1])
        port.close_stdin()
        assert port.wait_end(5) == 0
    wait_until("a line in the log", lambda: "closed in the middle of a message" in host.log)


def test_the_answers_to_good_messages_before_and_behind_a_bad_one_arrive(port: Port) -> None:
    port.send_bytes(frame_of({"id": 1, "action": "ping"}) + raw_frame(b"{") + frame_of({"id": 2, "action": "ping"}))
    assert port.result(1)["status"] == port.result(2)["status"] == "success"
    assert code_of(port.result(None)) == "invalid_json"


def test_a_message_that_comes_in_single_bytes_is_read(port: Port) -> None:
    for byte in frame_of({"id": 1, "action": "ping"}):
        port.send_bytes(bytes([byte]))
    assert port.result(1)["response"] == "pong"


@pytest.mark.parametrize("identity", ["r1", "", "🙂", 0, -5, 2**53, None])
def test_an_id_is_echoed_in_results_and_errors(port: Port, identity: object) -> None:
    port.send({"id": identity, "action": "ping"})
    port.send({"id": identity, "action": "ping", "x": 1})
    results = [arrival.message for arrival in port.wait_count(is_result, 2)]
    assert [result["id"] for result in results] == [identity, identity]
    assert {result["status"] for result in results} == {"success", "error"}


def test_a_request_without_an_id_is_answered_with_null(port: Port) -> None:
    port.send({"action": "ping"})
    assert port.wait(is_result)["id"] is None


@pytest.mark.parametrize("identity", [1.5, True, [1], {"a": 1}, 2**60, "x" * 1025])
def test_an_id_that_cannot_be_echoed_is_refused(port: Port, identity: object) -> None:
    port.send({"id": identity, "action": "ping"})
    answer = port.wait(is_result)
    assert (answer["id"], code_of(answer)) == (None, "invalid_request")
    assert answer["error"]["details"]["fields"][0].startswith("id: must be")


@pytest.mark.parametrize("action", ["pull_model", "cancel_pull", "delete_model", "shutdown", ""])
def test_an_unknown_action_is_named_with_those_there_are(port: Port, action: str) -> None:
    answer = port.call(action)
    assert code_of(answer) == "unknown_action"
    assert "generate" in answer["error"]["details"]["known_actions"]
    assert answer["action"] == action


BAD_REQUESTS: list[tuple[Json, str]] = [
    ({}, "action: is required"),
    ({"action": 5}, "action: must be a string"),
    ({"action": "ping", "verbose": True}, "verbose: is not a known field"),
    ({"action": "load"}, "model: is required"),
    ({"action": "load", "model": ""}, "model: must have at least 1 character(s)"),
    (
        {"action": "load", "model": "echo", "backend": "gpt"},
        "backend: must be one of auto, llamacpp, onnx, mlx_vlm, echo",
    ),
    ({"action": "load", "model": "echo", "options": {"n_ctx": 5}}, "options.n_ctx: is not a known field"),
    ({"action": "load", "model": "echo", "options": {"context_length": 1}}, "options.context_length: must be >= 8"),
    ({"action": "load", "model": "echo", "options": {"lora": ""}}, "options.lora: must have at least 1 character(s)"),
    (
        {"action": "load", "model": "echo", "options": {"projector_path": "/a\0b"}},
        "options.projector_path: must have no NUL character",
    ),
    (
        {"action": "load", "model": "echo", "options": {"tokens_per_second": 1e-300}},
        "options.tokens_per_second: must be >= 0.0001",
    ),
    ({"action": "generate"}, "messages: exactly one of messages and prompt is required"),
    ({"action": "generate", "messages": []}, "messages: must have at least 1 item(s)"),
    ({"action": "generate", "prompt": "x", "settings": {"temperature": 2.5}}, "settings.temperature: must be <= 2"),
    ({"action": "generate", "prompt": "x", "settings": {"temperature": -0.1}}, "settings.temperature: must be >= 0"),
    ({"action": "generate", "prompt": "x", "settings": {"max_tokens": 0}}, "settings.max_tokens: must be >= 1"),
    (
        {"action": "generate", "prompt": "x", "settings": {"max_tokens": 2**40}},
        "settings.max_tokens: must be <= 2147483647",
    ),
    ({"action": "generate", "prompt": "x", "settings": {"seed": 2**40}}, "settings.seed: must be <= 4294967295"),
    ({"action": "generate", "prompt": "x", "settings": {"top_p": 0}}, "settings.top_p: must be > 0"),
    ({"action": "generate", "prompt": "x", "settings": {"top_k": "40"}}, "settings.top_k: must be an integer"),
    (
        {"action": "generate", "prompt": "x", "settings": {"stop": [""]}},
        "settings.stop[0]: must have at least 1 character(s)",
    ),
    ({"action": "generate", "prompt": "x", "stream": "no"}, "stream: must be true or false"),
    (
        {"action": "generate", "messages": [{"role": "user", "content": [{"type": "image", "data": "/etc/passwd"}]}]},
        f"messages[0].content[0].data: {NO_DATA_URL}",
    ),
    ({"action": "update_settings"}, "settings: is required"),
    ({"action": "update_settings", "settings": {"seed": -1}}, "settings.seed: must be >= 0"),
    ({"action": "get_stats", "scope": "everything"}, "scope: must be 'last' or 'aggregate'"),
    ({"action": "embed"}, "input: is required"),
    ({"action": "embed", "input": []}, "input: must have at least 1 item(s)"),
    ({"action": "embed", "input": ["a", 5]}, "input[1]: must be a string"),
    ({"action": "embed", "input": ["a"] * 2049}, "input: must have at most 2048 item(s)"),
    ({"action": "attach"}, "job_id: is required"),
    ({"action": "read_job", "job_id": "j1", "wait_ms": 30_001}, "wait_ms: must be <= 30000"),
    ({"action": "stop_generation", "job_id": "j1", "model": "echo"}, "job_id: give job_id or model, not both"),
]


@pytest.mark.parametrize(("request_fields", "named"), BAD_REQUESTS, ids=[named for _, named in BAD_REQUESTS])
def test_a_wrong_field_is_named(port: Port, request_fields: Json, named: str) -> None:
    port.send({"id": "r", **request_fields})
    answer = port.result("r")
    assert code_of(answer) == "invalid_request"
    assert answer["error"]["details"]["fields"] == [named]


ASKED = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"messages": ASKED, "tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [SOUND]}]}, "messages"),
    ],
)
def test_what_a_model_cannot_do_is_refused_and_never_ignored(
    port: Port, echo: str, fields: dict[str, Any], option: str
) -> None:
    fields = fields if "messages" in fields else {"prompt": "x", **fields}
    answer = port.call("generate", model=echo, **fields)
    assert code_of(answer) == "unsupported_option"
    assert answer["error"]["details"]["fields"] == [option]


def test_an_option_of_another_backend_is_refused(port: Port) -> None:
    answer = port.call("load", model="other", backend="echo", options={"gpu_layers": 1})
    assert code_of(answer) == "unsupported_option"
    assert answer["error"]["details"]["fields"] == ["options.gpu_layers"]
    assert port.call("get_state", model="other")["error"]["code"] == "model_not_loaded"


def test_a_fault_is_refused_unless_the_environment_allows_faults(port: Port) -> None:
    answer = port.call("load", model="faulty", backend="echo", options={"fault": "segfault@load"})
    assert code_of(answer) == "unsupported_option"
    assert answer["error"]["details"]["fields"] == ["options.fault"]


@pytest.mark.parametrize("action", ["generate", "count_tokens", "update_settings", "unload"])
def test_a_request_for_a_model_when_none_is_loaded_has_a_code_of_its_own(action: str) -> None:
    with BrowserHost() as host:
        answer = host.one_shot({"id": 1, "action": action, **SMALLEST.get(action, {})})
    assert code_of(answer) == "no_active_backend"


@pytest.mark.parametrize("action", ["generate", "count_tokens", "update_settings", "unload", "get_state", "get_stats"])
def test_a_request_for_a_model_that_is_not_loaded_names_it(port: Port, action: str) -> None:
    answer = port.call(action, model="nothing", **SMALLEST.get(action, {}))
    assert code_of(answer) == "model_not_loaded"
    assert answer["error"]["details"]["model"] == "nothing"


def test_temperature_zero_is_a_value_like_any_other(port: Port, echo: str) -> None:
    answer = port.call("generate", model=echo, prompt="a b", settings={"temperature": 0})
    assert (answer["status"], answer["text"]) == ("success", "a b")
    settings = port.call("update_settings", model=echo, settings={"temperature": 0})["settings"]
    assert settings["temperature"] == 0


def test_an_empty_prompt_is_answered(port: Port, echo: str) -> None:
    answer = port.call("generate", model=echo, prompt="")
    assert (answer["status"], answer["text"], answer["stats"]["output_tokens"]) == ("success", "", 0)


def test_ten_thousand_messages_are_read() -> None:
    messages = [{"role": "user", "content": f"message {number}"} for number in range(10_000)]
    with BrowserHost() as host, host.port() as port:
        port.call("load", model="echo")
        answer = port.call("generate", messages=messages, stream=False)
        assert (answer["text"], answer["stats"]["input_tokens"]) == ("message 9999", 20_000)


def test_a_prompt_longer_than_the_context_is_refused_with_both_lengths(port: Port) -> None:
    port.call("load", model="short", backend="echo", options={"context_length": 8})
    answer = port.call("generate", model="short", prompt="word " * 8)
    assert code_of(answer) == "context_overflow"
    assert answer["error"]["details"] == {"prompt_tokens": 9, "context_length": 8, "most_prompt_tokens": 7}
    assert port.call("generate", model="short", prompt="fits")["text"] == "fits"


def test_half_an_emoji_is_answered_in_json_that_browsers_take(port: Port, echo: str) -> None:
    port.send_bytes(raw_frame(b'{"id":"e","action":"generate","model":"echo","prompt":"a \\ud83d b"}'))
    assert port.result("e")["text"] == "a \ufffd b"


def test_names_that_are_no_words_are_answered(port: Port) -> None:
    for name in ("\x00", "../../../etc/passwd", "\ud800", "~nobody-of-that-name/x", "x" * 4096, "~", "a\nb"):
        port.send_bytes(raw_frame(json.dumps({"id": 1, "action": "load", "model": name}).encode()))
    answers = [arrival.message for arrival in port.wait_count(is_result, 7)]
    assert {code_of(answer) for answer in answers} <= {"model_not_found", "model_invalid", "unknown_format"}


def test_a_thousand_requests_at_once_are_all_answered(port: Port) -> None:
    port.send_bytes(b"".join(frame_of({"id": number, "action": "ping"}) for number in range(1000)))
    answers = port.wait_count(is_result, 1000, 30)
    assert [answer.message["id"] for answer in answers] == list(range(1000))


def test_an_origin_that_the_configuration_leaves_out_is_forbidden() -> None:
    allowed = "chrome-extension://" + "c" * 32
    with BrowserHost(f'[origins]\nallowed = ["{allowed}"]\n') as host:
        answer = host.one_shot({"id": 1, "action": "ping"})
        assert code_of(answer) == "origin_forbidden"
        assert host.one_shot({"id": 1, "action": "ping"}, origin=allowed + "/")["status"] == "success"
