"""The demo model's data: enough held-out questions, none of which the templates can produce."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from messages.actions import ActionType
from tools.demo_model.corpus import FALLBACK, Intent, load_handwritten, load_held_out, load_intents, load_noise
from tools.demo_model.grammar import GrammarError, normalise, parse

FEWEST_HELD_OUT = 150
FEWEST_PHRASINGS = 20
MOST_SHARED_WORDS = 0.6


@pytest.fixture(scope="module")
def intents() -> dict[str, Intent]:
    return load_intents()


@pytest.fixture(scope="module")
def phrasings(intents: dict[str, Intent]) -> dict[str, set[str]]:
    """Every normalised phrasing, with the intents that have it."""
    owners: dict[str, set[str]] = {}
    for name, intent in intents.items():
        for text in intent.phrasings():
            owners.setdefault(text, set()).add(name)
    return owners


def without_noise(question: str) -> set[str]:
    """The question, and what is left of it without a training prefix, a suffix, or both."""
    noise = load_noise()
    whole = normalise(question)
    starts = [normalise(before) + " " for before in noise.before]
    ends = [" " + normalise(after) for after in noise.after]
    headless = {whole} | {whole.removeprefix(start) for start in starts}
    return headless | {text.removesuffix(end) for text in headless for end in ends}


def test_there_are_enough_held_out_questions_and_none_comes_twice() -> None:
    questions = Counter(normalise(item.question) for item in load_held_out())
    assert len(questions) >= FEWEST_HELD_OUT
    assert [question for question, times in questions.items() if times > 1] == []


def test_every_intent_has_a_held_out_question(intents: dict[str, Intent]) -> None:
    assert {item.intent for item in load_held_out()} == set(intents)


def test_no_held_out_question_can_come_out_of_a_template(phrasings: dict[str, set[str]]) -> None:
    shared = [item.question for item in load_held_out() if without_noise(item.question) & phrasings.keys()]
    assert shared == []


def test_no_handwritten_phrasing_is_nearly_a_held_out_question() -> None:
    trained = [(text, set(normalise(text).split())) for text in load_handwritten()]
    for item in load_held_out():
        words = set(normalise(item.question).split())
        near = [text for text, other in trained if len(words & other) >= MOST_SHARED_WORDS * len(words | other)]
        assert near == [], item.question


def test_no_phrasing_belongs_to_two_intents(phrasings: dict[str, set[str]]) -> None:
    assert {text: sorted(owners) for text, owners in phrasings.items() if len(owners) > 1} == {}


def test_every_intent_has_many_phrasings_and_an_answer_of_its_own(intents: dict[str, Intent]) -> None:
    few = [name for name, intent in intents.items() if len(set(intent.phrasings())) < FEWEST_PHRASINGS]
    assert few == []
    assert len({intent.answer for intent in intents.values()}) == len(intents)


def test_answers_are_one_to_four_sentences_but_for_the_three_long_ones(intents: dict[str, Intent]) -> None:
    long = {name for name, intent in intents.items() if len(re.findall(r"\w[.!?](?=\s|$)", intent.answer)) > 4}
    assert long == {"story", "everything"}


def test_some_answers_leave_ascii_and_one_is_long_enough_to_be_stopped(intents: dict[str, Intent]) -> None:
    assert sum(not intent.answer.isascii() for intent in intents.values()) >= 3
    assert len(intents["story"].answer.split()) > 150


def test_the_model_says_that_it_is_a_tiny_demo(intents: dict[str, Intent]) -> None:
    for name in ("hello", "name", "are_you_chatgpt", FALLBACK):
        assert "tiny demo" in intents[name].answer


def test_answers_name_only_actions_of_the_protocol(intents: dict[str, Intent]) -> None:
    named = set(re.findall(r'"action": "(\w+)"', " ".join(intent.answer for intent in intents.values())))
    assert named == {"load", "unload", "stop_generation", "attach"}
    assert named <= {action.value for action in ActionType}


def test_a_template_with_an_unknown_slot_or_a_lost_bracket_is_refused() -> None:
    for template in ("what is <nothing_like_this>", "(a|b", "a|b)"):
        with pytest.raises(GrammarError):
            parse(template, {})


def test_a_template_expands_to_the_product_of_its_choices() -> None:
    choice = parse("<greet> (you|(my|dear) friend|)", {"greet": "(hi|hello)"})
    assert sorted(choice.expand()) == sorted(
        f"{greet} {rest}" for greet in ("hi", "hello") for rest in ("you", "my friend", "dear friend", "")
    )
    assert choice.count() == 8
