"""Grammars with something around them: a tool call's fixed text, or reasoning that comes before all else.

Above it: `backends.huggingface.guidance`, whose grammars go inside. A grammar here is llguidance's JSON (1.9,
`TopLevelGrammar`), the first of its `grammars` being the one to begin with. A special token cannot be matched by its
spelling.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backends.base import ForcedCall, JsonPart, OneOf, ReasoningFrame, TextUpTo

SpecialTokens = Mapping[str, int]
"""Special tokens by their spelling."""

_WHITE = r"/[ \n]{0,4}/"


def call_grammar(
    calls: Sequence[ForcedCall], json_grammar: Callable[[dict[str, Any]], str], specials: SpecialTokens
) -> str:
    """One of some calls; json_grammar makes the grammar of a schema."""
    rules: list[str] = []
    named: dict[str, dict[str, Any]] = {}

    def spelled(part: str | JsonPart | TextUpTo | OneOf) -> str:
        match part:
            case JsonPart():
                name = f"json{len(named)}"
                named[name] = json.loads(json_grammar(part.schema))["grammars"][0]
                return f"@{name}"
            case TextUpTo():
                rules.append(_up_to(part.end, f"text{len(rules)}", specials))
                return f"text{len(rules) - 1}"
            case OneOf():
                return f"({' | '.join(_literal(text, specials) for text in part.texts)})"
        return _literal(part, specials)

    choices = [" ".join(map(spelled, call.parts)) for call in calls]
    return _whole("\n".join([f"start: {' | '.join(choices)}", *rules]), named)


def after_reasoning(grammar: str, reasoning: ReasoningFrame, specials: SpecialTokens) -> str:
    """A grammar behind free text, which ends with the first end mark."""
    thought = f"thought {_WHITE}"
    if reasoning.start is not None:
        thought = f"({_literal(reasoning.start, specials)} {thought})?"
    rule = _up_to(reasoning.end, "thought", specials)
    return _before(grammar, f"start: {thought} @answer\n{rule}", "answer")


def after_space(grammar: str) -> str:
    """The same with a space allowed in front: the first word's token has one, and it is taken off the text.

    Without it "\u2581yes" could not begin an answer that matches "yes", and some vocabularies spell it in no other way.
    """
    return _before(grammar, 'start: " "? @text', "text")


def _before(grammar: str, lark: str, name: str) -> str:
    """A grammar that begins with `lark`, in which the one that was first goes by `name`."""
    whole = json.loads(grammar)
    whole["grammars"][0]["name"] = name
    whole["grammars"].insert(0, {"lark_grammar": lark})
    return json.dumps(whole)


def _whole(lark: str, named: Mapping[str, dict[str, Any]]) -> str:
    return json.dumps({"grammars": [{"lark_grammar": lark}, *({**part, "name": name} for name, part in named.items())]})


def _up_to(end: str, name: str, specials: SpecialTokens) -> str:
    """A rule for any text up to and with the first `end`."""
    if end in specials:
        return f"{name}: /(?s:.*)/ <[{specials[end]}]>"
    return f"{name}[suffix={_quoted(end)}]: /(?s:.*)/"


def _literal(text: str, specials: SpecialTokens) -> str:
    """A text in Lark's words, the special tokens in it by their numbers."""
    found = [(text.find(mark), mark) for mark in specials if mark in text]
    if not found:
        return _quoted(text) if text else '""'
    place, mark = min(found, key=lambda one: (one[0], -len(one[1])))
    before, after = text[:place], text[place + len(mark) :]
    parts = [_quoted(before)] if before else []
    return " ".join([*parts, f"<[{specials[mark]}]>", *([_literal(after, specials)] if after else [])])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
