"""Asks the exported files for every held-out picture: `python -m tools.demo_vision.evaluate [--card FILE]`.

A description is right when it is, character for character, the sentence of the drawing: every shape, colour and size in
order, and the ground. Both engines get the same data URLs, through the host's own backends.
"""

from __future__ import annotations

import argparse
import difflib
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tools.demo_vision.engines import FORMS, Describer, Form
from tools.demo_vision.held_out import COUNT, HeldOut, held_out_pictures

TABLE_START, TABLE_END = "<!-- evaluation -->", "<!-- /evaluation -->"


def describe_all(form: Form, pictures: Sequence[HeldOut]) -> list[str]:
    """What one form of the model says of each picture."""
    describer = Describer(form)
    started = time.monotonic()
    try:
        answers = [describer.describe(item.data_url) for item in pictures]
    finally:
        describer.close()
    print(f"{form.name}: {1000 * (time.monotonic() - started) / len(pictures):.0f} ms a picture")
    return answers


def row_of(form: Form, pictures: Sequence[HeldOut], answers: Sequence[str]) -> str:
    """The table's row of one form: right descriptions by number of shapes, and in all."""
    totals = Counter(len(item.scene.shapes) for item in pictures)
    right = Counter(
        len(item.scene.shapes) for item, answer in zip(pictures, answers, strict=True) if answer == item.scene.sentence
    )
    cells = " | ".join(f"{right[count]} of {totals[count]}" for count in (1, 2, 3))
    share = 100 * right.total() / totals.total()
    return f"| {form.name} | {cells} | {right.total()} of {totals.total()} | **{share:.1f} %** |"


def mistakes(wanted: str, got: str) -> list[tuple[str, str]]:
    """Words that should have been others: `(wanted, got)`, each a word or several."""
    words, others = wanted.split(), got.split()
    matcher = difflib.SequenceMatcher(None, words, others, autojunk=False)
    return [
        (" ".join(words[a:b]), " ".join(others[c:d])) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal"
    ]


def differences(pictures: Sequence[HeldOut], first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Pictures of which the two forms say different things, with what each says."""
    return [
        f"{index}: {item.scene.sentence!r} -> {one!r} | {other!r}"
        for index, (item, one, other) in enumerate(zip(pictures, first, second, strict=True))
        if one != other
    ]


def write_card(card: Path, table: str) -> None:
    """Put the table between the card's markers."""
    text = card.read_text("utf-8")
    head, rest = text.split(TABLE_START)
    tail = rest.split(TABLE_END)[1]
    card.write_text(f"{head}{TABLE_START}\n{table}\n{TABLE_END}{tail}", "utf-8")


def report_mistakes(pictures: Sequence[HeldOut], answers: Sequence[str]) -> None:
    """Print what was wrong, the commonest first."""
    wrong = Counter(
        mistake
        for item, answer in zip(pictures, answers, strict=True)
        for mistake in mistakes(item.scene.sentence, answer)
    )
    for (wanted, got), times in wrong.most_common(25):
        print(f"  {times} x {wanted!r} described as {got!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--card", type=Path, help="model card that gets the table")
    parser.add_argument("--only", choices=[form.backend for form in FORMS], help="evaluate one of the two")
    parser.add_argument("--count", type=int, default=COUNT, help="the first so many held-out pictures")
    arguments = parser.parse_args()
    pictures = list(held_out_pictures(arguments.count))
    forms = [form for form in FORMS if arguments.only in (None, form.backend)]
    lines = ["| file and engine | one shape | two | three | all | right |", "| --- | --- | --- | --- | --- | --- |"]
    answers = [describe_all(form, pictures) for form in forms]
    for form, said in zip(forms, answers, strict=True):
        lines.append(row_of(form, pictures, said))
        print(form.name)
        report_mistakes(pictures, said)
    if len(answers) == 2:
        unequal = differences(pictures, *answers)
        lines.append(f"\nBoth engines say the same of {len(pictures) - len(unequal)} of {len(pictures)} pictures.")
        print("\n".join(unequal))
    print("\n".join(lines))
    if arguments.card:
        write_card(arguments.card, "\n".join(lines))


if __name__ == "__main__":
    main()
