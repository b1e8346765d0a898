"""The demo vision model by the host's own backends: held-out drawings, and what else can be asked of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from messages.content import Message
from tools.demo_vision.engines import FORMS, Describer, Form, asked
from tools.demo_vision.held_out import HeldOut, held_out_pictures
from tools.demo_vision.requests import ANSWER_ABOUT_ITSELF, BETWEEN_PICTURES

SAMPLE = 40
LEAST_RIGHT = 0.9
LEAST_EQUAL = 0.9


@pytest.fixture(scope="module")
def sample() -> list[HeldOut]:
    return list(held_out_pictures(SAMPLE))


@pytest.fixture(scope="module", params=FORMS, ids=[form.backend for form in FORMS])
def describer(request: pytest.FixtureRequest) -> Iterator[Describer]:
    form: Form = request.param
    made = Describer(form)
    yield made
    made.close()


@pytest.fixture
def clear(describer: Describer, sample: list[HeldOut]) -> list[HeldOut]:
    """Two drawings that this engine describes right."""
    right = (item for item in sample if describer.describe(item.data_url) == item.scene.sentence)
    return [next(right), next(right)]


def test_nine_of_ten_held_out_drawings_are_described_right(describer: Describer, sample: list[HeldOut]) -> None:
    right = [describer.describe(item.data_url) == item.scene.sentence for item in sample]
    assert sum(right) >= LEAST_RIGHT * SAMPLE


def test_both_engines_say_the_same_of_nearly_every_drawing(sample: list[HeldOut]) -> None:
    answers = []
    for form in FORMS:
        describer = Describer(form)
        answers.append([describer.describe(item.data_url) for item in sample])
        describer.close()
    assert sum(one == other for one, other in zip(*answers, strict=True)) >= LEAST_EQUAL * SAMPLE


def test_another_wording_of_the_request_gets_the_same_description(describer: Describer, clear: list[HeldOut]) -> None:
    for wording in ("What do you see?", "Describe this image.", ""):
        assert describer.describe(clear[0].data_url, wording) == clear[0].scene.sentence


def test_without_a_picture_it_says_what_it_is(describer: Describer) -> None:
    for text in ("What are you?", "Hello"):
        assert describer.answer([Message(role="user", content=text)]) == ANSWER_ABOUT_ITSELF


def test_two_pictures_in_a_message_are_described_one_after_the_other(
    describer: Describer, clear: list[HeldOut]
) -> None:
    first, second = clear
    answer = describer.answer([asked("Describe this picture.", first.data_url, second.data_url)])
    assert answer == BETWEEN_PICTURES.join([first.scene.sentence, second.scene.sentence])


def test_a_second_picture_in_a_conversation_is_described_and_not_the_first(
    describer: Describer, clear: list[HeldOut]
) -> None:
    first, second = clear
    said = Message(role="assistant", content=first.scene.sentence)
    turns = [asked("Describe this picture.", first.data_url), said, asked("And this one?", second.data_url)]
    assert describer.answer(turns) == second.scene.sentence
