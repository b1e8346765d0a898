"""Chat completions and completions, as the openai Python client sees them from a real daemon with the demo model."""

import json
from typing import Any

import pytest
from openai import BadRequestError, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel
from support.http_host import HttpHost

QUESTION: list[Any] = [{"role": "user", "content": "What are you?"}]
GREEDY: dict[str, Any] = {"model": "demo", "messages": QUESTION, "temperature": 0}


class Answer(BaseModel):
    """What a model is made to fill in."""

    pet: bool


@pytest.fixture(scope="module")
def whole(openai: OpenAI) -> str:
    """What the demo model says to the question, greedily."""
    return str(openai.chat.completions.create(**GREEDY).choices[0].message.content)


def streamed(openai: OpenAI, **fields: Any) -> list[ChatCompletionChunk]:
    return list(openai.chat.completions.create(**{**GREEDY, **fields}, stream=True))


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_known_model_is_loaded_by_its_first_request_and_then_seen_by_extensions(
    host: HttpHost, openai: OpenAI, whole: str
) -> None:
    with host.port() as port:
        assert [model["model"] for model in port.call("get_state")["models"]] == ["demo"]
        answer = port.call("generate", messages=QUESTION, settings={"temperature": 0}, stream=False)
    assert answer["text"] == whole


def test_a_model_that_an_extension_loaded_is_used_as_it_is(host: HttpHost, openai: OpenAI) -> None:
    with host.port() as port:
        port.call("load", model="echo", options={"tokens_per_second": 1000})
        pid = port.call("get_state", model="echo")["models"][0]["pid"]
        answer = openai.chat.completions.create(model="echo", messages=[{"role": "user", "content": "a b c"}])
        assert answer.choices[0].message.content == "a b c"
        assert port.call("get_state", model="echo")["models"][0]["pid"] == pid


def test_the_answer_tells_its_tokens_and_why_it_ended(openai: OpenAI, host: HttpHost, whole: str) -> None:
    answer = openai.chat.completions.create(**GREEDY)
    with host.port() as port:
        prompt_tokens = port.call("count_tokens", model="demo", messages=QUESTION)["tokens"]
        written = port.call("count_tokens", model="demo", prompt=whole)["tokens"]
    assert (answer.object, answer.model, len(answer.choices)) == ("chat.completion", "demo", 1)
    assert (answer.choices[0].message.role, answer.choices[0].finish_reason) == ("assistant", "stop")
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt_tokens, written)
    assert answer.usage.total_tokens == prompt_tokens + written


def test_a_streams_chunks_are_the_whole_answer_under_one_id(openai: OpenAI, whole: str) -> None:
    chunks = streamed(openai)
    assert text_of(chunks) == whole
    assert len(chunks) > 3
    assert {(chunk.id, chunk.model, chunk.object) for chunk in chunks} == {
        (chunks[0].id, "demo", "chat.completion.chunk")
    }
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_last_in_a_stream_that_asks_for_it(openai: OpenAI) -> None:
    chunks = streamed(openai, stream_options={"include_usage": True})
    usage = openai.chat.completions.create(**GREEDY).usage
    assert usage
    assert (chunks[-1].choices, [chunk.usage for chunk in chunks[:-1]]) == ([], [None] * (len(chunks) - 1))
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == usage.prompt_tokens


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_answer_ends_at_its_limit_and_says_so(openai: OpenAI, whole: str, name: str) -> None:
    answer = openai.chat.completions.create(**{**GREEDY, name: 3})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage
    assert answer.usage.completion_tokens == 3
    assert whole.startswith(answer.choices[0].message.content or "-")


@pytest.mark.parametrize("stop", [" demo", ["never said", " demo"]])
def test_a_stop_string_ends_the_answer_and_is_left_out(openai: OpenAI, whole: str, stop: str | list[str]) -> None:
    until_then = whole.split(" demo", maxsplit=1)[0]
    choice = openai.chat.completions.create(**GREEDY, stop=stop).choices[0]
    assert (choice.message.content, choice.finish_reason) == (until_then, "stop")
    assert text_of(streamed(openai, stop=stop)) == until_then


