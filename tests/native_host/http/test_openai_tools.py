"""Tools and reasoning as the openai Python client sees them, from real engines whose answers their weights script."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from openai import BadRequestError, OpenAI
from pydantic import BaseModel
from support.http_host import HttpHost
from support.scripted_gguf import CHATML_TOOLS, write_scripted
from support.sse import events as sse_events
from support.tiny_gguf import write_tiny

ANSWER = (
    "<think>\nHm, I could add.\n</think>\n\nLet me see.\n"
    '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 40}}\n</tool_call>\n'
    '<tool_call>{"name":"add","arguments":{"a":7,"b":9}}</tool_call>'
)
PARAMETERS = {
    "type": "object",
    "properties": {"a": {"enum": [2, 7]}, "b": {"enum": [40, 9]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
FUNCTION = {"name": "add", "description": "Adds", "parameters": PARAMETERS, "strict": True}
CHAT_TOOL: Any = {"type": "function", "function": FUNCTION}
TOOL: Any = {"type": "function", **FUNCTION}
QUESTION: Any = [{"role": "user", "content": "What is 2 and 40?"}]
CALLS = [("add", {"a": 2, "b": 40}), ("add", {"a": 7, "b": 9})]


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost("--no-token") as made:
        folder = made.home.data_dir / "models"
        folder.mkdir(parents=True, exist_ok=True)
        write_scripted(folder / "scripted.gguf", ANSWER, "{# </think> #}" + CHATML_TOOLS)
        write_tiny(folder / "random.gguf", template=CHATML_TOOLS)
        write_tiny(folder / "either.gguf", template=CHATML_TOOLS, seed=10)  # begins now with "<", now with "{"
        yield made


def chat(openai: OpenAI, **fields: Any) -> Any:
    return openai.chat.completions.create(
        **{"model": "scripted.gguf", "messages": QUESTION, "tools": [CHAT_TOOL], "temperature": 0, **fields}
    )


def respond(openai: OpenAI, **fields: Any) -> Any:
    return openai.responses.create(
        **{"model": "scripted.gguf", "input": QUESTION, "tools": [TOOL], "temperature": 0, **fields}
    )


def read(calls: Any) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in calls]


def test_a_chat_completion_has_reasoning_text_and_calls(openai: OpenAI) -> None:
    choice = chat(openai).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.content, choice.message.reasoning_content) == ("Let me see.", "Hm, I could add.")
    assert read(call.function for call in choice.message.tool_calls) == CALLS
    assert len({call.id for call in choice.message.tool_calls}) == 2


def test_the_tokens_of_reasoning_are_counted(openai: OpenAI) -> None:
    answer = chat(openai, logprobs=True)
    texts = [one.token for one in answer.choices[0].logprobs.content]
    raw = "".join(texts)
    begins = [len("".join(texts[:place])) for place in range(len(texts))]
    thoughts = range(raw.index("<think>") + len("<think>"), raw.index("</think>"))
    count = sum(begin in thoughts for begin in begins)
    assert 0 < count < answer.usage.completion_tokens
    assert answer.usage.completion_tokens_details.reasoning_tokens == count
    *_, last = chat(openai, stream=True, stream_options={"include_usage": True})
    assert last.usage.completion_tokens_details.reasoning_tokens == count
    assert respond(openai).usage.output_tokens_details.reasoning_tokens == count


def test_a_streams_deltas_build_the_same_message_up(openai: OpenAI) -> None:
    chunks = list(chat(openai, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.content or "" for delta in deltas) == "Let me see."
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Hm, I could add."
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    assert [call.index for call in calls] == [0, 1]
    assert read(call.function for call in calls) == CALLS
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_the_clients_own_accumulation_of_a_stream_has_the_calls(openai: OpenAI) -> None:
    with openai.chat.completions.stream(
        model="scripted.gguf", messages=QUESTION, tools=[CHAT_TOOL], temperature=0
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert [call.function.parsed_arguments for call in message.tool_calls or ()] == [call for _, call in CALLS]


def test_an_answer_and_its_results_go_back_as_the_client_has_them(openai: OpenAI) -> None:
    first = chat(openai)
    message = first.choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "42"} for call in message.tool_calls]
    second = chat(openai, messages=[*QUESTION, message.model_dump(), *results])
    assert second.usage.prompt_tokens > first.usage.prompt_tokens + first.usage.completion_tokens / 2


def test_calls_as_a_stream_told_them_go_back_with_their_index(openai: OpenAI) -> None:
    deltas = [chunk.choices[0].delta for chunk in chat(openai, stream=True)]
    calls = [call.model_dump() for delta in deltas for call in delta.tool_calls or ()]
    assert [call["index"] for call in calls] == [0, 1]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "42"} for call in calls]
    with_index = [*QUESTION, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    bare = [{name: call[name] for name in call if name != "index"} for call in calls]
    without = [*QUESTION, {"role": "assistant", "content": None, "tool_calls": bare}, *results]
    first, second = chat(openai, messages=with_index), chat(openai, messages=without)
    assert first.usage.prompt_tokens == second.usage.prompt_tokens


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_call_that_must_be_made_is_made(openai: OpenAI, choice: Any) -> None:
    message = chat(openai, model="random.gguf", tool_choice=choice, temperature=1, seed=3).choices[0].message
    ((name, arguments),) = read(call.function for call in message.tool_calls)
    assert (name, arguments["a"] in (2, 7), arguments["b"] in (40, 9)) == ("add", True, True)
    assert message.content is None


class Shade(BaseModel):
    """What the client's own `parse` reads an answer into."""

    shade: Literal["red", "blue"]


