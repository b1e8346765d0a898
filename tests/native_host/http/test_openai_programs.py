"""What programs for OpenAI's API send by habit: Codex, the AI SDK, LiteLLM, the Agents SDK, LangChain, Pydantic AI."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI
from support.browsers.waiting import wait_until
from support.http_host import HttpHost
from support.scripted_gguf import CHATML_TOOLS, write_scripted

from native_host.http.openai_namespaces import called_names
from native_host.http.openai_requests import ResponseBody

CALLING = (
    '<think>\nHm, I could look.\n</think>\n\n<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call>'
)
TOOL: dict[str, Any] = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
NAMESPACE: dict[str, Any] = {
    "type": "namespace",
    "name": "mcp__sky",
    "description": "Tools in the mcp__sky namespace.",
    "tools": [TOOL | {"name": "gaze"}, TOOL],
}
"""The tools of an MCP server, as Codex sends them."""

CODEX: dict[str, Any] = {
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "01a22765-3b97-75a3-ab5e-946102759086",
    "extra_body": {"client_metadata": {"turn_id": "01a22763-a1bb-7e83-8550-8cdc871e31f7"}},
}
"""What Codex 0.171 sends beside its instructions, messages and tools."""

THOUGHT = {"role": "assistant", "content": None, "reasoning": "Hm, I could look."}


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost() as made:
        folder = made.home.data_dir / "models"
        folder.mkdir(parents=True, exist_ok=True)
        write_scripted(folder / "calling.gguf", CALLING, "{# </think> #}" + CHATML_TOOLS)
        namespaced = CALLING.replace("look", "mcp__sky__look", 2).replace("could mcp__sky__look", "could look")
        write_scripted(folder / "namespaced.gguf", namespaced, "{# </think> #}" + CHATML_TOOLS)
        yield made


def respond(openai: OpenAI, **fields: Any) -> Any:
    asked = {"model": "calling.gguf", "input": "Look.", "tools": [TOOL], "temperature": 0, **CODEX}
    return openai.responses.create(**{**asked, **fields})


def test_codex_gets_its_call(openai: OpenAI) -> None:
    *_, last = respond(openai, stream=True)
    assert last.type == "response.completed"
    *_, call = last.response.output
    assert (call.name, json.loads(call.arguments)) == ("look", {"at": "sky"})


def test_reasoning_is_carried_for_who_asks_for_it(openai: OpenAI) -> None:
    whole = respond(openai).output[0]
    events = list(respond(openai, stream=True))
    (streamed,) = [
        event.item for event in events if event.type == "response.output_item.done" and event.output_index == 0
    ]
    assert whole.type == streamed.type == "reasoning"
    assert whole.encrypted_content == streamed.encrypted_content
    assert base64.b64decode(whole.encrypted_content.removeprefix("tabagent:")).decode() == THOUGHT["reasoning"]
    assert whole.content == streamed.content
    assert respond(openai, include=[]).output[0].encrypted_content is None


def test_carried_reasoning_says_what_the_reasoning_said(openai: OpenAI) -> None:
    item = respond(openai).output[0].model_dump(exclude_none=True)
    only_carried = {name: item[name] for name in ("type", "id", "summary", "encrypted_content")}
    for sent in (item, only_carried):
        said = [sent, {"role": "assistant", "content": "Blue."}, {"role": "user", "content": "Why?"}]
        assert ResponseBody.model_validate({"input": said}).to_wire()["messages"][0] == THOUGHT | {"content": "Blue."}


@pytest.mark.parametrize("content", ["gAAAAABo", "tabagent:?", "tabagent:/w==", "tabagent:\xe9", "", None])
def test_what_another_server_has_encrypted_says_nothing(content: str | None) -> None:
    thought: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": content}
    said = [{"role": "user", "content": "Look."}, thought, {"role": "user", "content": "Why?"}]
    messages = ResponseBody.model_validate({"input": said}).to_wire()["messages"]
    assert [message["role"] for message in messages] == ["user", "user"]


def test_what_is_included_is_told_in_any_order_and_what_is_not_had_is_refused(openai: OpenAI) -> None:
    both: Any = ["reasoning.encrypted_content", "message.output_text.logprobs"]
    for include in (both, both[::-1]):
        thought, *_ = respond(openai, include=include).output
        assert thought.encrypted_content
    with pytest.raises(BadRequestError) as refused:
        respond(openai, include=[*both, "web_search_call.results"])
    assert (refused.value.param, refused.value.code) == ("include", "unsupported_parameter")


@pytest.mark.parametrize("word", ["low", "medium", "high"])
def test_a_wish_for_the_length_of_an_answer_is_no_error(openai: OpenAI, word: Any) -> None:
    asked: dict[str, Any] = {"model": "demo", "temperature": 0}
    talk: Any = [{"role": "user", "content": "What are you?"}]
    chat = openai.chat.completions.create(**asked, messages=talk, verbosity=word).choices[0].message.content
    assert openai.responses.create(**asked, input=talk, text={"verbosity": word}).output_text == chat


@pytest.mark.parametrize("word", ["auto", "concise", "detailed"])
def test_a_summary_is_never_there_and_the_reasoning_always(openai: OpenAI, word: Any) -> None:
    thought, _ = respond(openai, reasoning={"effort": "low", "summary": word}).output
    assert (thought.summary, thought.content[0].text) == ([], THOUGHT["reasoning"])


def test_truncation_cuts_nothing_and_what_is_too_long_is_an_error(openai: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "demo", "temperature": 0, "truncation": "auto"}
    answer = openai.responses.create(**asked, input="What are you?")
    assert (answer.status, answer.truncation) == ("completed", "disabled")
    with pytest.raises(BadRequestError) as refused:
        openai.responses.create(**asked, input="word " * 5000)
    assert refused.value.code == "context_length_exceeded"


STORED: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_1"}, "send the whole conversation"),
    ({"conversation": "conv_1"}, "send the whole conversation"),
    ({"input": [{"type": "item_reference", "id": "fc_1"}]}, "`store: false`"),
]


@pytest.mark.parametrize(("fields", "advice"), STORED)
def test_who_builds_on_what_was_stored_hears_what_to_do(openai: OpenAI, fields: Any, advice: str) -> None:
    with pytest.raises(BadRequestError, match="stores nothing") as refused:
        respond(openai, **fields)
    assert advice in refused.value.message


PROMPTS = ["The sea", "A cat", "Hello"]
SHORT: dict[str, Any] = {"model": "demo", "temperature": 0, "max_tokens": 6}


def test_several_prompts_are_answered_as_each_is_alone(openai: OpenAI) -> None:
    together = openai.completions.create(**SHORT, prompt=PROMPTS, logprobs=1)
    alone = [openai.completions.create(**SHORT, prompt=prompt, logprobs=1) for prompt in PROMPTS]
    assert [choice.index for choice in together.choices] == [0, 1, 2]
    assert [choice.text for choice in together.choices] == [one.choices[0].text for one in alone]
    assert [choice.finish_reason for choice in together.choices] == [one.choices[0].finish_reason for one in alone]
    offsets = [choice.logprobs.text_offset for choice in together.choices if choice.logprobs]
    assert offsets == [one.choices[0].logprobs.text_offset for one in alone if one.choices[0].logprobs]
    assert together.usage
    assert together.usage.prompt_tokens == sum(one.usage.prompt_tokens for one in alone if one.usage)
    assert together.usage.completion_tokens == sum(one.usage.completion_tokens for one in alone if one.usage)


def test_several_prompts_make_no_stream(openai: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="leave stream out") as refused:
        openai.completions.create(**SHORT, prompt=PROMPTS, stream=True)
    assert refused.value.param == "prompt"


SLOW_ECHO: dict[str, Any] = {"model": "echo", "options": {"prefill_ms": 300, "tokens_per_second": 50}}


def test_each_of_several_prompts_counts_from_the_end_of_the_one_before(openai: OpenAI, host: HttpHost) -> None:
    with host.client(host.token) as client:
        client.post("/api/v1/load", json=SLOW_ECHO).raise_for_status()
        openai.completions.create(model="echo", prompt=["a b", "c d", "e f", "g h"])
        stats = client.get("/api/v1/stats").json()
    assert 300 <= stats["time_to_first_token"] < 900
    assert stats["total_time"] < 900


def test_who_stops_one_of_several_prompts_stops_those_behind_it(openai: OpenAI, host: HttpHost) -> None:
    with host.client(host.token) as client, ThreadPoolExecutor(1) as pool:
        client.post("/api/v1/load", json=SLOW_ECHO).raise_for_status()
        words = "w " * 30
        asked = pool.submit(openai.completions.create, model="echo", prompt=["a", words, words, "b"])
        wait_until("the second prompt", lambda: any(one["tokens"] > 2 for one in _answered(client)))
        client.post("/api/v1/halt").raise_for_status()
        answer = asked.result(30)
    first, second, *others = answer.choices
    assert (first.text, [one.text for one in others]) == ("a", ["", ""])
    assert second.text
    assert len(second.text) < len(words) - 2
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    assert answer.usage
    assert 3 <= answer.usage.completion_tokens < 31


def test_a_model_stays_as_it_is_until_the_last_of_several_prompts(openai: OpenAI, host: HttpHost) -> None:
    with host.client(host.token) as client:
        client.post("/api/v1/unload", json={"model": "demo"})
        options = {"keep_alive_s": 0, "context_length": 512}
        client.post("/api/v1/load", json={"model": "demo", "options": options}).raise_for_status()
        with pytest.raises(BadRequestError, match="the context 512"):
            openai.completions.create(**SHORT, prompt=["The sea", "A cat", "word " * 600])
        wait_until("the unload", lambda: "demo" not in _loaded(client))
        assert len(openai.completions.create(**SHORT, prompt=PROMPTS).choices) == 3


def _loaded(client: httpx.Client) -> list[str]:
    return [one["model"] for one in client.get("/api/v1/models").json()["loaded"]]


def _answered(client: httpx.Client) -> list[dict[str, Any]]:
    return [one for one in client.get("/api/v1/jobs").json()["jobs"] if one["state"] == "decode"]


@pytest.mark.parametrize("wrong", ["", "word " * 5000])
def test_which_of_several_prompts_is_wrong_is_told(openai: OpenAI, wrong: str) -> None:
    with pytest.raises(BadRequestError, match=r"prompt\[1\]: The prompt") as refused:
        openai.completions.create(**SHORT, prompt=["The sea", wrong, "Hello"])
    assert refused.value.param == "prompt[1]"


@pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]]])
def test_tokens_are_no_prompt_and_who_sends_them_hears_it(openai: OpenAI, tokens: Any) -> None:
    with pytest.raises(BadRequestError, match="tokenized_requests=False") as refused:
        openai.completions.create(**SHORT, prompt=tokens)
    assert refused.value.param == "prompt"


def test_a_function_in_a_namespace_is_called_by_its_name_there(openai: OpenAI) -> None:
    asked: dict[str, Any] = {"tools": [TOOL | {"name": "other"}, NAMESPACE], "model": "namespaced.gguf"}
    *_, call = respond(openai, **asked).output
    assert (call.name, call.namespace, json.loads(call.arguments)) == ("look", "mcp__sky", {"at": "sky"})
    *_, last = respond(openai, **asked, stream=True)
    told = last.response.output[-1]
    assert (told.name, told.namespace) == ("look", "mcp__sky")
    result: dict[str, Any] = {"type": "function_call_output", "call_id": call.call_id, "output": "Blue."}
    talk = [{"role": "user", "content": "Look."}, call.model_dump(exclude_none=True), result]
    wire = ResponseBody.model_validate({"input": talk, "tools": [NAMESPACE]}).to_wire()
    assert wire["messages"][1]["tool_calls"][0]["function"]["name"] == "mcp__sky__look"
    assert [tool["function"]["name"] for tool in wire["tools"]] == ["mcp__sky__gaze", "mcp__sky__look"]
    assert wire["tools"][0]["function"]["description"] == NAMESPACE["description"]
    assert "description" not in wire["tools"][1]["function"]
    assert respond(openai, input=talk, **asked).status == "completed"


WRONG: list[tuple[dict[str, Any], str]] = [
    (NAMESPACE | {"tools": [TOOL, {"type": "custom", "name": "c"}]}, "tools[1].tools[1].type"),
    (NAMESPACE | {"tools": [TOOL | {"name": "a b"}]}, "tools[1].tools[0].name"),
    (NAMESPACE | {"tools": [TOOL | {"name": ""}]}, "tools[1].tools[0].name"),
    (NAMESPACE | {"tools": "look"}, "tools[1].type"),
    (NAMESPACE | {"name": None}, "tools[1].type"),
    ({"type": "web_search", "external_web_access": False}, "tools[1].type"),
]


@pytest.mark.parametrize(("tool", "param"), WRONG)
def test_a_tool_that_is_wrong_is_named_where_it_stands(openai: OpenAI, tool: Any, param: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        respond(openai, tools=[TOOL | {"name": "other"}, tool])
    assert refused.value.param == param


CHOICES: list[dict[str, Any]] = [
    {"name": "look"},
    {"name": "look", "namespace": "mcp__sky"},
    {"name": "mcp__sky__look"},
]


@pytest.mark.parametrize("choice", CHOICES)
def test_a_function_in_a_namespace_may_be_the_one_that_is_to_be_called(openai: OpenAI, choice: dict[str, Any]) -> None:
    chosen = {"type": "function", **choice}
    tools = [TOOL | {"name": "other"}, NAMESPACE]
    *_, call = respond(openai, tools=tools, tool_choice=chosen, model="namespaced.gguf").output
    assert (call.name, call.namespace) == ("look", "mcp__sky")


def test_a_name_alone_chooses_the_function_outside_of_namespaces() -> None:
    body = ResponseBody.model_validate(
        {"input": "Look.", "tools": [NAMESPACE, TOOL], "tool_choice": {"type": "function", "name": "look"}}
    )
    assert body.to_wire()["tool_choice"] == {"type": "function", "function": {"name": "look"}}


MISPLACED: list[tuple[dict[str, Any], str]] = [
    ({"tool_choice": {"type": "function", "name": "look"}}, "tool_choice.name"),
    ({"tool_choice": {"type": "function", "name": "look", "namespace": 5}}, "tool_choice.namespace"),
    (
        {"input": [{"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}", "namespace": {}}]},
        "input[0].namespace",
    ),
]


@pytest.mark.parametrize(("fields", "param"), MISPLACED)
def test_a_namespace_that_names_nothing_or_too_much_is_refused(openai: OpenAI, fields: Any, param: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        respond(openai, tools=[NAMESPACE, NAMESPACE | {"name": "mcp__sea"}], **fields)
    assert refused.value.param == param


def test_a_function_that_is_called_as_one_in_a_namespace_is_named(openai: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="same name, 'mcp__sky__look'"):
        respond(openai, tools=[NAMESPACE, TOOL | {"name": "mcp__sky__look"}])


@pytest.mark.parametrize("phase", ["commentary", "final_answer", None])
def test_what_another_server_called_the_phase_of_a_message_says_nothing(openai: OpenAI, phase: str | None) -> None:
    text: dict[str, Any] = {"type": "output_text", "text": "Blue.", "annotations": []}
    said: dict[str, Any] = {"type": "message", "role": "assistant", "phase": phase, "content": [text]}
    talk = [{"role": "user", "content": "Look."}, said, {"role": "user", "content": "Why?"}]
    assert respond(openai, input=talk).status == "completed"
    with pytest.raises(BadRequestError, match="phase"):
        respond(openai, input=[*talk[:1], said | {"phase": "new"}])


def test_a_long_name_in_a_namespace_is_known_by_its_end() -> None:
    long = NAMESPACE | {"name": "mcp__" + "n" * 80}
    body = ResponseBody.model_validate({"input": "Look.", "tools": [long]})
    names = [tool["function"]["name"] for tool in body.to_wire()["tools"]]
    assert {len(name) for name in names} == {64}
    assert [called_names(body.tools)[name] for name in names] == [(long["name"], "gaze"), (long["name"], "look")]
