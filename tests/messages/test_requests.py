"""Requests: each action is read, each wrong field is named in the wire's own spelling, ids are echoed."""

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messages.actions import ActionType
from messages.errors import ErrorCode, HostError
from messages.requests import AnyRequest, Generate, Load, Request, action_of, parse, request_id

MESSAGES = [{"role": "user", "content": "hi"}]
PICTURE = "data:image/png;base64,AAAA"
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
NO_DATA_URL = "must be a data URL (data:image/png;base64,...); no address is fetched and no file is read"

SMALLEST: dict[str, dict[str, Any]] = {
    "ping": {},
    "load": {"model": "m"},
    "unload": {},
    "generate": {"prompt": "x"},
    "stop_generation": {},
    "update_settings": {"settings": {}},
    "get_stats": {},
    "get_state": {},
    "list_models": {},
    "list_backends": {},
    "get_system_info": {},
    "count_tokens": {"prompt": "x"},
    "embed": {"input": "x"},
    "list_jobs": {},
    "attach": {"job_id": "j1"},
    "read_job": {"job_id": "j1"},
    "open_http": {},
}

FULL: dict[str, dict[str, Any]] = {
    "ping": {},
    "load": {
        "model": "m.gguf",
        "backend": "llamacpp",
        "options": {"context_length": 4096, "gpu_layers": -1, "threads": 2, "device": "cpu", "keep_alive_s": 0},
    },
    "unload": {"all": True},
    "generate": {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": "image", "data": PICTURE}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PICTURE, "detail": "original"}}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PICTURE, "detail": None}}]},
            {"role": "user", "content": [{"type": "audio", "data": "data:audio/wav;base64,AAAA"}]},
            {"role": "assistant", "content": None, "reasoning": "hm", "tool_calls": [CALL]},
            {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **CALL}]},
            {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "5"},
        ],
        "settings": {"temperature": 0, "max_tokens": 1, "stop": ["\n"]},
        "stream": False,
        "response_format": {"type": "json_schema", "json_schema": {"type": "object"}},
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "chat_template_kwargs": {"enable_thinking": False, "_effort": {"of": ["high", 3, None]}, "date_string": "now"},
        "background": True,
        "thinking_update_interval": 3,
    },
    "stop_generation": {"job_id": "j1"},
    "update_settings": {"model": "m", "settings": {"top_k": 0}},
    "get_stats": {"model": "m", "scope": "aggregate"},
    "get_state": {"model": "m"},
    "list_models": {},
    "list_backends": {},
    "get_system_info": {},
    "count_tokens": {"model": "m", "messages": MESSAGES, "chat_template_kwargs": {"enable_thinking": False}},
    "embed": {"model": "m", "input": ["x", ""], "normalize": False},
    "list_jobs": {},
    "attach": {"job_id": "j1", "cursor": 3},
    "read_job": {"job_id": "j1", "cursor": 3, "wait_ms": 30_000},
    "open_http": {"port": 8000, "token": False},
}