def test_the_clients_parse_takes_tools_and_a_format_together(openai: OpenAI) -> None:
    kinds = set()
    for seed in range(12):
        common: Any = {"model": "either.gguf", "temperature": 2, "top_p": 1}
        chosen = openai.chat.completions.parse(
            messages=QUESTION, tools=[CHAT_TOOL], response_format=Shade, seed=seed, **common
        ).choices[0]
        message = chosen.message
        kinds.add(chosen.finish_reason)
        assert bool(message.tool_calls) is not bool(message.parsed)
        assert all(call.function.name == "add" for call in message.tool_calls or ())
    assert kinds == {"stop", "tool_calls"}
    answer = openai.responses.parse(input=QUESTION, tools=[TOOL], text_format=Shade, **common)
    assert [item.type for item in answer.output] in (["message"], ["function_call"])


def test_a_responses_deltas_tell_every_token_also_those_of_its_reasoning(openai: OpenAI) -> None:
    events = list(respond(openai, stream=True, include=["message.output_text.logprobs"]))
    told = [one.token for event in events if event.type == "response.output_text.delta" for one in event.logprobs]
    (done,) = [event for event in events if event.type == "response.output_text.done"]
    assert told == [one.token for one in done.logprobs][: len(told)]
    assert any("Hm" in token or "add" in token for token in told)
    before_calls = "".join(told)
    assert "think" in before_calls
    assert "see" in before_calls


def test_parallel_calls_can_be_switched_off(openai: OpenAI) -> None:
    calls = chat(openai, parallel_tool_calls=False).choices[0].message.tool_calls
    assert read(call.function for call in calls) == CALLS[:1]
    items = respond(openai, parallel_tool_calls=False).output
    assert read(item for item in items if item.type == "function_call") == CALLS[:1]


def test_a_response_has_items_of_reasoning_text_and_calls(openai: OpenAI) -> None:
    response = respond(openai)
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call", "function_call"]
    assert (response.status, response.output_text) == ("completed", "Let me see.")
    assert response.output[0].content[0].text == "Hm, I could add."
    assert read(response.output[2:]) == CALLS
    assert [tool.name for tool in response.tools] == ["add"]


