"""Reads the data files: intents with their answers and phrasings, the noise, and the held-out questions."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.demo_model.grammar import Choice, literal, normalise, parse

DATA = Path(__file__).parent / "data"
FALLBACK = "fallback"
# Of two questions one comes out of a template and one is a handwritten one.
TEMPLATE_PARTS = 1


@dataclass(frozen=True)
class Intent:
    """One thing that people ask, the templates of how they ask it, and its canonical answer."""

    name: str
    answer: str
    templates: tuple[Choice, ...]
    groups: tuple[tuple[Choice, ...], ...]

    def sample(self, rng: random.Random) -> str:
        """One phrasing: all groups are as likely, and in a group templates with many phrasings likelier."""
        pool = rng.choice(self.groups)
        weights = [min(choice.count(), 400) ** 0.25 for choice in pool]
        return clean(rng.choices(pool, weights)[0].sample(rng))

    def phrasings(self) -> Iterator[str]:
        """Every phrasing that can be sampled, normalised; some come more than once."""
        for template in self.templates:
            for text in template.expand():
                yield normalise(text)


@dataclass(frozen=True)
class Noise:
    """What people say before and after a question, and the other words that they use."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    synonyms: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class HeldOut:
    """A question that was written apart from the training data, and the intent that it has."""

    question: str
    intent: str


def clean(text: str) -> str:
    """Collapse the double spaces that optional parts leave behind."""
    return " ".join(text.split())


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((DATA / name).read_text("utf-8"))


def load_intents() -> dict[str, Intent]:
    """All intents by name, the fallback last."""
    shared: Mapping[str, str] = _read("slots.toml")["slots"]
    plain = {name: tuple(literal(text) for text in texts) for name, texts in _read("handwritten.toml").items()}
    intents: dict[str, Intent] = {}
    for file in ("host.toml", "smalltalk.toml"):
        for name, row in _read(file).items():
            templates = tuple(parse(template, shared) for template in row["ask"])
            groups = (*[templates] * TEMPLATE_PARTS, plain[name])
            intents[name] = Intent(name, row["answer"], templates + plain[name], groups)
    intents[FALLBACK] = _load_fallback(plain[FALLBACK])
    return intents


def _load_fallback(plain: tuple[Choice, ...]) -> Intent:
    data = _read("fallback.toml")
    groups = (*(tuple(parse(t, data["slots"]) for t in part["ask"]) for part in data["part"]), plain)
    return Intent(FALLBACK, data["answer"], tuple(t for group in groups for t in group), groups)


def load_handwritten() -> list[str]:
    """The phrasings without alternatives, of all intents."""
    return [text for texts in _read("handwritten.toml").values() for text in texts]


def load_noise() -> Noise:
    """What may be put around and into a question."""
    data = _read("slots.toml")
    synonyms = {word: tuple(others) for word, others in data["synonyms"].items()}
    return Noise(tuple(data["noise"]["before"]), tuple(data["noise"]["after"]), synonyms)


def load_held_out() -> list[HeldOut]:
    """The held-out questions, in the order of the file."""
    return [HeldOut(question, intent) for intent, questions in _read("heldout.toml").items() for question in questions]
