"""How models mark their reasoning and their tool calls: one row a dialect, found by the chat template's own source.

Above it: `backends.answer.plan`. Below it: `backends.answer.calls`, which reads what stands between the marks.
A template that tells of tools in a form that is in no row is taken for the last one, bare JSON.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backends.answer.calls import (
    Call,
    read_channel_call,
    read_deepseek_calls,
    read_function_call,
    read_gemma_calls,
    read_glm_call,
    read_json_calls,
    read_kimi_calls,
    read_mistral_calls,
    read_param_call,
    read_python_calls,
    read_xml_call,
)


@dataclass(frozen=True, slots=True)
class ReasoningForm:
    """The marks around reasoning."""

    start: str
    end: str


@dataclass(frozen=True, slots=True)
class CallForm:
    """How calls are written: a template that has all of `evidence` writes them so.

    starts and ends are the marks around them; without an end mark they reach to the next start, or to the answer's
    end. With `bare`, JSON at the answer's very beginning is one too. inner are marks between, which are special tokens.
    forced is one call with `{name}` and `{arguments}` in it, which are JSON, or texts where `element` says what stands
    before (with `{name}`) and behind each; None where they are neither.
    """

    evidence: tuple[str, ...]
    starts: tuple[str, ...]
    ends: tuple[str, ...]
    read: Callable[[str], list[Call]]
    forced: str | None
    inner: tuple[str, ...] = ()
    bare: bool = False
    element: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a model's answers are made of. dropped are marks that mean nothing to a reader, inner parts of marks."""

    reasoning: ReasoningForm | None
    calls: CallForm | None
    dropped: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()

    def markers(self, with_calls: bool) -> frozenset[str]:
        """Every mark that may be a special token, those of calls where there may be some."""
        reasoning = (self.reasoning.start, self.reasoning.end) if self.reasoning else ()
        calls = marks_of(self.calls) if with_calls and self.calls else ()
        return frozenset((*reasoning, *calls, *self.dropped, *self.inner))


CHANNEL = "<|channel|>"
CHANNEL_TOKENS = (CHANNEL, "<|message|>", "<|constrain|>", "<|start|>")
CHANNEL_REASONING = ReasoningForm("<|channel|>analysis<|message|>", "<|end|>")
CHANNEL_MARKS = (
    "<|start|>assistant",
    "<|channel|>final<|message|>",
    "<|channel|>commentary<|message|>",
    "<|end|>",
    "<|return|>",
)
"""OpenAI's harmony format (gpt-oss), in which every part of an answer names its channel."""

