"""Reasoning and tool calls through the real relay: real engines whose answers are scripted by their weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.host_process import BrowserHost, Json, Port
from support.scripted_gguf import CHATML_TOOLS, SWITCHED, THINKING, write_scripted
from support.tiny_gguf import write_tiny

ASKED = [{"role": "user", "content": "What is 2 and 2?"}]
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds numbers",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 40}}\n</tool_call>'
MISTRAL = "{# [ARGS] #}" + CHATML_TOOLS.replace("<tool_call>", "[TOOL_CALLS]")
ANSWERS: dict[str, dict[str, Any]] = {
    "thinker": {"answer": f"<think>\nHm, I could add.\n</think>\n\nLet me see.\n{CALL}", "template": "{# </think> #}"},
    "begun": {"answer": "Two plus two.\n</think>\n\nIt is 4.", "template": THINKING},
    "switched": {"answer": "It is 4.", "template": SWITCHED},
    "marked": {
        "answer": 'Yes.[TOOL_CALLS]add[ARGS]{"a": 2, "b": 40}',
        "template": MISTRAL,
        "control": ("[TOOL_CALLS]", "[ARGS]"),
    },
    "malformed": {"answer": 'So:\n<tool_call>\n{"name": "add", "arguments": {"a": \n</tool_call>\nBye.'},
    "twice": {"answer": f'{CALL}\n<tool_call>{{"name":"add","arguments":{{"a":7,"b":9}}}}</tool_call>'},
    "object": {"answer": '{"sum": 4}'},
    "plain": {"answer": "It is 4.", "template": "{{ messages[-1].content }}\n"},
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserHost]:
    folder = tmp_path_factory.mktemp("scripted")
    with BrowserHost("[models]\nmax_loaded = 10\n") as made, made.port() as port:
        for name, script in ANSWERS.items():
            answer = port.call("load", model=str(written(folder / f"{name}.gguf", **script)), options={"threads": 1})
            assert answer["status"] == "success", answer
        random = write_tiny(folder / "random.gguf", template=CHATML_TOOLS)
        assert port.call("load", model=str(random), options={"threads": 1})["status"] == "success"
        yield made


@pytest.fixture
def port(host: BrowserHost) -> Iterator[Port]:
    with host.port() as opened:
        yield opened


def written(path: Path, answer: str, template: str = "", control: tuple[str, ...] = ()) -> Path:
    """A scripted model; a template that is a comment alone goes before the usual one."""
    whole = template if template.endswith(("%}", "\n")) else template + CHATML_TOOLS
    return write_scripted(path, answer, whole, control)


def path_of(port: Port, name: str) -> str:
    models = port.call("get_state")["models"]
    return str(next(model["model"] for model in models if Path(model["model_path"]).stem == name))


def generate(port: Port, name: str, **fields: Any) -> tuple[Json, list[Json]]:
    """The result of a generation and its partials."""
    request = port.ask(
        "generate", **{"model": path_of(port, name), "messages": ASKED, "settings": {"temperature": 0}, **fields}
    )
    result = port.result(request)
    return result, port.of(request, "partial")


def called(result: Json) -> list[tuple[str, Any]]:
    calls = result["tool_calls"] or []
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


def test_reasoning_text_and_calls_come_apart_in_partials_and_result(port: Port) -> None:
    result, partials = generate(port, "thinker", tools=[ADD])
    assert (result["reasoning"], result["text"]) == ("Hm, I could add.", "Let me see.")
    assert called(result) == [("add", {"a": 2, "b": 40})]
    assert result["finish_reason"] == "tool_calls"
    assert "".join(partial["text"] for partial in partials) == result["text"]
    assert "".join(partial.get("reasoning", "") for partial in partials) == result["reasoning"]
    (delta,) = [delta for partial in partials for delta in partial.get("tool_calls", [])]
    assert delta == {"index": 0, **result["tool_calls"][0]}
    assert partials[-1]["tokens"] == result["stats"]["output_tokens"]


def test_partials_without_reasoning_or_calls_have_no_fields_for_them(port: Port) -> None:
    _, partials = generate(port, "plain")
    assert partials
    assert all(set(partial) == {"id", "type", "job_id", "seq", "text", "tokens"} for partial in partials)


def test_reasoning_that_the_template_begins_is_reasoning(port: Port) -> None:
    result, _ = generate(port, "begun")
    assert (result["reasoning"], result["text"], result["finish_reason"]) == ("Two plus two.", "It is 4.", "stop")
    assert result["tool_calls"] is None


def test_reasoning_that_the_request_switched_off_is_not_taken_for_begun(port: Port) -> None:
    result, partials = generate(port, "switched", chat_template_kwargs={"enable_thinking": False})
    assert (result["reasoning"], result["text"]) == (None, "It is 4.")
    assert result["stats"]["reasoning_tokens"] == 0
    assert not any("reasoning" in partial for partial in partials)
    thought, _ = generate(port, "switched")
    assert (thought["reasoning"], thought["text"]) == ("It is 4.", "")
    model = path_of(port, "switched")
    lengths = [
        port.call("count_tokens", model=model, messages=ASKED, chat_template_kwargs=given)["tokens"]
        for given in ({"enable_thinking": False}, {})
    ]
    assert lengths == [result["stats"]["input_tokens"], thought["stats"]["input_tokens"]]


def test_the_echo_has_no_template_that_variables_could_change(port: Port) -> None:
    assert port.call("load", model="echo")["status"] == "success"
    result = port.result(port.ask("generate", model="echo", messages=ASKED, chat_template_kwargs={"effort": 1}))
    assert result["text"] == ASKED[0]["content"]


def test_a_bare_prompt_is_answered_with_the_raw_text(port: Port) -> None:
    result, _ = generate(port, "thinker", messages=None, prompt="x\n")
    assert result["text"] == ANSWERS["thinker"]["answer"]
    assert result["reasoning"] is None


def test_marks_that_are_control_tokens_are_read_and_never_seen(port: Port) -> None:
    result, _ = generate(port, "marked", tools=[ADD])
    assert (result["text"], called(result)) == ("Yes.", [("add", {"a": 2, "b": 40})])


def test_a_call_that_cannot_be_read_comes_as_text(port: Port) -> None:
    result, partials = generate(port, "malformed", tools=[ADD])
    assert result["text"] == ANSWERS["malformed"]["answer"]
    assert (result["tool_calls"], result["finish_reason"]) == (None, "stop")
    assert "".join(partial["text"] for partial in partials) == result["text"]


@pytest.mark.parametrize("fields", [{}, {"tools": [ADD], "tool_choice": "none"}])
def test_without_tools_what_looks_like_a_call_is_text(port: Port, fields: Json) -> None:
    result, _ = generate(port, "thinker", **fields)
    assert result["text"] == f"Let me see.\n{CALL}"
    assert result["finish_reason"] == "stop"


def test_a_cut_off_call_comes_as_text(port: Port) -> None:
    whole, _ = generate(port, "thinker", tools=[ADD])
    tokens = whole["stats"]["output_tokens"] - 4
    result, _ = generate(port, "thinker", tools=[ADD], settings={"temperature": 0, "max_tokens": tokens})
    assert result["finish_reason"] == "length"
    assert result["text"].startswith("Let me see.\n<tool_call>")
    assert ANSWERS["thinker"]["answer"].endswith(CALL)


def test_what_a_client_missed_is_replayed_with_reasoning_and_calls(port: Port) -> None:
    result, partials = generate(port, "thinker", tools=[ADD])
    job = result["job_id"]
    request = port.ask("attach", job_id=job)
    again = port.result(request)
    fields = ("seq", "text", "tokens", "reasoning", "tool_calls")
    told = [{name: partial.get(name) for name in fields} for partial in port.of(request, "partial")]
    assert told == [{name: partial.get(name) for name in fields} for partial in partials]
    assert {name: again[name] for name in ("text", "reasoning", "tool_calls", "finish_reason")} == {
        name: result[name] for name in ("text", "reasoning", "tool_calls", "finish_reason")
    }


def test_read_job_gives_reasoning_since_the_cursor_and_all_calls_at_the_end(port: Port) -> None:
    result, partials = generate(port, "thinker", tools=[ADD])
    whole = port.call("read_job", job_id=result["job_id"])
    assert (whole["text"], whole["reasoning"]) == (result["text"], result["reasoning"])
    rest = port.call("read_job", job_id=result["job_id"], cursor=len(partials))
    assert (rest["text"], rest["reasoning"]) == ("", None)
    assert whole["tool_calls"] == rest["tool_calls"] == result["tool_calls"]


def test_a_result_goes_back_to_the_model_in_its_own_words(port: Port) -> None:
    result, _ = generate(port, "thinker", tools=[ADD])
    messages = [
        *ASKED,
        {"role": "assistant", "reasoning": result["reasoning"], "tool_calls": result["tool_calls"]},
        {"role": "tool", "tool_call_id": result["tool_calls"][0]["id"], "name": "add", "content": "42"},
    ]
    after, _ = generate(port, "thinker", messages=messages, tools=[ADD])
    assert after["status"] == "success"
    assert after["stats"]["input_tokens"] > result["stats"]["input_tokens"] + len("<tool_call>")


def test_tools_for_a_model_that_knows_none_are_refused(port: Port) -> None:
    result, _ = generate(port, "plain", tools=[ADD])
    assert (result["error"]["code"], result["error"]["details"]["fields"]) == ("unsupported_option", ["tools"])
    states = {Path(model["model_path"]).stem: model["capabilities"] for model in port.call("get_state")["models"]}
    assert {name: states[name]["tools"] for name in ("plain", "thinker")} == {"plain": False, "thinker": True}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_call_that_must_be_made_is_made(port: Port, choice: object) -> None:
    result, partials = generate(port, "random", tools=[ADD], tool_choice=choice, settings={"seed": 4})
    ((name, arguments),) = called(result)
    assert (name, set(arguments), result["text"]) == ("add", {"a", "b"}, "")
    assert all(isinstance(value, int) for value in arguments.values())
    assert result["finish_reason"] == "tool_calls"
    assert [delta["index"] for partial in partials for delta in partial.get("tool_calls", [])] == [0]


@pytest.mark.parametrize("parallel", [True, False])
def test_the_answer_ends_with_its_first_call_where_calls_are_not_parallel(port: Port, parallel: bool) -> None:
    result, _ = generate(port, "twice", tools=[ADD], parallel_tool_calls=parallel)
    assert called(result) == [("add", {"a": 2, "b": 40}), ("add", {"a": 7, "b": 9})][: 2 if parallel else 1]
    assert result["finish_reason"] == "tool_calls"
    whole = port.call("generate", model=path_of(port, "twice"), prompt="x\n", settings={"temperature": 0})
    assert (result["stats"]["output_tokens"] == whole["stats"]["output_tokens"]) is parallel


def test_beside_a_response_format_the_answer_is_one_call_or_of_that_format(port: Port) -> None:
    schema = {"type": "object", "properties": {"sum": {"enum": [3, 4]}}, "required": ["sum"]}
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": "sum", "schema": {**schema, "additionalProperties": False}},
    }
    result, _ = generate(port, "twice", tools=[ADD], response_format=wanted)
    assert (called(result), result["text"]) == ([("add", {"a": 2, "b": 40})], "")
    assert result["finish_reason"] == "tool_calls"
    result, partials = generate(port, "object", tools=[ADD], response_format=wanted)
    assert (result["text"], result["tool_calls"], result["finish_reason"]) == ('{"sum": 4}', None, "stop")
    assert "".join(partial["text"] for partial in partials) == result["text"]


def test_tools_go_with_no_response_format_but_json(port: Port) -> None:
    result, _ = generate(port, "twice", tools=[ADD], response_format={"type": "grammar", "grammar": 'root ::= "x"'})
    assert (result["error"]["code"], result["error"]["details"]["fields"]) == (
        "unsupported_option",
        ["response_format"],
    )
