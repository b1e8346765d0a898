"""The responses endpoint, as the openai Python client sees it from a real daemon with the demo model."""

from collections.abc import Iterator
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel
from support.http_host import HttpHost

ASKED: dict[str, Any] = {"model": "demo", "input": "What are you?", "temperature": 0}
BEGIN = ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
END = ["response.output_text.done", "response.content_part.done", "response.output_item.done"]


class Answer(BaseModel):
    """What a model is made to fill in."""

    pet: bool


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost("--no-token") as made:
        yield made


@pytest.fixture(scope="module")
def whole(openai: OpenAI) -> str:
    """What the demo model says to the question, greedily."""
    return str(openai.responses.create(**ASKED).output_text)


def events_of(openai: OpenAI, **fields: Any) -> list[ResponseStreamEvent]:
    return list(openai.responses.create(**{**ASKED, **fields}, stream=True))


def test_a_response_is_one_message_of_text_with_its_tokens(openai: OpenAI) -> None:
    response = openai.responses.create(**ASKED, metadata={"run": "7"})
    assert (response.object, response.status, response.model) == ("response", "completed", "demo")
    assert (response.error, response.incomplete_details, response.metadata) == (None, None, {"run": "7"})
    assert [item.type for item in response.output] == ["message"]
    chat = openai.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": "What are you?"}], temperature=0
    )
    assert response.output_text == chat.choices[0].message.content
    assert chat.usage
    assert response.usage
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (
        chat.usage.prompt_tokens,
        chat.usage.completion_tokens,
        chat.usage.total_tokens,
    )


def test_a_streams_events_build_the_response_up_in_order(openai: OpenAI, whole: str) -> None:
    events = events_of(openai)
    kinds = [event.type for event in events]
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert kinds == [*BEGIN, *["response.output_text.delta"] * len(pieces), *END, "response.completed"]
    assert "".join(pieces) == whole
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert (last.response.output_text, last.response.status) == (whole, "completed")
    assert last.response.usage


def test_the_clients_own_accumulation_of_a_stream_is_the_response(openai: OpenAI, whole: str) -> None:
    with openai.responses.stream(**ASKED) as stream:
        assert stream.get_final_response().output_text == whole


def test_the_answer_ends_at_its_limit_and_says_so(openai: OpenAI, whole: str) -> None:
    response = openai.responses.create(**ASKED, max_output_tokens=3)
    assert response.status == "incomplete"
    assert response.incomplete_details
    assert response.incomplete_details.reason == "max_output_tokens"
    assert whole.startswith(response.output_text)
    assert events_of(openai, max_output_tokens=3)[-1].type == "response.incomplete"


def test_instructions_and_messages_are_a_conversation(openai: OpenAI) -> None:
    response = openai.responses.create(**ASKED, instructions="Be short.")
    chat = openai.chat.completions.create(
        model="demo",
        messages=[{"role": "system", "content": "Be short."}, {"role": "user", "content": "What are you?"}],
        temperature=0,
    )
    assert response.output_text == chat.choices[0].message.content
    turns: list[Any] = [{"role": "user", "content": [{"type": "input_text", "text": "What are you?"}]}]
    first = openai.responses.create(model="demo", input=turns, temperature=0)
    turns += [item.model_dump() for item in first.output]
    turns.append({"role": "user", "content": "What are you?"})
    second = openai.responses.create(model="demo", input=turns, temperature=0)
    assert first.usage
    assert second.usage
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens


def test_an_answer_can_be_made_to_fit_a_schema(openai: OpenAI) -> None:
    assert isinstance(openai.responses.parse(**ASKED, text_format=Answer).output_parsed, Answer)


REASONING: list[dict[str, Any]] = [
    {},
    {"effort": None, "summary": None},
    {"effort": "none"},
    {"effort": "high", "summary": "auto", "context": "auto", "mode": "standard"},
]


@pytest.mark.parametrize("reasoning", REASONING)
def test_an_effort_of_reasoning_is_taken_by_a_model_that_does_not_think(
    openai: OpenAI, host: HttpHost, reasoning: Any
) -> None:
    with host.port() as port:
        port.call("load", model="echo")
    assert openai.responses.create(model="echo", input="a b", reasoning=reasoning).output_text == "a b"


REFUSED: list[tuple[str, Any]] = [
    ("previous_response_id", "resp_1"),
    ("conversation", "conv_1"),
    ("tools", [{"type": "web_search"}]),
    ("tools", [{"type": "function", "name": "a b"}]),
    ("tools", [{"type": "function", "name": "f"}]),
    ("background", True),
    ("include", ["file_search_call.results"]),
    ("include", [1]),
    ("truncation", "always"),
    ("reasoning", "high"),
    ("reasoning.effort", "extreme"),
    ("reasoning.effort", []),
    ("reasoning.summary", "long"),
    ("reasoning.mode", "pro"),
    ("reasoning.nonsense", 1),
    ("chat_template_kwargs", {"messages": []}),
    ("prompt", {"id": "p"}),
    ("top_logprobs", 21),
    ("max_output_tokens", 0),
    ("top_p", 1.1),
    ("temperature", 3),
    ("text", {"format": {"type": "xml"}}),
    ("text", {"verbosity": "short"}),
    ("text", {"format": "json"}),
    ("input", []),
    ("input", [{"type": "item_reference", "id": "x"}]),
    ("input", [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]),
    ("input", [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]}]),
    ("nonsense", 1),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_what_is_not_supported_is_refused_by_name(openai: OpenAI, name: str, value: object) -> None:
    outer, _, inner = name.partition(".")
    with pytest.raises(BadRequestError) as refused:
        openai.responses.create(model="demo", input="x", extra_body={outer: {inner: value} if inner else value})
    assert (refused.value.param or "").startswith(name)


def test_a_response_is_not_kept(openai: OpenAI) -> None:
    response = openai.responses.create(**ASKED)
    assert response.model_dump()["store"] is False
    with pytest.raises(NotFoundError):
        openai.responses.retrieve(response.id)
