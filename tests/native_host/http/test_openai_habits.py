"""Values that programs for llama.cpp's server, vLLM or LM Studio send by habit, and what they mean there."""

from typing import Any

import pytest
from openai import OpenAI
from support.http_host import HttpHost

from native_host.http.openai_requests import ChatBody, CompletionBody, ResponseBody

QUESTION: list[Any] = [{"role": "user", "content": "Tell me a story about the sea"}]
UNLIMITED: dict[str, Any] = {"max_tokens": -1}
LONG = "word " * 3000
"""More words than the 2,048 tokens that an answer has without a limit of its own."""


def text_of(openai: OpenAI, **fields: Any) -> str:
    asked = {"model": "demo", "messages": QUESTION, "max_tokens": 30, **fields}
    answer: Any = openai.chat.completions.create(**asked)
    return str(answer.choices[0].message.content)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_minus_one_token_is_no_limit(openai: OpenAI, name: str) -> None:
    asked: dict[str, Any] = {"model": "echo", "messages": [{"role": "user", "content": LONG}]}
    assert openai.chat.completions.create(**asked).choices[0].finish_reason == "length"
    choice = openai.chat.completions.create(**{**asked, name: -1}).choices[0]
    assert (choice.message.content, choice.finish_reason) == (LONG, "stop")


def test_minus_one_token_is_no_limit_of_a_completion_and_of_a_response(openai: OpenAI) -> None:
    assert openai.completions.create(model="echo", prompt=LONG, max_tokens=-1).choices[0].text == LONG
    assert openai.responses.create(model="echo", input=LONG, max_output_tokens=-1).output_text == LONG


def test_without_a_limit_a_model_ends_its_answer_itself(openai: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "demo", "messages": QUESTION, "temperature": 0}
    whole, unlimited = (openai.chat.completions.create(**asked, **more).choices[0] for more in ({}, UNLIMITED))
    assert unlimited.finish_reason == "stop"
    assert unlimited.message.content == whole.message.content


def test_a_top_p_of_zero_is_greedy(openai: OpenAI) -> None:
    greedy = text_of(openai, temperature=0)
    assert {text_of(openai, temperature=2, top_p=0, seed=seed) for seed in range(3)} == {greedy}


def test_a_seed_of_minus_one_is_drawn_also_where_one_was_set(host: HttpHost, openai: OpenAI) -> None:
    def written(**fields: Any) -> str:
        """What goes on from no word that the model knows, so that chance decides."""
        free: dict[str, Any] = {"temperature": 2, "top_p": 1, "max_tokens": 30, "extra_body": {"top_k": -1}}
        return str(openai.completions.create(model="demo", prompt="Zq7 %", **free, **fields).choices[0].text)

    with host.client(host.token) as client:
        client.post("/api/v1/params", json={"settings": {"seed": 1}}).raise_for_status()
        assert len({written() for _ in range(3)}) == 1
        assert len({written(seed=-1) for _ in range(5)}) > 1
        client.post("/api/v1/params", json={"settings": {"seed": None}}).raise_for_status()


def test_habits_are_the_wires_words() -> None:
    given = {"max_tokens": -1, "top_k": -1, "top_p": 0, "cache_prompt": True}
    meant = {"max_tokens": 2**31 - 1, "top_k": 0, "top_p": 1e-9}
    chat = ChatBody.model_validate({"messages": QUESTION, **given})
    completion = CompletionBody.model_validate({"prompt": "x", **given})
    assert chat.to_wire()["settings"] == completion.to_wire()["settings"] == meant
    response = ResponseBody.model_validate({"input": "x", "top_p": 0, "max_output_tokens": -1})
    assert response.to_wire()["settings"] == {"max_tokens": 2**31 - 1, "top_p": 1e-9}
    own = {"max_tokens": 1, "top_k": 0, "top_p": 1e-300, "seed": 0}
    assert ChatBody.model_validate({"messages": QUESTION, **own}).to_wire()["settings"] == own
