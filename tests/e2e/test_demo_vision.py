"""A person draws, asks, and reads what was drawn: canvas, native port, demo-vision, in real browsers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.browsers.chat import ask, choose, shown, wait_for_end, wait_until_ready
from support.browsers.drawing import Drawing, drop_drawing
from support.browsers.lab import Lab
from support.browsers.page import Page

SIDE = 224
LARGE, SMALL = 94, 45
"""Widths of shapes in pixels: 42 % and 20 % of the canvas, as the model's card has them."""

DRAWINGS = {
    "a large red circle and a small blue square on white": Drawing(
        "white", (("circle", "red", 75, 120, LARGE), ("square", "blue", 175, 60, SMALL))
    ),
    "a small green triangle, a small orange square and a small purple circle on black": Drawing(
        "black",
        (
            ("triangle", "green", 45, 60, SMALL),
            ("square", "orange", 112, 150, SMALL),
            ("circle", "purple", 180, 90, SMALL),
        ),
    ),
    "a large black square on yellow": Drawing("yellow", (("square", "black", 112, 112, LARGE),)),
}


@pytest.fixture
def chat(lab: Lab) -> Iterator[Page]:
    """The chat page with the model that ships for pictures."""
    page = lab.open_chat()
    wait_until_ready(page)
    choose(page, "demo-vision")
    yield page
    page.evaluate("localStorage.clear()")
    page.close()


def draw(page: Page, description: str) -> None:
    """Draw on a canvas and drop the picture into the page."""
    drop_drawing(page, DRAWINGS[description], SIDE)


@pytest.mark.parametrize("description", DRAWINGS)
def test_what_is_drawn_on_a_canvas_is_described(chat: Page, description: str) -> None:
    draw(chat, description)
    ask(chat, "Describe this picture.")
    wait_for_end(chat)
    assert shown(chat, "#problem") == ""
    assert shown(chat, ".turn.assistant") == description
    assert f"of {SIDE} x {SIDE} pixels" in shown(chat, "#figures")


def test_a_chat_goes_on_about_the_same_picture_and_the_next(chat: Page) -> None:
    first, second = list(DRAWINGS)[:2]
    for description in (first, second):
        draw(chat, description)
        ask(chat, "Describe this picture.")
        wait_for_end(chat)
        assert shown(chat, ".turn.assistant") == description
    ask(chat, "Say that again.")
    wait_for_end(chat)
    assert shown(chat, ".turn.assistant") == second


def test_a_picture_brought_to_the_text_model_is_one_click_from_its_description(lab: Lab) -> None:
    page = lab.open_chat()
    wait_until_ready(page)
    description = next(iter(DRAWINGS))
    draw(page, description)
    assert shown(page, "#tray-note").startswith("demo takes no pictures.")
    assert shown(page, "#use-vision") == "Use demo-vision"
    page.click("#use-vision")
    page.wait_for("!document.querySelector('#send').disabled", 60)
    assert page.evaluate("document.querySelector('#model').value") == "demo-vision"
    ask(page, "What do you see?")
    wait_for_end(page)
    assert shown(page, ".turn.assistant") == description
    page.evaluate("localStorage.clear()")
    page.close()