REASONING_FORMS = (
    ReasoningForm("<think>", "</think>"),
    ReasoningForm("<thinking>", "</thinking>"),
    ReasoningForm("<reasoning>", "</reasoning>"),
    ReasoningForm("<thought>", "</thought>"),
    ReasoningForm("<seed:think>", "</seed:think>"),
    ReasoningForm("[THINK]", "[/THINK]"),
    ReasoningForm("<|START_THINKING|>", "<|END_THINKING|>"),
    ReasoningForm("<|begin_of_thought|>", "<|end_of_thought|>"),
    ReasoningForm("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ReasoningForm("<|channel>thought", "<channel|>"),
)

CALL_FORMS = (
    CallForm(  # gpt-oss
        evidence=(CHANNEL, "functions."),
        starts=("<|channel|>commentary to=", "<|start|>assistant to="),
        ends=("<|call|>", "<|end|>"),
        read=read_channel_call,
        forced="<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{arguments}",
        inner=CHANNEL_TOKENS,
    ),
    CallForm(  # Gemma 4
        evidence=("<|tool_call>call:",),
        starts=("<|tool_call>",),
        ends=("<tool_call|>",),
        read=read_gemma_calls,
        forced=None,
        inner=('<|"|>',),
    ),
    CallForm(  # Kimi K2
        evidence=("<|tool_calls_section_begin|>",),
        starts=("<|tool_calls_section_begin|>",),
        ends=("<|tool_calls_section_end|>",),
        read=read_kimi_calls,
        forced="<|tool_calls_section_begin|><|tool_call_begin|>functions.{name}:0<|tool_call_argument_begin|>{arguments}"
        "<|tool_call_end|><|tool_calls_section_end|>",
        inner=("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
    ),
    CallForm(  # Apriel, MiniMax M1
        evidence=("<tool_calls>",),
        starts=("<tool_calls>",),
        ends=("</tool_calls>",),
        read=read_json_calls,
        forced='<tool_calls>[{"name": "{name}", "arguments": {arguments}}]</tool_calls>',
    ),
    CallForm(  # Nemotron
        evidence=("<TOOLCALL>",),
        starts=("<TOOLCALL>",),
        ends=("</TOOLCALL>",),
        read=read_json_calls,
        forced='<TOOLCALL>[{"name": "{name}", "arguments": {arguments}}]</TOOLCALL>',
    ),
    CallForm(  # Seed-OSS
        evidence=("<seed:tool_call>",),
        starts=("<seed:tool_call>",),
        ends=("</seed:tool_call>",),
        read=read_xml_call,
        forced="<seed:tool_call>\n<function={name}>\n{arguments}</function>\n</seed:tool_call>",
        element=("<parameter={name}>", "</parameter>"),
    ),
    CallForm(  # MiniCPM 5
        evidence=("<function name=", "<param name="),
        starts=("<function name=",),
        ends=("</function>",),
        read=read_param_call,
        forced='<function name="{name}">{arguments}</function>',
        element=('<param name="{name}">', "</param>"),
    ),
    CallForm(  # Qwen3-Coder
        evidence=("<tool_call>", "<function=", "<parameter="),
        starts=("<tool_call>",),
        ends=("</tool_call>",),
        read=read_xml_call,
        forced="<tool_call>\n<function={name}>\n{arguments}</function>\n</tool_call>",
        element=("<parameter={name}>\n", "\n</parameter>"),
    ),
    CallForm(  # GLM-4.5
        evidence=("<tool_call>", "<arg_key>"),
        starts=("<tool_call>",),
        ends=("</tool_call>",),
        read=read_glm_call,
        forced="<tool_call>{name}\n{arguments}</tool_call>",
        element=("<arg_key>{name}</arg_key>\n<arg_value>", "</arg_value>"),
        inner=("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    ),
    CallForm(  # Hermes, Qwen2.5, Qwen3, Granite 4
        evidence=("<tool_call>",),
        starts=("<tool_call>",),
        ends=("</tool_call>",),
        read=read_json_calls,
        forced='<tool_call>\n{"name": "{name}", "arguments": {arguments}}\n</tool_call>',
    ),
    CallForm(  # Mistral from v11 on
        evidence=("[TOOL_CALLS]", "[ARGS]"),
        starts=("[TOOL_CALLS]",),
        ends=(),
        read=read_mistral_calls,
        forced="[TOOL_CALLS]{name}[ARGS]{arguments}",
        inner=("[ARGS]", "[CALL_ID]"),
    ),
    CallForm(  # Mistral until v7
        evidence=("[TOOL_CALLS]",),
        starts=("[TOOL_CALLS]",),
        ends=(),
        read=read_mistral_calls,
        forced='[TOOL_CALLS][{"name": "{name}", "arguments": {arguments}}]',
    ),
    CallForm(  # DeepSeek V3 and R1
        evidence=("<｜tool▁calls▁begin｜>", "```json"),
        starts=("<｜tool▁calls▁begin｜>",),
        ends=("<｜tool▁calls▁end｜>",),
        read=read_deepseek_calls,
        forced="<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```"
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        inner=("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"),
    ),
    CallForm(  # DeepSeek V3.1
        evidence=("<｜tool▁calls▁begin｜>",),
        starts=("<｜tool▁calls▁begin｜>",),
        ends=("<｜tool▁calls▁end｜>",),
        read=read_deepseek_calls,
        forced="<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}"
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        inner=("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"),
    ),
    CallForm(  # Command R7B and A
        evidence=("<|START_ACTION|>",),
        starts=("<|START_ACTION|>",),
        ends=("<|END_ACTION|>",),
        read=read_json_calls,
        forced='<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "{name}", "parameters": {arguments}}\n]'
        "<|END_ACTION|>",
    ),
    CallForm(  # Phi-4-mini, Granite 3
        evidence=("<|tool_call|>",),
        starts=("<|tool_call|>",),
        ends=("<|/tool_call|>",),
        read=read_json_calls,
        forced='<|tool_call|>[{"name": "{name}", "arguments": {arguments}}]',
    ),
    CallForm(  # LFM2
        evidence=("<|tool_call_start|>",),
        starts=("<|tool_call_start|>",),
        ends=("<|tool_call_end|>",),
        read=read_python_calls,
        forced=None,
    ),
    CallForm(  # Functionary v3.1, Llama 3.1 with functions of one's own
        evidence=("<function=", "</function>"),
        starts=("<function=",),
        ends=("</function>",),
        read=read_function_call,
        forced="<function={name}>{arguments}</function>",
    ),
    CallForm(  # Llama 3.x, and templates of no known form
        evidence=(),
        starts=("<|python_tag|>",),
        ends=(),
        read=read_json_calls,
        forced='{"name": "{name}", "parameters": {arguments}}',
        bare=True,
    ),
)


def marks_of(form: CallForm) -> frozenset[str]:
    """Every mark of a form that may be a special token."""
    return frozenset((*form.starts, *form.ends, *form.inner))


MARKERS = frozenset(mark for form in REASONING_FORMS for mark in (form.start, form.end)).union(
    *map(marks_of, CALL_FORMS), CHANNEL_MARKS
)
"""All marks; a backend tells in `ModelInfo.markers` which of them its vocabulary has as one token."""


def find_dialect(source: str, takes_tools: bool, markers: frozenset[str]) -> Dialect | None:
    """The dialect of a model with this chat template; None if it neither thinks nor calls tools in a known way.

    A template may leave marks out; then they are those that the vocabulary has a token for.
    """
    calls = _call_form(source, markers) if takes_tools else None
    if CHANNEL in source:
        return Dialect(CHANNEL_REASONING, calls, CHANNEL_MARKS, CHANNEL_TOKENS)
    reasoning = _first(lambda mark: mark in source) or _first(markers.__contains__)
    return Dialect(reasoning, calls) if reasoning or calls else None


def _call_form(source: str, markers: frozenset[str]) -> CallForm:
    *marked, bare = CALL_FORMS
    named = (form for form in marked if all(mark in source for mark in form.evidence))
    spelled = (form for form in marked if form.starts[0] in markers)
    return next(named, None) or next(spelled, bare)


def _first(is_there: Callable[[str], bool]) -> ReasoningForm | None:
    forms: Sequence[ReasoningForm] = [form for form in REASONING_FORMS if is_there(form.end)]
    return forms[0] if forms else None
