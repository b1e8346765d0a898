"""Grammars with something around them: a tool call's fixed text, or reasoning that comes before all else.

Above it: `backends.llamacpp.backend`. Below it: `backends.llamacpp.constraint`, whose grammars go inside. GBNF is that
of llama.cpp's `grammars/README.md`.
"""

import re
from collections.abc import Iterator, Sequence

from backends.base import ForcedCall, GenerationRequest, JsonPart, OneOf, ReasoningFrame, TextUpTo
from backends.llamacpp.constraint import grammar_of, schema_rules

_ROOT = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*|(?<![\w-])root(?![\w-])')
"""Finds the rule `root`, and passes over what may hold the word: literals, character classes, comments."""


def grammar_for(request: GenerationRequest) -> str | None:
    """The grammar of a whole answer, None for free text.

    Raises HostError `invalid_request` for a schema that cannot be converted, `unsupported_option` for a regex.
    """
    grammar = grammar_of(request.response_format)
    if request.forced_calls:
        grammar = call_grammar(request.choices)
    if grammar is None or request.reasoning is None:
        return grammar
    return after_reasoning(grammar, request.reasoning)


def call_grammar(calls: Sequence[ForcedCall]) -> str:
    """One of some calls. Keywords of their schemas that the engine does not know have no effect."""
    parts = [part for call in calls for part in call.parts]
    schemas = [part.schema for part in parts if isinstance(part, JsonPart)]
    names, rules = schema_rules(schemas)
    following = iter(names)
    ends = list(dict.fromkeys(part.end for part in parts if isinstance(part, TextUpTo)))

    def spelled(part: str | JsonPart | TextUpTo | OneOf) -> str:
        match part:
            case JsonPart():
                return next(following)
            case TextUpTo():
                return f"text{ends.index(part.end)}x0"
            case OneOf():
                return f"({' | '.join(map(_literal, part.texts))})"
        return _literal(part)

    choices = [" ".join(map(spelled, call.parts)) for call in calls]
    texts = [rule for number, end in enumerate(ends) for rule in _up_to(end, f"text{number}x")]
    return "\n".join([f"root ::= {' | '.join(choices)}", *texts, rules])


def after_reasoning(grammar: str, reasoning: ReasoningFrame) -> str:
    """A grammar behind free text, which ends with the first end mark."""
    answer = _ROOT.sub(lambda found: "answer" if found[0] == "root" else found[0], grammar)
    thought = "thought0 [ \\n]{0,4}"
    if reasoning.start is not None:
        thought = f"({_literal(reasoning.start)} {thought})?"
    return "\n".join([f"root ::= {thought} answer", *_up_to(reasoning.end, "thought"), answer])


def _up_to(end: str, rule: str) -> Iterator[str]:
    """Rules for any text up to and with the first `end`, the first of them `rule` with 0; N characters of it have come.

    Where a character does not go on with `end` it may begin it: right for marks whose first character comes once.
    """
    for place, character in enumerate(end):
        behind = f" {rule}{place + 1}" if place + 1 < len(end) else ""
        choices = [f"[{_escaped(character)}]{behind}"]
        if place:
            choices.append(f"[{_escaped(end[0])}] {rule}1")
        others = "".join(map(_escaped, dict.fromkeys([character, end[0]])))
        yield f"{rule}{place} ::= {' | '.join([*choices, f'[^{others}] {rule}0'])}"


def _literal(text: str) -> str:
    return '"' + "".join(_escaped(character) if character in '"\\\n\r\t' else character for character in text) + '"'


def _escaped(character: str) -> str:
    return f"\\U{ord(character):08X}"
