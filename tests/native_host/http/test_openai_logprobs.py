"""Log-probabilities as the openai Python client, a native port and /api/v1 see them, from a real daemon."""

from collections.abc import Iterator
from typing import Any

import pytest
from openai import BadRequestError, OpenAI
from support.http_host import HttpHost

QUESTION: list[Any] = [{"role": "user", "content": "What are you?"}]
GREEDY: dict[str, Any] = {"model": "demo", "messages": QUESTION, "temperature": 0}
INCLUDED: Any = ["message.output_text.logprobs"]


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost("--no-token") as made:
        yield made


@pytest.fixture(scope="module")
def native(host: HttpHost, openai: OpenAI) -> dict[str, Any]:
    """What an extension is told of the same answer."""
    with host.port() as port:
        port.call("load", model="demo")
        settings = {"temperature": 0}
        result: dict[str, Any] = port.call(
            "generate", messages=QUESTION, settings=settings, logprobs=True, top_logprobs=2, stream=False
        )
    return result


def test_an_extension_gets_each_output_token(native: dict[str, Any]) -> None:
    told = native["logprobs"]
    assert len(told) == native["stats"]["output_tokens"]
    assert bytes(byte for one in told for byte in one["bytes"]).decode() == native["text"]
    assert all(one["logprob"] == one["top"][0]["logprob"] <= 0 and len(one["top"]) == 2 for one in told)


def test_partials_carry_the_tokens_that_they_count(host: HttpHost, native: dict[str, Any]) -> None:
    with host.port() as port:
        request = port.ask("generate", messages=QUESTION, settings={"temperature": 0}, logprobs=True, top_logprobs=2)
        port.result(request)
        partials = port.of(request, "partial")
    assert [one for partial in partials for one in partial["logprobs"]] == native["logprobs"]
    told = 0
    for partial in partials:
        told += len(partial["logprobs"])
        assert told == partial["tokens"]


def test_without_being_asked_for_they_are_not_there(host: HttpHost, openai: OpenAI, native: dict[str, Any]) -> None:
    with host.port() as port:
        request = port.ask("generate", messages=QUESTION, settings={"temperature": 0})
        assert port.result(request)["logprobs"] is None
        assert not any("logprobs" in partial for partial in port.of(request, "partial"))
    assert openai.chat.completions.create(**GREEDY).choices[0].logprobs is None


def test_a_chat_completion_has_them_whole_and_streamed(openai: OpenAI, native: dict[str, Any]) -> None:
    whole = openai.chat.completions.create(**GREEDY, logprobs=True, top_logprobs=2).choices[0].logprobs
    assert whole
    assert whole.content
    expected = [(one["token"], one["bytes"], one["logprob"]) for one in native["logprobs"]]
    assert [(one.token, one.bytes, one.logprob) for one in whole.content] == expected
    assert [len(one.top_logprobs) for one in whole.content] == [2] * len(expected)
    chunks = openai.chat.completions.create(**GREEDY, logprobs=True, top_logprobs=2, stream=True)
    parts = [chunk.choices[0].logprobs for chunk in chunks]
    assert [one for part in parts if part for one in part.content or ()] == whole.content


def test_text_that_a_stop_string_held_back_does_not_shift_them(openai: OpenAI, native: dict[str, Any]) -> None:
    text = str(native["text"])
    stop = text[5:8]
    choice = openai.chat.completions.create(**GREEDY, logprobs=True, stop=[stop, text[1:4] + "\0"]).choices[0]
    assert choice.message.content == text[: text.index(stop)]
    assert choice.logprobs
    tokens = [one.token for one in choice.logprobs.content or ()]
    assert tokens == [one["token"] for one in native["logprobs"]][: len(tokens)]
    assert stop in "".join(tokens)


def test_a_completion_tells_where_in_the_text_each_token_begins(openai: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "demo", "prompt": "Hello", "temperature": 0, "max_tokens": 8, "logprobs": 3}
    choice = openai.completions.create(**asked).choices[0]
    told = choice.logprobs
    assert told
    assert told.tokens
    assert told.text_offset
    assert told.token_logprobs
    assert told.top_logprobs
    assert "".join(told.tokens) == choice.text
    assert all(choice.text[at:].startswith(one) for at, one in zip(told.text_offset, told.tokens, strict=True))
    assert all(
        len(top) == 3 and top[one] == value == max(top.values())
        for one, value, top in zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True)
    )
    parts = [chunk.choices[0].logprobs for chunk in openai.completions.create(**asked, stream=True)]
    assert [at for part in parts if part for at in part.text_offset or ()] == told.text_offset


def test_a_response_includes_them_when_asked_to(openai: OpenAI, native: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"model": "demo", "input": "What are you?", "temperature": 0, "include": INCLUDED}
    response = openai.responses.create(**asked, top_logprobs=2)
    part = response.output[0].content[0]
    told = [(one.token, one.logprob) for one in part.logprobs]
    assert told == [(one["token"], one["logprob"]) for one in native["logprobs"]]
    events = list(openai.responses.create(**asked, stream=True))
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert [(one.token, one.logprob) for delta in deltas for one in delta.logprobs] == told


def test_the_plain_api_takes_and_gives_them_too(host: HttpHost, native: dict[str, Any]) -> None:
    asked = {**GREEDY, "logprobs": True, "top_logprobs": 2}
    with host.client() as client:
        answer = client.post("/api/v1/chat/completions", json=asked).json()
        job = client.post("/api/v1/jobs", json=asked).json()["job_id"]
        read = client.get(f"/api/v1/jobs/{job}", params={"wait_ms": 20_000}).json()
        while read["state"] not in ("finished", "failed"):
            read = client.get(f"/api/v1/jobs/{job}", params={"wait_ms": 20_000, "cursor": read["cursor"]}).json()
        stream = client.get(f"/api/v1/stream/{job}").text
    content = answer["choices"][0]["logprobs"]["content"]
    assert [one["logprob"] for one in content] == [one["logprob"] for one in native["logprobs"]]
    assert read["logprobs"] == native["logprobs"]
    assert stream.count('"logprob"') == 3 * len(native["logprobs"])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": "yes"}, "logprobs"),
    ],
)
def test_what_cannot_be_told_is_refused_by_name(openai: OpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        openai.chat.completions.create(**GREEDY, extra_body=fields)
    assert refused.value.param == param


def test_a_backend_without_them_refuses_them(host: HttpHost, openai: OpenAI) -> None:
    with host.port() as port:
        port.call("load", model="echo")
    with pytest.raises(BadRequestError) as refused:
        openai.chat.completions.create(model="echo", messages=QUESTION, logprobs=True)
    assert (refused.value.param, refused.value.code) == ("logprobs", "unsupported_parameter")