WRONG: list[tuple[str, dict[str, Any], list[str]]] = [
    ("ping", {"x": 1}, ["x: is not a known field"]),
    ("ping", {"[key]": 1}, ["[key]: is not a known field"]),
    ("load", {}, ["model: is required"]),
    ("load", {"model": ""}, ["model: must have at least 1 character(s)"]),
    ("load", {"model": 7}, ["model: must be a string"]),
    ("load", {"model": None}, ["model: is required"]),
    ("load", {"model_path": None}, ["model: is required"]),
    ("load", {"model_path": 7}, ["model_path: must be a string"]),
    ("load", {"model": None, "model_path": ""}, ["model_path: must have at least 1 character(s)"]),
    ("load", {"backend": 1, "x": 1}, ["model: is required", "backend: must be a string", "x: is not a known field"]),
    ("unload", {"model_path": []}, ["model_path: must be a string"]),
    ("load", {"model": "m", "backend": None}, ["backend: must be a string"]),
    ("load", {"model": "m", "options": []}, ["options: must be an object"]),
    ("load", {"model": "m", "options": {"context_length": 7}}, ["options.context_length: must be >= 8"]),
    ("load", {"model": "m", "options": {"context_length": "8"}}, ["options.context_length: must be an integer"]),
    ("load", {"model": "m", "options": {"threads": 0}}, ["options.threads: must be >= 1"]),
    (
        "load",
        {"model": "m", "options": {"keep_alive_s": float("inf")}},
        ["options.keep_alive_s: must be a finite number"],
    ),
    ("load", {"model": "m", "options": {"n_ctx": 1}}, ["options.n_ctx: is not a known field"]),
    (
        "load",
        {"model": "m", "model_path": "n"},
        ["model_path: model and model_path are two spellings of one field; give one of them"],
    ),
    ("unload", {"all": 1}, ["all: must be true or false"]),
    ("unload", {"all": True, "model": "m"}, ["all: give model or all, not both"]),
    ("generate", {}, ["messages: exactly one of messages and prompt is required"]),
    ("generate", {"prompt": "x", "messages": MESSAGES}, ["messages: exactly one of messages and prompt is required"]),
    (
        "generate",
        {"settings": {"temperature": 3}},
        ["settings.temperature: must be <= 2", "messages: exactly one of messages and prompt is required"],
    ),
    ("count_tokens", {"x": 1}, ["x: is not a known field", "messages: exactly one of messages and prompt is required"]),
    ("embed", {"input": 1}, ["input: must be a string or an array"]),
    ("generate", {"messages": []}, ["messages: must have at least 1 item(s)"]),
    ("generate", {"messages": {}}, ["messages: must be an array"]),
    ("generate", {"messages": ["hi"]}, ["messages[0]: must be an object"]),
    ("generate", {"messages": [{"role": "user"}]}, ["messages[0].content: is required"]),
    ("generate", {"messages": [{"content": "x"}]}, ["messages[0].role: is required"]),
    (
        "generate",
        {"messages": [{"role": "robot", "content": "x"}]},
        ["messages[0].role: must be 'system', 'user', 'assistant' or 'tool'"],
    ),
    (
        "generate",
        {"messages": [{"role": "user", "content": 1}]},
        ["messages[0].content: must be a string or an array"],
    ),
    (
        "generate",
        {"messages": [{"role": "user", "content": None}]},
        ["messages[0].content: must be a string or an array"],
    ),
    (
        "generate",
        {"messages": [{"role": "user", "content": []}]},
        ["messages[0].content: must have at least 1 item(s)"],
    ),
    (
        "generate",
        {"messages": [{"role": "user", "content": "x", "text": "x"}]},
        ["messages[0].text: is not a known field"],
    ),
    (
        "generate",
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        ["messages[0].content[0].text: is required"],
    ),
    (
        "generate",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "image": "y"}]}]},
        ["messages[0].content[0].image: is not a known field"],
    ),
    (
        "generate",
        {"messages": [{"role": "user", "content": [{"type": "image", "data": "http://example.org/a.png"}]}]},
        [f"messages[0].content[0].data: {NO_DATA_URL}"],
    ),
    (
        "generate",
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}
            ]
        },
        [f"messages[0].content[0].image_url.url: {NO_DATA_URL}"],
    ),
    ("load", {"model": "m", "options": {"lora": "/a\0b"}}, ["options.lora: must have no NUL character"]),
    ("generate", {"prompt": "x", "stream": "yes"}, ["stream: must be true or false"]),
    ("generate", {"prompt": "x", "settings": {"temperature": 2.1}}, ["settings.temperature: must be <= 2"]),
    ("generate", {"prompt": "x", "settings": {"max_tokens": 0}}, ["settings.max_tokens: must be >= 1"]),
    ("generate", {"prompt": "x", "settings": {"stop": "a"}}, ["settings.stop: must be an array"]),
    (
        "generate",
        {"prompt": "x", "settings": {"stop": ["a", ""]}},
        ["settings.stop[1]: must have at least 1 character(s)"],
    ),
    ("generate", {"prompt": "x", "settings": {"temp": 1}}, ["settings.temp: is not a known field"]),
    ("generate", {"prompt": "x", "thinking_update_interval": -1}, ["thinking_update_interval: must be >= 0"]),
    ("generate", {"prompt": "x", "response_format": {}}, ["response_format: needs a field type"]),
    (
        "generate",
        {"prompt": "x", "response_format": {"type": "xml"}},
        ["response_format: type must be one of 'text', 'json_object', 'json_schema', 'grammar', 'regex'"],
    ),
    (
        "generate",
        {"prompt": "x", "response_format": {"type": "json_schema"}},
        ["response_format.json_schema: is required"],
    ),
    ("generate", {"prompt": "x", "tools": [1]}, ["tools[0]: must be an object"]),
    (
        "generate",
        {"prompt": 1, "stream": 1, "x": 1},
        ["prompt: must be a string", "stream: must be true or false", "x: is not a known field"],
    ),
    ("stop_generation", {"job_id": 1}, ["job_id: must be a string"]),
    ("stop_generation", {"job_id": "j", "model": "m"}, ["job_id: give job_id or model, not both"]),
    ("update_settings", {}, ["settings: is required"]),
    ("get_stats", {"scope": "all"}, ["scope: must be 'last' or 'aggregate'"]),
    ("attach", {}, ["job_id: is required"]),
    ("attach", {"job_id": "j", "cursor": -1}, ["cursor: must be >= 0"]),
    ("attach", {"job_id": "j", "cursor": 1.5}, ["cursor: must be an integer"]),
    ("attach", {"job_id": "j", "cursor": True}, ["cursor: must be an integer"]),
    ("read_job", {"job_id": "j", "wait_ms": 30_001}, ["wait_ms: must be <= 30000"]),
    ("open_http", {"port": 70_000}, ["port: must be <= 65535"]),
    ("generate", {"prompt": "x", "top_logprobs": 1}, ["top_logprobs: wants logprobs to be true"]),
    ("generate", {"prompt": "x", "logprobs": True, "top_logprobs": 21}, ["top_logprobs: must be <= 20"]),
]


