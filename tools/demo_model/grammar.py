"""The phrasing grammar of the data files: `(a|b)` is a choice, `(a|)` is optional, `<slot>` is a shared choice.

Sans-I/O: `corpus.py` reads the files and calls this. A parsed template can be sampled (training) or
enumerated completely (the test that no held-out question can be produced).
"""

from __future__ import annotations

import itertools
import random
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

TOKEN = re.compile(r"[(|)]|<[a-z_]+>|[^(|)<]+|<")


class GrammarError(ValueError):
    """A template has an unknown slot or unbalanced brackets."""


@dataclass(frozen=True)
class Choice:
    """One of several sequences; a plain text is a sequence of itself."""

    options: tuple[tuple[str | Choice, ...], ...]

    def sample(self, rng: random.Random) -> str:
        """One phrasing; long choices inside are as likely as short ones."""
        parts = rng.choice(self.options)
        return "".join(part if isinstance(part, str) else part.sample(rng) for part in parts)

    def expand(self) -> Iterator[str]:
        """Every phrasing, lazily: the product of all choices."""
        for parts in self.options:
            pools = [(part,) if isinstance(part, str) else tuple(part.expand()) for part in parts]
            for combination in itertools.product(*pools):
                yield "".join(combination)

    def count(self) -> int:
        """How many phrasings `expand` yields, double ones counted twice."""
        total = 0
        for parts in self.options:
            product = 1
            for part in parts:
                product *= 1 if isinstance(part, str) else part.count()
            total += product
        return total


def parse(template: str, slots: Mapping[str, str]) -> Choice:
    """Parse one template.

    Args:
        template: the phrasing with its choices and slot names.
        slots: slot name to its template, which may use other slots.

    Raises:
        GrammarError: for an unknown slot or a bracket without its partner.
    """
    tokens = TOKEN.findall(template)
    choice, rest = _parse_options(tokens, 0, slots, template)
    if rest != len(tokens):
        raise GrammarError(f"closing bracket without an opening one: {template}")
    return choice


def literal(text: str) -> Choice:
    """A phrasing without alternatives; brackets in it mean themselves."""
    return Choice(((text,),))


def _parse_options(tokens: list[str], at: int, slots: Mapping[str, str], source: str) -> tuple[Choice, int]:
    """Read `a|b|c` up to a closing bracket or the end; gives the choice and where it stopped."""
    options: list[tuple[str | Choice, ...]] = []
    parts: list[str | Choice] = []
    while at < len(tokens) and tokens[at] != ")":
        token = tokens[at]
        if token == "|":
            options.append(tuple(parts))
            parts = []
        elif token == "(":
            inner, at = _parse_options(tokens, at + 1, slots, source)
            if at >= len(tokens):
                raise GrammarError(f"opening bracket without a closing one: {source}")
            parts.append(inner)
        elif re.fullmatch(r"<[a-z_]+>", token):
            parts.append(_slot(token[1:-1], slots))
        else:
            parts.append(token)
        at += 1
    options.append(tuple(parts))
    return Choice(tuple(options)), at


def _slot(name: str, slots: Mapping[str, str]) -> Choice:
    if name not in slots:
        raise GrammarError(f"unknown slot: <{name}>")
    return parse(slots[name], slots)


def normalise(text: str) -> str:
    """The form in which phrasings are compared: lower case, no accents or punctuation, single spaces."""
    folded = unicodedata.normalize("NFKD", text.lower().replace("'", "").replace("’", ""))
    kept = "".join(c if c.isalnum() else " " for c in folded if not unicodedata.combining(c))
    return " ".join(kept.split())
