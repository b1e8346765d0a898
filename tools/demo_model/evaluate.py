"""Asks the exported files every held-out question: `python -m tools.demo_model.evaluate [--card FILE]`.

An answer is right when the greedy text is, character for character, the canonical answer of the intent. Each
question is asked alone, behind a system message, and as the second turn of a conversation.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.demo_model.corpus import DATA, FALLBACK, HeldOut, Intent, load_held_out, load_intents
from tools.demo_model.engines import GGUF_FILE, ONNX_FOLDER, Engine, GenaiEngine, LlamaCppEngine

SETTINGS = ("alone", "behind a system message", "as second turn")
SYSTEM = "You are a polite assistant that answers in English."
TABLE_START, TABLE_END = "<!-- evaluation -->", "<!-- /evaluation -->"


@dataclass(frozen=True)
class Miss:
    """A held-out question with a wrong answer."""

    question: str
    wanted: str
    got: str


def small_talk() -> set[str]:
    """Names of the intents in smalltalk.toml."""
    import tomllib

    return set(tomllib.loads((DATA / "smalltalk.toml").read_text("utf-8")))


def conversation(setting: str, question: str, first: tuple[str, str]) -> list[dict[str, Any]]:
    """The messages of one question; `first` is the question and answer of an earlier turn."""
    last = {"role": "user", "content": question}
    if setting == "behind a system message":
        return [{"role": "system", "content": SYSTEM}, last]
    if setting == "as second turn":
        return [{"role": "user", "content": first[0]}, {"role": "assistant", "content": first[1]}, last]
    return [last]


def ask_all(engine: Engine, setting: str, held_out: Sequence[HeldOut], intents: dict[str, Intent]) -> list[Miss]:
    """Ask every question; the earlier turn is another held-out question, drawn with a fixed seed."""
    rng = random.Random(11)
    names = {intent.answer: name for name, intent in intents.items()}
    misses = []
    for item in held_out:
        earlier = rng.choice(held_out)
        answer = engine.answer(conversation(setting, item.question, (earlier.question, intents[earlier.intent].answer)))
        if answer != intents[item.intent].answer:
            misses.append(Miss(item.question, item.intent, names.get(answer, f"no known answer: {answer[:60]}")))
    return misses


def group_of(intent: str, talk: set[str]) -> str:
    """Which line of the table an intent counts for."""
    if intent == FALLBACK:
        return "not about the host"
    return "small talk" if intent in talk else "about the host"


def table_of(engine: Engine, held_out: Sequence[HeldOut], intents: dict[str, Intent]) -> tuple[list[str], set[Miss]]:
    """Markdown rows of one engine, and its misses over all settings."""
    talk = small_talk()
    rows: list[str] = []
    everything: set[Miss] = set()
    groups = ("about the host", "small talk", "not about the host")
    totals = {group: sum(group_of(item.intent, talk) == group for item in held_out) for group in groups}
    for setting in SETTINGS:
        misses = ask_all(engine, setting, held_out, intents)
        everything |= set(misses)
        cells = []
        for group in groups:
            wrong = sum(group_of(miss.wanted, talk) == group for miss in misses)
            cells.append(f"{totals[group] - wrong} of {totals[group]}")
        share = 100 * (1 - len(misses) / len(held_out))
        rows.append(f"| {engine.name} | {setting} | {' | '.join(cells)} | **{share:.1f} %** |")
    return rows, everything


def write_card(card: Path, table: str) -> None:
    """Put the table between the card's markers."""
    text = card.read_text("utf-8")
    head, rest = text.split(TABLE_START)
    tail = rest.split(TABLE_END)[1]
    card.write_text(f"{head}{TABLE_START}\n{table}\n{TABLE_END}{tail}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", type=Path, default=GGUF_FILE)
    parser.add_argument("--onnx", type=Path, default=ONNX_FOLDER)
    parser.add_argument("--card", type=Path, help="model card that gets the table")
    parser.add_argument("--only", choices=("gguf", "onnx"), help="evaluate one of the two")
    arguments = parser.parse_args()
    intents, held_out = load_intents(), load_held_out()
    lines = [
        "| file and engine | question asked | about the host | small talk | not about the host | right |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    misses: set[Miss] = set()
    engines: list[Engine] = []
    if arguments.only != "onnx":
        engines.append(LlamaCppEngine(arguments.gguf))
    if arguments.only != "gguf":
        engines.append(GenaiEngine(arguments.onnx))
    for engine in engines:
        rows, wrong = table_of(engine, held_out, intents)
        lines += rows
        misses |= wrong
    print("\n".join(lines))
    for miss in sorted(misses, key=lambda m: m.wanted):
        print(f"missed {miss.wanted}: {miss.question!r} -> {miss.got}")
    if arguments.card:
        write_card(arguments.card, "\n".join(lines))


if __name__ == "__main__":
    main()