def outcome(message: dict[str, Any]) -> HostError | None:
    try:
        parse(message)
    except HostError as error:
        return error
    return None


def refusal(message: dict[str, Any]) -> HostError:
    with pytest.raises(HostError) as caught:
        parse(message)
    return caught.value


def test_the_tables_of_cases_and_the_union_have_every_action() -> None:
    union = {str(get_args(kind.model_fields["action"].annotation)[0]) for kind in get_args(AnyRequest)}
    assert set(SMALLEST) == set(FULL) == union == {str(action) for action in ActionType}


@pytest.mark.parametrize("action", SMALLEST)
@pytest.mark.parametrize("fields", [SMALLEST, FULL], ids=["smallest", "full"])
def test_each_action_is_read(action: str, fields: dict[str, dict[str, Any]]) -> None:
    request = parse({"id": "r1", "action": action, **fields[action]})
    assert isinstance(request, Request)
    assert (request.id, request.action) == ("r1", action)


@pytest.mark.parametrize("action", SMALLEST)
def test_a_request_without_an_id_is_read(action: str) -> None:
    assert parse({"action": action, **SMALLEST[action]}).id is None


@pytest.mark.parametrize("action", SMALLEST)
def test_each_action_refuses_a_field_that_it_does_not_know(action: str) -> None:
    error = refusal({"action": action, **SMALLEST[action], "surplus": 1})
    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.details["fields"] == ["surplus: is not a known field"]


@pytest.mark.parametrize(("action", "fields", "named"), WRONG)
def test_each_wrong_field_is_named(action: str, fields: dict[str, Any], named: list[str]) -> None:
    error = refusal({"id": 1, "action": action, **fields})
    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.details["fields"] == named
    assert named[0] in error.message


def test_many_wrong_fields_are_named_up_to_a_bound() -> None:
    wrong = {f"x{number}": 1 for number in range(1000)}
    error = refusal({"action": "ping", **wrong})
    assert error.details["fields"] == [f"x{number}: is not a known field" for number in range(20)]
    fields = refusal({"id": 1.5, "action": "generate", **wrong}).details["fields"]
    assert isinstance(fields, list)
    assert len(fields) == 20


def test_the_name_of_a_wrong_field_is_repeated_only_in_part() -> None:
    error = refusal({"action": "ping", "x" * 1_000_000: 1})
    assert len(error.message) < 1000


def test_null_is_no_second_spelling_of_a_model() -> None:
    for named in ({"model": None, "model_path": "/m.gguf"}, {"model": "/m.gguf", "model_path": None}):
        assert getattr(parse({"action": "load", **named}), "model", None) == "/m.gguf"


def test_model_path_is_another_spelling_of_model() -> None:
    request = parse({"action": "load", "model_path": "/m.gguf"})
    assert isinstance(request, Load)
    assert request.model == "/m.gguf"
    both = parse({"action": "load", "model_path": "/m.gguf", "model": "/m.gguf"})
    assert isinstance(both, Load)
    assert both.model == "/m.gguf"


