"""Turns intents into token rows: noise on the questions, one to three turns, system and tool messages, packing.

Each row is `(length,) int64` tokens and `(length,) float32` weights: how much it counts to predict the token. Words
of the assistant count 1, those where the choice of answer falls count DECISION_WEIGHT, everything else 0.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tools.demo_model.corpus import FALLBACK, Intent, Noise
from tools.demo_model.tokenizer import IM_END, IM_START, with_dropout

DECISION_WEIGHT = 12.0
FALLBACK_SHARE = 14.0
LONG_SHARE = 1.0
LONG_ANSWER = 300
MERGE_DROPOUT = 0.08
SYNONYM_RATE = 0.3
SYSTEM_MESSAGES = (
    "You are a helpful assistant.",
    "You are a friendly assistant. Answer briefly.",
    "You are the demo model of TabAgent.",
    "Answer in one or two sentences.",
    "Be concise.",
    "You help the user with the native host.",
    "You are a chatbot in a browser extension.",
    "Today is Monday. The user is called Kim.",
    "",
)
LITTLE_WORDS = {
    "a", "an", "the", "do", "does", "did", "i", "is", "are", "was", "be", "been", "can", "could", "would", "should",
    "will", "my", "your", "our", "of", "it", "me", "you", "for", "in", "on", "at", "with", "to", "that", "this",
    "there", "some", "any", "so", "and", "then", "what's", "please", "tell",
}  # fmt: skip
NEIGHBOURS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
SHORTENED = {
    "you": "u", "are": "r", "what is": "whats", "how is": "hows", "do not": "dont", "does not": "doesnt",
    "please": "pls",
    "cannot": "cant", "can not": "cant", "because": "cos", "application": "app", "extension": "ext", "it is": "its",
    "i am": "im", "generation": "gen", "i would": "id", "thanks": "thx", "tokens": "toks", "configuration": "cfg",
    "and": "&", "to": "2", "the": "da", "for": "4",
}  # fmt: skip


@dataclass
class Rows:
    """Packed rows, all `(rows, length)`; tokens of one document see one another and nothing else."""

    tokens: NDArray[np.int64]
    documents: NDArray[np.int64]
    weights: NDArray[np.float32]


def typo(word: str, rng: random.Random) -> str:
    """One slip of the finger: a letter doubled, lost, swapped or taken from the key beside it."""
    if len(word) < 4:
        return word
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    if kind == 2:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    row = next((keys for keys in NEIGHBOURS if word[at] in keys), string.ascii_lowercase)
    beside = row[max(0, row.find(word[at]) - 1)]
    return word[:at] + beside + word[at + 1 :]


def shorten(text: str, rng: random.Random) -> str:
    """Write some words as people do in a chat."""
    for long, short in SHORTENED.items():
        if rng.random() < 0.5:
            text = f" {text} ".replace(f" {long} ", f" {short} ").strip()
    return text


def lose_words(text: str, rng: random.Random) -> str:
    """Drop a few words that carry little: `how do i load a model` becomes `how i load model`."""
    words = text.split()
    kept = [word for word in words if word not in LITTLE_WORDS or rng.random() > 0.4]
    return " ".join(kept) if len(kept) >= 2 else text


def use_synonyms(text: str, synonyms: Mapping[str, tuple[str, ...]], rng: random.Random) -> str:
    """Say some words in another way."""
    words = text.split(" ")
    return " ".join(
        rng.choice(synonyms[word.lower()]) if word.lower() in synonyms and rng.random() < SYNONYM_RATE else word
        for word in words
    )


def add_noise(text: str, noise: Noise, rng: random.Random) -> str:
    """Make a clean phrasing look typed: words around it, slips, case and punctuation."""
    if rng.random() < 0.4 and len(text.split()) > 3:
        text = use_synonyms(text, noise.synonyms, rng)
    if rng.random() < 0.12:
        text = lose_words(text, rng)
    if rng.random() < 0.07:
        text = shorten(text, rng)
    if rng.random() < 0.28:
        text = rng.choice(noise.before) + text
    if rng.random() < 0.12:
        text = text + rng.choice(noise.after)
    rate = 0.15 if rng.random() < 0.1 else 0.01
    text = " ".join(typo(word, rng) if rng.random() < rate else word for word in text.split(" "))
    return (
        _case(text, rng)
        + rng.choices(("", "?", ".", "!", "??", "...", " ?", "!!", "?!"), (42, 38, 8, 4, 2, 1, 2, 1, 1))[0]
    )


def _case(text: str, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.45:
        return text
    if kind < 0.9:
        capital = text[:1].upper() + text[1:]
        return capital.replace(" i ", " I ")
    return text.upper() if kind < 0.94 else text.title()


def answer_weights(answers: Sequence[Sequence[int]]) -> list[list[float]]:
    """How much each token of each answer counts: more where answers that begin alike part from one another."""
    nexts: dict[tuple[int, ...], set[int]] = {}
    for answer in answers:
        for at, token in enumerate(answer):
            nexts.setdefault(tuple(answer[:at]), set()).add(token)
    return [
        [DECISION_WEIGHT if len(nexts[tuple(answer[:at])]) > 1 else 1.0 for at in range(len(answer))]
        for answer in answers
    ]


class DialogueMaker:
    """Makes dialogues as token rows; the same seed makes the same rows.

    A share of the answers, `cut_rate`, is cut short a little after the choice has fallen: more questions fit into a
    row, and the model sees histories like those that a stopped generation leaves.
    """

    def __init__(self, intents: dict[str, Intent], noise: Noise, tokenizer: Tokenizer, seed: int) -> None:
        self._intents = list(intents.values())
        self._shares = [self._share(intent) for intent in self._intents]
        self._noise = noise
        self._plain = tokenizer
        self._broken = with_dropout(tokenizer, MERGE_DROPOUT)
        self._rng = random.Random(seed)
        self._start, self._end = tokenizer.token_to_id(IM_START), tokenizer.token_to_id(IM_END)
        self._newline = tokenizer.encode("\n").ids
        self._answers = [[*tokenizer.encode(intent.answer).ids, self._end] for intent in self._intents]
        self._answer_weights = answer_weights(self._answers)
        self.cut_rate = 0.0

    @staticmethod
    def _share(intent: Intent) -> float:
        """How often an intent is asked, relative to the others; long answers less often."""
        if intent.name == FALLBACK:
            return FALLBACK_SHARE
        return LONG_SHARE if len(intent.answer) > LONG_ANSWER else 1.0

    def dialogue(self, turns: int) -> tuple[list[int], list[float]]:
        """One conversation: tokens and weights."""
        rng = self._rng
        tokens: list[int] = []
        weights: list[float] = []
        if rng.random() < 0.25:
            self._add_message(tokens, weights, "system", rng.choice(SYSTEM_MESSAGES))
        for _ in range(turns):
            chosen = rng.choices(range(len(self._intents)), self._shares)[0]
            question = add_noise(self._intents[chosen].sample(rng), self._noise, rng)
            self._add_message(tokens, weights, "user", question)
            if rng.random() < 0.02:
                self._add_message(tokens, weights, "tool", f'{{"result": {rng.randrange(100)}}}')
            self._add_answer(tokens, weights, chosen)
        return tokens, weights

    def _add(self, tokens: list[int], weights: list[float], ids: Sequence[int]) -> None:
        tokens.extend(ids)
        weights.extend([0.0] * len(ids))

    def _add_message(self, tokens: list[int], weights: list[float], role: str, content: str) -> None:
        tokenizer = self._broken if self._rng.random() < 0.3 else self._plain
        head = [self._start, *self._plain.encode(role).ids, *self._newline]
        self._add(tokens, weights, [*head, *tokenizer.encode(content).ids, self._end, *self._newline])

    def _add_answer(self, tokens: list[int], weights: list[float], chosen: int) -> None:
        self._add(tokens, weights, [self._start, *self._plain.encode("assistant").ids, *self._newline])
        answer, counts = self._answers[chosen], self._answer_weights[chosen]
        kept = len(answer)
        if self._rng.random() < self.cut_rate:
            decided = max(at for at, count in enumerate(counts) if count > 1)
            kept = min(kept, decided + self._rng.randrange(1, 8))
        tokens.extend(answer[:kept])
        weights.extend(counts[:kept])
        if kept == len(answer):
            self._add(tokens, weights, self._newline)

    def rows(self, count: int, length: int, turns: Sequence[int]) -> Rows:
        """Pack dialogues one after another, each a document; `turns` are the numbers of turns to choose from."""
        tokens = np.zeros((count, length), np.int64)
        documents = np.zeros((count, length), np.int64)
        weights = np.zeros((count, length), np.float32)
        for row in range(count):
            filled, document = 0, 0
            while filled < length:
                ids, counts = self.dialogue(self._rng.choice(turns))
                part = slice(filled, min(filled + len(ids), length))
                tokens[row, part] = ids[: length - filled]
                weights[row, part] = counts[: length - filled]
                documents[row, part] = document
                filled, document = part.stop, document + 1
        return Rows(tokens, documents, weights)
