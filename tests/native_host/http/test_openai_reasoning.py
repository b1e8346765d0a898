"""How much a model thinks, as the openai Python client asks for it, from a real engine whose template has a switch."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI
from support.browsers.waiting import wait_until
from support.http_host import HttpHost
from support.scripted_gguf import SWITCHED, write_scripted

REFUSING = "{% if reasoning_effort == 'high' %}{{ raise_exception('There is no high.') }}{% endif %}"
GRADED = "{% if reasoning_effort is defined %}<|im_start|>system\nThink: {{ reasoning_effort }}<|im_end|>\n{% endif %}"
"""A template that refuses one effort, as Qwen3.8's does, and writes the others into the prompt, as gpt-oss' does."""

QUESTION: Any = [{"role": "user", "content": "What is 2 and 40?"}]
OFF: list[dict[str, Any]] = [
    {"reasoning_effort": "none"},
    {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
    {"reasoning_effort": "low", "extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
]


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost("--no-token") as made:
        folder = made.home.data_dir / "models"
        folder.mkdir(parents=True, exist_ok=True)
        write_scripted(folder / "switched.gguf", "It is 42.", REFUSING + GRADED + SWITCHED)
        yield made


@pytest.fixture(scope="module")
def client(host: HttpHost) -> Iterator[httpx.Client]:
    with host.client() as made:
        yield made


def chat(openai: OpenAI, **fields: Any) -> Any:
    return openai.chat.completions.create(
        **{"model": "switched.gguf", "messages": QUESTION, "temperature": 0, **fields}
    )


def respond(openai: OpenAI, **fields: Any) -> Any:
    return openai.responses.create(**{"model": "switched.gguf", "input": QUESTION, "temperature": 0, **fields})


def told(answer: Any) -> tuple[str | None, str | None]:
    message = answer.choices[0].message
    return message.content, getattr(message, "reasoning_content", None)


@pytest.mark.parametrize("fields", OFF)
def test_a_chat_answers_at_once_where_thinking_is_switched_off(openai: OpenAI, fields: dict[str, Any]) -> None:
    assert told(chat(openai, **fields)) == ("It is 42.", None)
    deltas = [chunk.choices[0].delta for chunk in chat(openai, **fields, stream=True)]
    assert "".join(delta.content or "" for delta in deltas) == "It is 42."
    assert told(chat(openai))[1] == "It is 42."


def test_a_response_answers_at_once_where_thinking_is_switched_off(openai: OpenAI) -> None:
    off = respond(openai, reasoning={"effort": "none"})
    assert ([item.type for item in off.output], off.output_text) == (["message"], "It is 42.")
    given = {"chat_template_kwargs": {"enable_thinking": False}}
    assert respond(openai, extra_body=given).output_text == "It is 42."
    thought = respond(openai, reasoning={"effort": "low"})
    assert (thought.output[0].type, thought.output_text) == ("reasoning", "")


def test_an_effort_reaches_the_template_by_its_own_word(openai: OpenAI) -> None:
    def read(**fields: Any) -> int:
        return int(chat(openai, **fields).usage.prompt_tokens)

    assert read(reasoning_effort="minimal") - read(reasoning_effort="low") == len("minimal") - len("low")
    assert read(reasoning_effort="max") == read(extra_body={"chat_template_kwargs": {"reasoning_effort": "max"}})
    low = respond(openai, reasoning={"effort": "low"}).usage.input_tokens
    assert low == read(reasoning_effort="low") > read()


@pytest.mark.parametrize("own", [{}, {"thinking": True, "enable_thinking": True, "reasoning_effort": "low"}])
def test_as_many_variables_as_a_request_may_have_are_taken_beside_an_effort(
    openai: OpenAI, own: dict[str, Any]
) -> None:
    given = {**{f"name_{number}": number for number in range(64)}, **own}
    counted = chat(openai, reasoning_effort="low", extra_body={"chat_template_kwargs": given}).usage.prompt_tokens
    assert counted == chat(openai, reasoning_effort="low").usage.prompt_tokens
    respond(openai, reasoning={"effort": "low"}, extra_body={"chat_template_kwargs": given})
    with pytest.raises(BadRequestError, match=r"chat_template_kwargs: must have at most 64 item\(s\)"):
        chat(openai, reasoning_effort="low", extra_body={"chat_template_kwargs": {**given, "one_more": 1}})


def test_an_effort_that_the_template_refuses_is_named_as_it_was_sent(openai: OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(BadRequestError, match="reasoning_effort: There is no high") as refused:
            chat(openai, reasoning_effort="high", stream=stream)
        assert refused.value.param == "reasoning_effort"
    with pytest.raises(BadRequestError, match=r"reasoning\.effort: There is no high") as refused:
        respond(openai, reasoning={"effort": "high"})
    assert refused.value.param == "reasoning.effort"
    with pytest.raises(BadRequestError, match="chat_template_kwargs: There is no high") as refused:
        chat(openai, extra_body={"chat_template_kwargs": {"reasoning_effort": "high"}})
    assert refused.value.param == "chat_template_kwargs"


def test_variables_are_taken_wherever_messages_are(client: httpx.Client) -> None:
    asked = {"model": "switched.gguf", "messages": QUESTION, "temperature": 0}
    off = {**asked, "chat_template_kwargs": {"enable_thinking": False}}
    message = client.post("/api/v1/chat/completions", json=off).json()["choices"][0]["message"]
    assert message["content"] == "It is 42."
    job = client.post("/api/v1/jobs", json=off).json()["job_id"]
    wait_until("the end", lambda: client.get(f"/api/v1/jobs/{job}").json()["state"] == "finished")
    assert client.get(f"/api/v1/jobs/{job}").json()["text"] == "It is 42."
    for body in (asked, off):
        del body["temperature"]
    plain, switched = (client.post("/api/v1/tokenize", json=body).json()["tokens"] for body in (asked, off))
    assert switched > plain