def test_zero_is_a_value_and_null_is_not_set() -> None:
    request = parse({"action": "generate", "prompt": "", "settings": {"temperature": 0, "top_k": 0, "seed": None}})
    assert isinstance(request, Generate)
    assert (request.settings.temperature, request.settings.top_k, request.settings.seed) == (0, 0, None)
    assert request.prompt_input.prompt == ""


def test_a_whole_number_will_do_where_a_number_is_asked_for() -> None:
    request = parse({"action": "generate", "prompt": "x", "settings": {"temperature": 1, "top_p": 1}})
    assert isinstance(request, Generate)
    assert (request.settings.temperature, request.settings.top_p) == (1.0, 1.0)


def test_a_schema_nested_beyond_reason_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(300):
        schema = {"properties": {"a": schema}}
    error = refusal(
        {"action": "generate", "prompt": "x", "response_format": {"type": "json_schema", "json_schema": schema}}
    )
    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.details["fields"] == ["response_format.json_schema: must not be nested deeper than 100 levels"]


@pytest.mark.parametrize("number", [float("inf"), 10**400], ids=["1e400", "400 digits"])
def test_a_number_beyond_those_of_a_double_is_no_null_in_a_schema(number: float) -> None:
    schema = {"type": "json_schema", "json_schema": {"properties": {"a": {"maximum": number}}}}
    error = refusal({"action": "generate", "prompt": "x", "response_format": schema})
    fields = ["response_format.json_schema: must have no number beyond those of a double"]
    assert (error.code, error.details["fields"]) == (ErrorCode.INVALID_REQUEST, fields)


@pytest.mark.parametrize("action", ["", "Ping", "ping ", "shutdown", "__class__", "x" * 5000])
def test_an_unknown_action_is_answered_with_those_there_are(action: str) -> None:
    error = refusal({"id": 1, "action": action})
    assert error.code is ErrorCode.UNKNOWN_ACTION
    assert error.details["known_actions"] == [str(name) for name in ActionType]
    assert len(error.message) < 300


@pytest.mark.parametrize("action", [None, 1, True, [], {}, ["ping"]])
def test_an_action_that_is_no_string_is_named(action: object) -> None:
    error = refusal({"action": action})
    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.details["fields"] == ["action: must be a string"]


def test_a_missing_action_is_named() -> None:
    assert refusal({"id": 1}).details["fields"] == ["action: is required"]


@pytest.mark.parametrize("identity", ["", "r1", "x" * 1024, 0, -1, 2**53, -(2**53)])
def test_an_id_is_echoed_as_it_came(identity: str | int) -> None:
    assert request_id({"id": identity}) == identity
    assert parse({"id": identity, "action": "ping"}).id == identity


@pytest.mark.parametrize("identity", [1.5, True, [], {}, ["r1"], "x" * 1025, 2**53 + 1])
def test_an_id_of_another_kind_is_refused_and_answered_with_null(identity: object) -> None:
    message = {"id": identity, "action": "ping"}
    assert request_id(message) is None
    fields = refusal(message).details["fields"]
    assert fields == ["id: must be a string of at most 1024 characters, or an integer within +-2**53"]


def test_a_wrong_id_is_named_beside_the_other_wrong_fields() -> None:
    fields = refusal({"id": 1.5, "action": "attach", "cursor": -1}).details["fields"]
    identity = "id: must be a string of at most 1024 characters, or an integer within +-2**53"
    assert fields == [identity, "job_id: is required", "cursor: must be >= 0"]


def test_the_action_is_echoed_as_it_was_sent_or_left_out() -> None:
    assert action_of({"action": "shutdown"}) == "shutdown"
    assert action_of({"action": 5}) is None
    assert action_of({}) is None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
FIELD_NAMES = st.sampled_from(
    ["id", "model", "model_path", "prompt", "messages", "settings", "options", "job_id", "cursor", "response_format"]
)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([str(name) for name in ActionType]),
    st.dictionaries(FIELD_NAMES | st.text(max_size=5), JSON_VALUES, max_size=4),
)
def test_any_object_is_a_request_or_a_refusal_that_names_fields(action: str, fields: dict[str, Any]) -> None:
    error = outcome({**fields, "action": action})
    if error is not None:
        assert error.code is ErrorCode.INVALID_REQUEST
        assert isinstance(error.details["fields"], list)
        assert error.details["fields"]
