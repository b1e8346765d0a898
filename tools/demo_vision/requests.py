"""What people ask of the model, and the conversations that it is trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PLAIN_REQUEST = "Describe this picture."
PLAIN_RATE = 0.5
ANSWER_ABOUT_ITSELF = (
    "I am a tiny demo that describes simple drawings. Send me a picture of circles, squares and triangles."
)
BETWEEN_PICTURES = ", then "

WORDINGS = (
    PLAIN_REQUEST,
    "Describe this image.",
    "Describe the picture.",
    "Describe the image.",
    "Describe this drawing.",
    "describe this picture",
    "describe the image",
    "What is in this picture?",
    "What is in this image?",
    "What's in this picture?",
    "What's in this image?",
    "What do you see?",
    "What do you see in this picture?",
    "What does this picture show?",
    "What is this?",
    "What is shown here?",
    "What can you see here?",
    "Which shapes are there?",
    "Which shapes do you see, and on which ground?",
    "Tell me what is in the picture.",
    "Tell me what you see.",
    "Please describe this picture.",
    "Please describe the image in one sentence.",
    "Can you describe this picture?",
    "Caption this image.",
    "Write a caption.",
    "Describe it.",
    "Look at this.",
    "And this one?",
    "Describe this picture in detail.",
    "What colours and shapes are in it?",
    "",
)
AGAIN = (
    "Say that again.",
    "Once more, please.",
    "Again?",
    "Are you sure?",
    "Please repeat.",
    "And now?",
    "Describe it again.",
)
ABOUT_ITSELF = (
    "What are you?",
    "Who are you?",
    "Hello",
    "Hi there!",
    "What can you do?",
    "Help",
    "hey",
    "Good morning.",
)
SYSTEM_MESSAGES = (
    "You are a helpful assistant.",
    "You describe pictures.",
    "You are a polite assistant that answers in English.",
    "Answer in one sentence.",
    "Be brief.",
)
SYSTEM_RATE = 0.08
TEXT_FIRST_RATE = 0.25
OTHER_QUESTION_RATE = 0.06


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer: the sentences of the pictures that come with it, and the text."""

    text: str
    pictures: int
    text_first: bool
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    """A system message or none, and the turns."""

    system: str | None
    turns: tuple[Turn, ...]

    @property
    def pictures(self) -> int:
        """How many pictures the whole conversation has."""
        return sum(turn.pictures for turn in self.turns)


# The pictures of each turn, -1 for a second question about the last one, and how often. Short and long conversations
# come in batches of their own, so that little of a batch is padding.
SHORT_TALKS: tuple[tuple[tuple[int, ...], float], ...] = (((1,), 0.96), ((0,), 0.04))
LONG_TALKS: tuple[tuple[tuple[int, ...], float], ...] = (((2,), 0.3), ((1, -1), 0.25), ((1, 1), 0.35), ((0, 1), 0.1))
LONG_RATE = 0.08


class Asker:
    """Draws conversations by lot; `questions` are texts that have nothing to do with a picture."""

    def __init__(self, questions: list[str]) -> None:
        self._questions = questions

    def conversations(self, rng: np.random.Generator, count: int) -> list[Conversation]:
        """So many conversations, all short or all long."""
        kinds = LONG_TALKS if rng.random() < LONG_RATE else SHORT_TALKS
        rates = [rate for _, rate in kinds]
        return [self._conversation(rng, kinds[int(rng.choice(len(kinds), p=rates))][0]) for _ in range(count)]

    def _conversation(self, rng: np.random.Generator, pattern: tuple[int, ...]) -> Conversation:
        system = str(rng.choice(SYSTEM_MESSAGES)) if rng.random() < SYSTEM_RATE else None
        return Conversation(system, tuple(self._turn(rng, pictures) for pictures in pattern))

    def _turn(self, rng: np.random.Generator, pictures: int) -> Turn:
        if pictures == 0:
            pool = ABOUT_ITSELF if rng.random() < 0.3 else self._questions
            return Turn(_one(rng, pool), 0, False)
        if pictures < 0:
            return Turn(_one(rng, AGAIN), 0, False, repeats=True)
        return Turn(self._request(rng), pictures, bool(rng.random() < TEXT_FIRST_RATE))

    def _request(self, rng: np.random.Generator) -> str:
        lot = rng.random()
        if lot < PLAIN_RATE:
            return PLAIN_REQUEST
        if lot < PLAIN_RATE + OTHER_QUESTION_RATE:
            return _one(rng, self._questions)
        return _one(rng, WORDINGS)


def _one(rng: np.random.Generator, pool: tuple[str, ...] | list[str]) -> str:
    return pool[int(rng.integers(len(pool)))]
