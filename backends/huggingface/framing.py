"""Grammars with something around them: a tool call's fixed text, or reasoning that comes before all else.

Above it: `backends.huggingface.guidance`, whose grammars go inside. A grammar here is llguidance's JSON (1.9,
`TopLevelGrammar`), the first of its `grammars` being the one to begin with. A special token cannot be matched by its
spelling.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from backends.base import FramedJson, ReasoningFrame

SpecialTokens = Mapping[str, int]
"""Special tokens by their spelling."""

_WHITE = r"/[ \n]{0,4}/"


def call_grammar(calls: Sequence[FramedJson], arguments: Sequence[str], specials: SpecialTokens) -> str:
    """One of some calls; arguments are the grammars of their schemas, in the same order."""
    parts = [json.loads(grammar)["grammars"][0] for grammar in arguments]
    choices = [
        f"{_literal(call.before, specials)} @arguments{at} {_literal(call.after, specials)}"
        for at, call in enumerate(calls)
    ]
    return _whole(f"start: {' | '.join(choices)}", {f"arguments{at}": part for at, part in enumerate(parts)})


def after_reasoning(grammar: str, reasoning: ReasoningFrame, specials: SpecialTokens) -> str:
    """A grammar behind free text, which ends with the first end mark."""
    thought = f"thought {_WHITE}"
    if reasoning.start is not None:
        thought = f"({_literal(reasoning.start, specials)} {thought})?"
    if reasoning.end in specials:
        rule = f"thought: /(?s:.*)/ <[{specials[reasoning.end]}]>"
    else:
        rule = f"thought[suffix={_quoted(reasoning.end)}]: /(?s:.*)/"
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
