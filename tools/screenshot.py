#!/usr/bin/env python3
"""Take the README's picture: the chat page in a real Chromium, with questions answered by the demo model.

``python tools/screenshot.py docs/screenshot.png``; ``--dark`` and ``--width`` show the page's other looks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.browsers.chat import choose
from support.browsers.chromium import ChromiumPage
from support.browsers.drawing import Drawing, drop_drawing
from support.browsers.lab import ChromiumLab

QUESTIONS = ("What are you?", "Does anything leave my computer?")
DRAWING = Drawing("white", (("circle", "red", 75, 120, 94), ("square", "blue", 175, 60, 45)))
DRAWING_SIDE = 224
QUESTION_ABOUT_IT = "Describe this picture."
HEIGHT = 600
READY_S = 60.0


def main() -> None:
    """Read the command line, ask the questions, write the picture."""
    parser = argparse.ArgumentParser(description="Take a picture of the chat page.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--ask", action="append", help="a question; may be given more than once")
    parser.add_argument("--drawing", action="store_true", help="also have demo-vision describe a drawing")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=960, help="of the page, in CSS pixels")
    arguments = parser.parse_args()
    lab = ChromiumLab()
    try:
        page = lab.open_chat()
        page.emulate(arguments.width, HEIGHT, arguments.dark)
        converse(page, arguments.ask or QUESTIONS)
        if arguments.drawing:
            choose(page, "demo-vision")
            drop_drawing(page, DRAWING, DRAWING_SIDE)
            converse(page, [QUESTION_ABOUT_IT])
        page.screenshot(arguments.out)
    finally:
        lab.close()


def converse(page: ChromiumPage, questions: Sequence[str]) -> None:
    """Ask one question after the other, and print what is answered."""
    page.wait_for("!document.querySelector('#send').disabled", READY_S)
    for question in questions:
        page.evaluate("document.querySelector('#input').focus()")
        page.type_text(question)
        page.press("Enter")
        page.wait_for("document.querySelector('#stop').hidden", READY_S)
        print(page.evaluate("[...document.querySelectorAll('.turn.assistant')].at(-1).innerText"))


if __name__ == "__main__":
    main()
