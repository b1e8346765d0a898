"""Reasoning, text and tool calls out of raw text: every dialect, however the text is cut."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.answer.dialects import CALL_FORMS, REASONING_FORMS, CallForm, Dialect, find_dialect
from backends.answer.reader import AnswerPiece, AnswerReader

SCHEMAS: dict[str, dict[str, Any]] = {
    "add": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    "say": {"type": "object", "properties": {"text": {"type": "string"}}},
}
THINK = REASONING_FORMS[0]
HERMES = find_dialect("<think></think><tool_call>", True, frozenset())
CHANNELS = find_dialect("<|channel|>functions.", True, frozenset())


def read(
    dialect: Dialect | None,
    text: str,
    pieces: int = 0,
    *,
    tools: bool = True,
    in_reasoning: bool = False,
    most: int | None = None,
) -> tuple[str, str, list[tuple[str, Any]]]:
    """Text, reasoning and calls of a raw answer that comes in pieces of so many characters, or whole."""
    assert dialect
    reader = AnswerReader(dialect, SCHEMAS if tools else {}, in_reasoning, most)
    parts = [text[at : at + pieces] for at in range(0, len(text), pieces)] if pieces else [text]
    told = [piece for part in parts for piece in reader.feed(part)] + reader.finish()
    return joined(told)


def joined(told: list[AnswerPiece]) -> tuple[str, str, list[tuple[str, Any]]]:
    calls = [call for piece in told for call in piece.calls]
    return (
        "".join(piece.text for piece in told),
        "".join(piece.reasoning for piece in told),
        [(call.function.name, json.loads(call.function.arguments)) for call in calls],
    )


def every_cut(text: str) -> Iterator[int]:
    yield from (0, 1, 2, 3, 5, 7, 11)


ADD = ("add", {"a": 1, "b": 2})
SAY = ("say", {"text": "12"})
ANSWERS: list[tuple[str, str, str, list[tuple[str, Any]]]] = [
    ("<tool_call>", '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>', "", [ADD]),
    (
        "<tool_call>",
        'Let me see.\n<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>\n'
        '<tool_call>\n{"name": "say", "arguments": "{\\"text\\": \\"12\\"}"}\n</tool_call>',
        "Let me see.",
        [ADD, SAY],
    ),
    (
        "<tool_call><function=<parameter=",
        "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n2\n</parameter>\n</function>\n"
        "</tool_call>\n<tool_call>\n<function=say>\n<parameter=text>\n12\n</parameter>\n</function>\n</tool_call>",
        "",
        [ADD, SAY],
    ),
    (
        "<tool_call><arg_key>",
        "<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n<arg_key>b</arg_key>\n<arg_value>2</arg_value>"
        "\n</tool_call><tool_call>say\n<arg_key>text</arg_key>\n<arg_value>12</arg_value>\n</tool_call>",
        "",
        [ADD, SAY],
    ),
    (
        "[TOOL_CALLS]",
        '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1, "b": 2}}, {"name": "say", "arguments": {"text": "12"}}]',
        "",
        [ADD, SAY],
    ),
    (
        "[TOOL_CALLS][ARGS]",
        'Yes.[TOOL_CALLS]add[ARGS]{"a": 1, "b": 2}[TOOL_CALLS]say{"text": "12"}',
        "Yes.",
        [ADD, SAY],
    ),
    ("[TOOL_CALLS][ARGS]", '[TOOL_CALLS]add[CALL_ID]abc123def[ARGS]{"a": 1, "b": 2}', "", [ADD]),
    ("<|python_tag|>", '<|python_tag|>{"name": "add", "parameters": {"a": 1, "b": 2}}', "", [ADD]),
    ("nothing", '\n{"type": "function", "function": {"name": "add", "parameters": {"a": 1, "b": 2}}}', "", [ADD]),
    (
        "nothing",
        '{"name": "add", "parameters": {"a": 1, "b": 2}}; {"name": "say", "parameters": {"text": "12"}}',
        "",
        [ADD, SAY],
    ),
    (
        "<｜tool▁calls▁begin｜>```json",
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{"a": 1, "b": 2}\n```'
        '<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>say\n```json\n{"text": "12"}\n```'
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "",
        [ADD, SAY],
    ),
    (
        "<｜tool▁calls▁begin｜>",
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{"a": 1, "b": 2}<｜tool▁call▁end｜>'
        "<｜tool▁calls▁end｜>",
        "",
        [ADD],
    ),
    (
        "<|START_ACTION|>",
        '<|START_ACTION|>[\n {"tool_call_id": "0", "tool_name": "add", "parameters": {"a": 1, "b": 2}}\n]'
        "<|END_ACTION|>",
        "",
        [ADD],
    ),
    ("<|tool_call|>", '<|tool_call|>[{"name": "add", "arguments": {"a": 1, "b": 2}}]<|/tool_call|>', "", [ADD]),
    ("<|tool_call_start|>", '<|tool_call_start|>[add(a=1, b=2), say(text="12")]<|tool_call_end|>', "", [ADD, SAY]),
    (
        "<|tool_call>call:",
        '<|tool_call>call:add{a:1,b:2}<tool_call|><|tool_call>call:say{text:<|"|>12<|"|>}<tool_call|>',
        "",
        [ADD, SAY],
    ),
    (
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>"
        '{"a": 1, "b": 2}<|tool_call_end|><|tool_call_begin|>functions.say:1<|tool_call_argument_begin|>'
        '{"text": "12"}<|tool_call_end|><|tool_calls_section_end|>',
        "",
        [ADD, SAY],
    ),
    ("<tool_calls>", '<tool_calls>[{"name": "add", "arguments": {"a": 1, "b": 2}}]</tool_calls>', "", [ADD]),
    ("<TOOLCALL>", '<TOOLCALL>[{"name": "add", "arguments": {"a": 1, "b": 2}}]</TOOLCALL>', "", [ADD]),
    (
        "<seed:tool_call>",
        "<seed:tool_call>\n<function=add>\n<parameter=a>1</parameter>\n<parameter=b>2</parameter>\n</function>\n"
        "</seed:tool_call>",
        "",
        [ADD],
    ),
    (
        "<function name= <param name=",
        'So <function name="add"><param name="a">1</param><param name="b">2</param></function>\n'
        '<function name="say"><param name="text"><![CDATA[12]]></param></function>',
        "So",
        [ADD, SAY],
    ),
    ("<function=</function>", 'So: <function=add>{"a": 1, "b": 2}</function>', "So:", [ADD]),
    (
        "<|channel|>functions.",
        "<|channel|>commentary<|message|>I will add.<|end|><|start|>assistant<|channel|>commentary to=functions.add "
        '<|constrain|>json<|message|>{"a": 1, "b": 2}<|call|>',
        "I will add.",
        [ADD],
    ),
    (
        "<|channel|>functions.",
        '<|start|>assistant to=functions.say<|channel|>commentary json<|message|>{"text": "12"}',
        "",
        [SAY],
    ),
]


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 7])
@pytest.mark.parametrize(("template", "raw", "text", "calls"), ANSWERS)
def test_calls_are_read_in_every_dialect_however_the_text_is_cut(
    template: str, raw: str, text: str, calls: list[tuple[str, Any]], cut: int
) -> None:
    assert read(find_dialect(template, True, frozenset()), raw, cut) == (text, "", calls)


@pytest.mark.parametrize("form", CALL_FORMS, ids=lambda form: form.starts[0])
def test_every_form_finds_itself_and_reads_what_is_forced_in_it(form: CallForm) -> None:
    dialect = find_dialect("".join(form.evidence), True, frozenset())
    assert dialect
    assert dialect.calls is form
    if form.forced:
        before, after = form.element or ("", "")
        elements = "".join(f"{before.replace('{name}', name)}{value}{after}\n" for name, value in ADD[1].items())
        arguments = elements if form.element else '{"a": 1, "b": 2}'
        raw = form.forced.replace("{name}", "add").replace("{arguments}", arguments)
        assert read(dialect, raw, 1) == ("", "", [ADD])


@pytest.mark.parametrize(
    "raw",
    [
        "<tool_call>\n<function=say>\n<parameter=text>\nas far as it w",
        "<tool_call>\n<function=say>\n<parameter=text>\n1\n</parameter>\n<parameter=oth",
        "<tool_call>\n<function=say>\n<parameter=text>\n1\n</parameter>\n",
        "<tool_call>\n<function=sa",
    ],
)
def test_what_is_cut_off_without_quotes_is_no_call(raw: str) -> None:
    assert read(find_dialect("<tool_call><function=<parameter=", True, frozenset()), raw, 1) == (raw, "", [])


@pytest.mark.parametrize("cut", [0, 1, 3])
@pytest.mark.parametrize("form", REASONING_FORMS, ids=lambda form: form.start)
def test_reasoning_is_told_apart_in_every_pair_of_marks(form: Any, cut: int) -> None:
    dialect = find_dialect(f"{form.start} {form.end}", False, frozenset())
    raw = f"{form.start}\nIs 1 < 2?\n\nYes.\n{form.end}\n\nIt is:\n  1 < 2\n"
    assert read(dialect, raw, cut) == ("It is:\n  1 < 2\n", "Is 1 < 2?\n\nYes.", [])


def test_reasoning_that_the_prompt_began_has_no_mark_of_its_own() -> None:
    assert read(HERMES, "Hm.\n</think>\n\nHello", 1, in_reasoning=True) == ("Hello", "Hm.", [])


def test_a_model_that_begins_anew_what_the_prompt_has_begun_shows_no_mark() -> None:
    for cut in every_cut(""):
        raw = "<think>\nfoo bar\n</think>\nResult 8."
        assert read(HERMES, raw, cut, in_reasoning=True) == ("Result 8.", "foo bar", [])
        assert read(HERMES, "\n" + raw, cut, in_reasoning=True) == ("Result 8.", "foo bar", [])
        raw = "<think>a <think>b c</think>Final."
        assert read(HERMES, raw, cut) == ("Final.", "a <think>b c", [])


@pytest.mark.parametrize("quote", ["`", '"', "'"])
def test_a_mark_in_quotation_marks_is_only_spoken_of(quote: str) -> None:
    told = f"Use {quote}<think>{quote} and {quote}</think>{quote}, ok?"
    for cut in every_cut(told):
        assert read(HERMES, told, cut) == (told, "", [])
        assert read(HERMES, f"<think>{told}</think>\n\nYes.", cut) == ("Yes.", told, [])
        said = f"He says {quote}Hm{quote}"
        assert read(HERMES, f"<think>{said}</think>Yes.", cut) == ("Yes.", said, [])
        assert read(HERMES, f"{said}<think>Hm.</think>Yes.", cut) == (f"{said}Yes.", "Hm.", [])
        assert read(HERMES, f"{quote}<think>", cut) == (quote, "", [])


def test_blocks_of_reasoning_are_kept_apart() -> None:
    raw = "<think>\nFirst I look.\n</think>\n\nA.\n\n<think>\nThen I check.\n</think>\n\nB."
    for cut in every_cut(raw):
        assert read(HERMES, raw, cut) == ("A.\n\nB.", "First I look.\n\nThen I check.", [])


def test_reasoning_that_does_not_end_is_reasoning() -> None:
    assert read(HERMES, "<think>Hm, <tool_call> ", 1) == ("", "Hm, <tool_call> ", [])


def test_channels_are_reasoning_and_text() -> None:
    raw = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hello  there\n"
    for cut in every_cut(raw):
        assert read(CHANNELS, raw, cut) == ("Hello  there\n", "Hm.", [])


def test_text_between_calls_is_kept_apart() -> None:
    raw = 'One \n<tool_call>{"name": "add"}</tool_call>\nTwo <tool_call>{"name": "add"}</tool_call>'
    for cut in every_cut(raw):
        assert read(HERMES, raw, cut) == ("One \nTwo", "", [("add", {}), ("add", {})])


@pytest.mark.parametrize(
    "raw",
    [
        "<tool_call>not JSON</tool_call>",
        "Before \n<tool_call>\nnot JSON\n</tool_call>\n after ",
        '<tool_call>{"name": "add", "arguments": 5}</tool_call>',
        '<tool_call>{"name": "add", "arguments": "not JSON"}</tool_call>',
        '<tool_call>{"name": "add", "arguments": {"a": NaN}}</tool_call>',
        '<tool_call>{"arguments": {}}</tool_call>',
        '<tool_call>{"name": 5}</tool_call>',
        '<tool_call>{"name": "add", "arguments": {"a"',
        "<tool_call></tool_call>",
        "a <tool",
        "1 < 2 and <tool_calls> too",
        "<tool_call>" + "[" * 100_000,
    ],
)
def test_what_is_no_call_is_text_and_nothing_of_it_is_lost(raw: str) -> None:
    for cut in every_cut(raw) if len(raw) < 1000 else (0, 997):
        assert read(HERMES, raw, cut) == (raw, "", [])


@pytest.mark.parametrize("template", [template for template, *_ in ANSWERS])
def test_nonsense_between_the_marks_is_text_in_every_dialect(template: str) -> None:
    dialect = find_dialect(template, True, frozenset())
    assert dialect
    assert dialect.calls
    start, end = dialect.calls.starts[0], "".join(dialect.calls.ends[:1])
    for body in ("", "no sense", "{}", "[]", "[1]", "add(1)", "<function=", "<arg_key>", "\0"):
        assert read(dialect, f"{start}{body}{end}", 1) == (f"{start}{body}{end}", "", [])


def test_json_that_names_no_tool_is_an_answer() -> None:
    raw = '{"name": "Bob", "parameters": {"age": 7}}'
    assert read(find_dialect("", True, frozenset()), raw, 1) == (raw, "", [])


def test_without_tools_calls_are_text() -> None:
    raw = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'
    assert read(HERMES, raw, 1, tools=False) == (raw, "", [])


def test_after_the_most_calls_that_may_be_nothing_comes() -> None:
    one = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'
    assert read(HERMES, f"{one}{one} and more", 1, most=1) == ("", "", [("add", {})])


def test_text_is_held_back_only_while_it_may_be_a_mark() -> None:
    assert HERMES
    reader = AnswerReader(HERMES, SCHEMAS, in_reasoning=False)
    assert reader.feed("a <") == [AnswerPiece("a")]
    assert reader.feed("to") == []
    assert reader.feed("p") == [AnswerPiece(" <top")]


def test_ids_suit_every_template() -> None:
    assert HERMES
    reader = AnswerReader(HERMES, SCHEMAS, in_reasoning=False)
    pieces = reader.feed('<tool_call>{"name": "add"}</tool_call><tool_call>{"name": "add"}</tool_call>')
    ids = [call.id for piece in pieces for call in piece.calls]
    assert len(set(ids)) == 2
    assert all(re.fullmatch("[a-z0-9]{9}", one) for one in ids)


MARKS = [
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    '{"name": "add", "arguments": {}}',
    "<",
    ">",
    " ",
    "\n",
    "x",
    "`",
    '"',
]


@given(st.lists(st.sampled_from(MARKS), max_size=14), st.lists(st.integers(0, 60), max_size=6), st.booleans())
def test_where_the_text_is_cut_makes_no_difference(parts: list[str], cuts: list[int], in_reasoning: bool) -> None:
    assert HERMES
    raw = "".join(parts)
    reader = AnswerReader(HERMES, SCHEMAS, in_reasoning)
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    told = [piece for a, b in itertools.pairwise(places) for piece in reader.feed(raw[a:b])]
    assert joined(told + reader.finish()) == read(HERMES, raw, in_reasoning=in_reasoning)


@pytest.mark.parametrize(
    ("tokens", "in_reasoning", "count"),
    [
        (["<think>", "Hm", ".", "</think>", "Yes"], False, 2),
        (["Hm", ".", "</think>", "\n", "Yes"], True, 2),
        (["<", "think", ">", "Hm", ".", "</", "think", ">", "\n\n", "Yes"], False, 2),
        (["<think>Hm", ".</think>", "Yes"], False, 1),
        (["<think>", "Hm", ".</think>Yes"], False, 2),
        (["<think>", "\n", "Hm", "\n", "</think>", "Yes"], False, 3),
        (["<think>", "a", " <", "b", "</think>", "<think>", "c", "</think>", "d"], False, 4),
        (["<think>", "Hm", "", "."], False, 3),
        (["<think>", "Hm", "", "", "é", "</think>", "Yes"], False, 4),
        (["Yes", "", "é", "<think>", "Hm", "</think>"], False, 1),
        (["Say", " `", "<think>", "`", " twice"], False, 0),
        (["<think>", "Hm", "</think>", '<tool_call>{"name": "add"}', "</tool_call>"], False, 1),
        (["Yes"], False, 0),
    ],
)
def test_a_token_is_of_the_reasoning_where_it_begins_in_it(tokens: list[str], in_reasoning: bool, count: int) -> None:
    assert HERMES
    reader = AnswerReader(HERMES, SCHEMAS, in_reasoning)
    for token in tokens:
        reader.feed(token, 1)
    reader.finish()
    assert reader.reasoning_tokens == count


def test_a_model_that_neither_thinks_nor_calls_has_no_dialect() -> None:
    assert find_dialect("{{ messages }}", False, frozenset()) is None


def test_marks_of_the_vocabulary_tell_of_calls_where_the_template_does_not() -> None:
    dialect = find_dialect("{{ tools }}", True, frozenset({"<|tool_call_start|>"}))
    assert read(dialect, "<|tool_call_start|>[add(a=1, b=2)]<|tool_call_end|>") == ("", "", [ADD])


def test_texts_of_gemma_may_hold_what_looks_like_a_key() -> None:
    raw = '<|tool_call>call:say{text:<|"|>a, {b: "c"}<|"|>,more:[{x:<|"|><|"|>}]}<tool_call|>'
    dialect = find_dialect("<|tool_call>call:", True, frozenset())
    assert read(dialect, raw, 1) == ("", "", [("say", {"text": 'a, {b: "c"}', "more": [{"x": ""}]})])


def test_marks_of_the_vocabulary_tell_of_reasoning_where_the_template_does_not() -> None:
    dialect = find_dialect("{{ messages }}", False, frozenset({"<think>", "</think>"}))
    assert dialect
    assert dialect.reasoning == THINK