def test_a_seed_makes_the_same_answer_again_and_another_seed_another(openai: OpenAI) -> None:
    prompt = "Tell me a story about the sea"

    def text_with(seed: int) -> str:
        messages: list[Any] = [{"role": "user", "content": prompt}]
        answer = openai.chat.completions.create(
            model="demo", messages=messages, temperature=2, top_p=1, seed=seed, max_tokens=40
        )
        return answer.choices[0].message.content or ""

    assert text_with(1) == text_with(1)
    assert len({text_with(seed) for seed in range(5)}) > 1


def test_a_penalty_changes_what_is_said(openai: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "demo", "prompt": "Hello", "temperature": 0, "max_tokens": 12}
    plain = openai.completions.create(**asked).choices[0].text
    assert openai.completions.create(**asked, frequency_penalty=2).choices[0].text != plain


def test_an_answer_can_be_made_to_fit_a_schema(openai: OpenAI) -> None:
    parsed = openai.chat.completions.parse(**GREEDY, response_format=Answer).choices[0].message.parsed
    assert isinstance(parsed, Answer)
    answer = openai.chat.completions.create(**GREEDY, response_format={"type": "text"}).choices[0].message.content
    assert answer == openai.chat.completions.create(**GREEDY).choices[0].message.content


def test_an_answer_can_be_made_a_json_object(openai: OpenAI) -> None:
    answer = openai.chat.completions.create(
        **{**GREEDY, "response_format": {"type": "json_object"}, "max_tokens": 200, "stop": ["}"]}
    )
    text = answer.choices[0].message.content or ""
    assert text.lstrip().startswith("{"), text


def test_a_conversation_goes_on_with_the_message_that_the_client_was_given(openai: OpenAI) -> None:
    first = openai.chat.completions.create(**GREEDY).choices[0].message
    turns: list[Any] = [*QUESTION, first, {"role": "user", "content": [{"type": "text", "text": "What are you?"}]}]
    second = openai.chat.completions.create(model="demo", messages=turns, temperature=0)
    assert second.choices[0].message.content
    assert second.usage
    assert second.usage.prompt_tokens_details
    assert second.usage.prompt_tokens_details.cached_tokens


def test_a_developers_message_is_a_systems(openai: OpenAI) -> None:
    def answer_of(role: str) -> ChatCompletion:
        messages: list[Any] = [{"role": role, "content": "Be short."}, *QUESTION]
        return openai.chat.completions.create(model="demo", messages=messages, temperature=0)

    system, developer = answer_of("system"), answer_of("developer")
    assert system.usage
    assert developer.usage
    assert system.usage.prompt_tokens == developer.usage.prompt_tokens
    assert system.choices[0].message.content == developer.choices[0].message.content


def test_parameters_that_clients_send_by_habit_change_nothing(openai: OpenAI, whole: str) -> None:
    habits: dict[str, Any] = {
        "n": 1,
        "user": "somebody",
        "store": True,
        "metadata": {"run": "7"},
        "logit_bias": {},
        "logprobs": False,
        "modalities": ["text"],
        "service_tier": "auto",
        "parallel_tool_calls": True,
        "prompt_cache_key": "key",
        "safety_identifier": "hash",
        "tools": [],
        "verbosity": "medium",
    }
    assert openai.chat.completions.create(**GREEDY, **habits).choices[0].message.content == whole