def test_a_responses_stream_begins_and_ends_each_item_and_adds_up_to_the_response(openai: OpenAI) -> None:
    events = list(respond(openai, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    added = [event.item.type for event in events if event.type == "response.output_item.added"]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert added == ["reasoning", "message", "function_call", "function_call"]
    last = events[-1]
    assert last.type == "response.completed"
    assert [item.model_dump() for item in done] == [item.model_dump() for item in last.response.output]
    ends = [(event.type.rpartition(".")[2], event.output_index) for event in events if "output_item" in event.type]
    assert ends == [(what, place) for place in range(4) for what in ("added", "done")]
    places = [event.output_index for event in events if hasattr(event, "output_index")]
    assert places == sorted(places)
    assert read(event for event in events if event.type == "response.function_call_arguments.done") == CALLS
    thoughts = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
    assert "".join(thoughts) == "Hm, I could add."


def test_the_clients_own_accumulation_of_a_response_has_the_calls(openai: OpenAI) -> None:
    with openai.responses.stream(model="scripted.gguf", input=QUESTION, tools=[TOOL], temperature=0) as stream:
        final = stream.get_final_response()
    assert [item.parsed_arguments for item in final.output if item.type == "function_call"] == [
        call for _, call in CALLS
    ]


def test_a_responses_items_and_their_results_go_back_as_one_turn(openai: OpenAI) -> None:
    first = respond(openai)
    items = [item.model_dump() for item in first.output]
    results = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "42"}
        for item in first.output
        if item.type == "function_call"
    ]
    second = respond(openai, input=[*QUESTION, *items, *results])
    message = chat(openai).choices[0].message
    told = [{"role": "tool", "tool_call_id": call.id, "content": "42"} for call in message.tool_calls]
    same = chat(openai, messages=[*QUESTION, message.model_dump(), *told])
    assert second.usage.input_tokens == same.usage.prompt_tokens


def test_a_response_can_be_made_to_call(openai: OpenAI) -> None:
    choice = {"type": "function", "name": "add"}
    response = respond(openai, model="random.gguf", tool_choice=choice, temperature=1)
    assert [item.type for item in response.output] == ["function_call"]


def test_what_is_wrong_with_tools_is_named_as_it_was_sent(openai: OpenAI) -> None:
    with pytest.raises(BadRequestError) as chat_refused:
        chat(openai, tools=[{"type": "function", "function": {"name": "a b"}}])
    assert chat_refused.value.param == "tools[0].function.name"
    with pytest.raises(BadRequestError) as refused:
        respond(openai, tools=[{"type": "function", "name": "a b"}])
    assert refused.value.param == "tools[0].name"
    with pytest.raises(BadRequestError) as chosen:
        respond(openai, tool_choice={"type": "function", "name": "other"})
    assert chosen.value.param == "tool_choice"


def test_a_streamed_message_ends_with_the_tokens_that_it_has_in_a_whole_response(openai: OpenAI) -> None:
    include: Any = ["message.output_text.logprobs"]
    _, message, *calls = respond(openai, include=include).output
    events = list(respond(openai, include=include, stream=True))
    ended = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.type for item in ended] == ["reasoning", "message", "function_call", "function_call"]
    assert ended[1].content[0].logprobs == message.content[0].logprobs
    (done,) = [event for event in events if event.type == "response.output_text.done"]
    assert [one.logprob for one in done.logprobs] == [one.logprob for one in message.content[0].logprobs]
    assert read(ended[2:]) == read(calls) == CALLS


def test_the_hosts_own_chat_completions_answer_the_same(host: HttpHost) -> None:
    body = {"model": "scripted.gguf", "messages": QUESTION, "tools": [CHAT_TOOL], "settings": {"temperature": 0}}
    with host.client() as client:
        client.post("/api/v1/load", json={"model": "scripted.gguf"})
        message = client.post("/api/v1/chat/completions", json=body).json()["choices"][0]["message"]
    assert message["reasoning_content"] == "Hm, I could add."
    assert [json.loads(call["function"]["arguments"]) for call in message["tool_calls"]] == [call for _, call in CALLS]


def test_a_jobs_events_have_reasoning_and_calls_in_fields_that_others_ignore(host: HttpHost) -> None:
    body = {"model": "scripted.gguf", "messages": QUESTION, "tools": [CHAT_TOOL], "settings": {"temperature": 0}}
    with host.client() as client:
        client.post("/api/v1/load", json={"model": "scripted.gguf"})
        job = client.post("/api/v1/jobs", json=body).json()["job_id"]
        with client.stream("GET", f"/api/v1/stream/{job}") as stream:
            events = list(sse_events(stream))
    tokens = [event for event in events if event.name == "token"]
    (end,) = [event for event in events if event.name == "analysis_complete"]
    assert "".join(token.fields["text"] for token in tokens) == end.fields["text"] == "Let me see."
    assert (
        "".join(token.fields.get("reasoning", "") for token in tokens) == end.fields["reasoning"] == "Hm, I could add."
    )
    assert [call["index"] for token in tokens for call in token.fields.get("tool_calls", [])] == [0, 1]
    assert len(end.fields["tool_calls"]) == 2