REFUSED: list[tuple[str, Any]] = [
    ("n", 2),
    ("top_logprobs", 3),
    ("logit_bias", {"50256": -100}),
    ("modalities", ["text", "audio"]),
    ("reasoning_effort", "extreme"),
    ("reasoning_effort", 3),
    ("chat_template_kwargs", {"messages": []}),
    ("chat_template_kwargs", []),
    ("verbosity", "short"),
    ("web_search_options", {}),
    ("functions", [{"name": "f"}]),
    ("prediction", {"type": "content", "content": "x"}),
    ("tools", [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]),
    ("temperature", 3),
    ("temperature", "hot"),
    ("top_p", -0.1),
    ("top_k", -2),
    ("max_tokens", 0),
    ("max_tokens", -2),
    ("max_completion_tokens", -2),
    ("cache_prompt", False),
    ("presence_penalty", 3),
    ("seed", -2),
    ("stop", [""]),
    ("nonsense", 1),
    ("messages", []),
    ("response_format", {"type": "xml"}),
    ("stream_options", {"nonsense": True}),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_what_would_change_the_answer_and_cannot_be_done_is_refused_by_name(
    openai: OpenAI, name: str, value: object
) -> None:
    with pytest.raises(BadRequestError) as refused:
        openai.chat.completions.create(model="demo", messages=QUESTION, extra_body={name: value})
    assert refused.value.type == "invalid_request_error"
    assert (refused.value.param or "").startswith(name)
    assert name in refused.value.message or name == "tools"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_an_option_of_a_stream_that_there_is_not_is_told_by_its_name_alone(host: HttpHost, path: str) -> None:
    body = {"messages": QUESTION} if "chat" in path else {"input": "Hello"}
    with host.client(host.token) as client:
        answer = client.post(path, json={**body, "stream": True, "stream_options": {"continuous_usage_stats": True}})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "stream_options.continuous_usage_stats")
    assert error["message"].endswith("stream_options.continuous_usage_stats: is not a known field.")


def test_two_limits_that_differ_are_refused(openai: OpenAI) -> None:
    with pytest.raises(BadRequestError) as refused:
        openai.chat.completions.create(**GREEDY, max_tokens=3, max_completion_tokens=4)
    assert refused.value.param == "max_tokens"


@pytest.mark.parametrize("url", ["data:image/png;base64,iVBORw0KGgo=", "https://example.com/cat.png"])
def test_a_picture_is_refused_by_a_model_that_sees_none(openai: OpenAI, url: str) -> None:
    parts: list[Any] = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    with pytest.raises(BadRequestError) as refused:
        openai.chat.completions.create(model="demo", messages=[{"role": "user", "content": parts}])
    assert (refused.value.param or "").startswith("messages")


def test_a_bare_prompt_is_gone_on_from(openai: OpenAI, host: HttpHost) -> None:
    asked: dict[str, Any] = {"model": "demo", "prompt": "Hello", "temperature": 0, "max_tokens": 8}
    answer = openai.completions.create(**asked)
    with host.port() as port:
        native = port.call("generate", prompt="Hello", settings={"temperature": 0, "max_tokens": 8}, stream=False)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (native["text"], "length")
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (native["stats"]["input_tokens"], 8)
    chunks = list(openai.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == native["text"]
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 8


@pytest.mark.parametrize(
    ("name", "value"),
    [("best_of", 2), ("echo", True), ("logprobs", 21), ("suffix", "x"), ("prompt", []), ("prompt", ["a"] * 129)],
)
def test_what_completions_cannot_do_is_refused_by_name(openai: OpenAI, name: str, value: object) -> None:
    with pytest.raises(BadRequestError) as refused:
        openai.completions.create(model="demo", prompt="x", extra_body={name: value})
    assert (refused.value.param or "").startswith(name)


def test_a_stream_ends_with_the_mark_that_clients_wait_for(host: HttpHost, openai: OpenAI) -> None:
    with host.client(host.token) as client:
        body = client.post("/v1/chat/completions", json={**GREEDY, "stream": True, "max_tokens": 4})
    assert body.headers["content-type"].startswith("text/event-stream")
    events = body.text.split("\n\n")
    assert (events[-2], events[-1]) == ("data: [DONE]", "")
    assert all(json.loads(event.removeprefix("data: ")) for event in events[:-2])
