"""Batches for the training: pictures of one grid each, conversations about them, and hints for the vision part."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tools.demo_vision.drawing import RESAMPLINGS, coverage, render, roughen, scaled
from tools.demo_vision.patches import positions_of, to_patches
from tools.demo_vision.requests import ANSWER_ABOUT_ITSELF, BETWEEN_PICTURES, Asker, Conversation
from tools.demo_vision.scenes import COLOURS, GROUND_COLOURS, KINDS, SIZES, Scene, draw_grid, scenes_by_lot
from tools.demo_vision.tokenizer import IM_END, IM_START, IMAGE_PAD, VISION_END, VISION_START

HINT_POINTS = 7
HINT_SHARE = 0.04


@dataclass(frozen=True, slots=True)
class Batch:
    """`patches` `(pictures, patches, 588)`, `hints` `(pictures, cells, 5)`, `tokens` and `answers` `(rows, length)`,
    `positions` `(3, rows, length)`. `answers` is true where a token is one of the assistant's."""

    grid: tuple[int, int]
    patches: NDArray[np.float32]
    hints: NDArray[np.int64]
    tokens: NDArray[np.int64]
    answers: NDArray[np.bool_]
    positions: NDArray[np.int64]


def hints_of(scene: Scene, columns: int, rows: int) -> NDArray[np.int64]:
    """For each cell of 28 x 28 pixels `(cells, 5)`: its shape from the left (0: none), kind, colour, size; ground."""
    inside = (np.arange(HINT_POINTS) + 0.5) / HINT_POINTS
    xs = ((np.arange(columns)[:, None] + inside) * scene.width / columns).ravel().astype(np.float32)
    ys = ((np.arange(rows)[:, None] + inside) * scene.height / rows).ravel().astype(np.float32)
    shares = np.stack(
        [coverage(s, xs, ys).reshape(rows, HINT_POINTS, columns, HINT_POINTS).mean((1, 3)) for s in scene.shapes]
    )
    rank = np.where(shares.max(0) >= HINT_SHARE, shares.argmax(0) + 1, 0).ravel()
    facts = np.array([(KINDS.index(s.kind), COLOURS.index(s.colour), SIZES.index(s.size)) for s in scene.shapes])
    hints = np.empty((rows * columns, 5), np.int64)
    hints[:, 0], hints[:, 4] = rank, GROUND_COLOURS.index(scene.ground)
    hints[:, 1:4] = np.where(rank[:, None] > 0, facts[np.maximum(rank - 1, 0)], -100)
    return hints


class BatchMaker:
    """Makes the batch of a step from the seed and the step's number alone."""

    def __init__(self, tokenizer: Tokenizer, asker: Asker, seed: int, rows: int) -> None:
        self._tokenizer = tokenizer
        self._asker = asker
        self._seed = seed
        self._rows = rows
        self._image_token = int(tokenizer.token_to_id(IMAGE_PAD))
        self._padding = int(tokenizer.token_to_id(IM_END))

    def batch(self, step: int) -> Batch:
        """The batch of this step."""
        rng = np.random.default_rng([self._seed, step])
        grid = draw_grid(rng)
        talks = self._asker.conversations(rng, self._rows)
        scenes = list(itertools.islice(scenes_by_lot(rng, grid), sum(talk.pictures for talk in talks)))
        waiting = iter(scenes)
        rows = [self._tokens(talk, [next(waiting) for _ in range(talk.pictures)], grid) for talk in talks]
        return Batch(
            grid,
            np.stack([self._patches(rng, scene) for scene in scenes]),
            np.stack([hints_of(scene, *grid) for scene in scenes]),
            *self._pad(rows, grid),
        )

    def _patches(self, rng: np.random.Generator, scene: Scene) -> NDArray[np.float32]:
        resampling = RESAMPLINGS[int(rng.integers(len(RESAMPLINGS)))]
        return to_patches(scaled(roughen(rng, render(scene)), resampling))

    def _tokens(self, talk: Conversation, scenes: list[Scene], grid: tuple[int, int]) -> tuple[list[int], list[bool]]:
        """The tokens of a conversation, and which of them the assistant says."""
        picture = f"{VISION_START}{IMAGE_PAD * (grid[0] * grid[1])}{VISION_END}"
        pieces = [f"{IM_START}system\n{talk.system}{IM_END}\n"] if talk.system else []
        waiting, last, said = iter(scenes), ANSWER_ABOUT_ITSELF, []
        for turn in talk.turns:
            parts = [picture * turn.pictures, turn.text]
            asked = "".join(reversed(parts) if turn.text_first else parts)
            if not turn.repeats:
                sentences = [next(waiting).sentence for _ in range(turn.pictures)]
                last = BETWEEN_PICTURES.join(sentences) or ANSWER_ABOUT_ITSELF
            pieces.append(f"{IM_START}user\n{asked}{IM_END}\n{IM_START}assistant\n")
            said.append(len(pieces))
            pieces.append(f"{last}{IM_END}")
            pieces.append("\n")
        tokens: list[int] = []
        answers: list[bool] = []
        for index, piece in enumerate(pieces[:-1]):
            ids = self._tokenizer.encode(piece).ids
            tokens += ids
            answers += [index in said] * len(ids)
        return tokens, answers

    def _pad(
        self, rows: list[tuple[list[int], list[bool]]], grid: tuple[int, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
        longest = max(len(tokens) for tokens, _ in rows)
        filled = np.full((len(rows), longest), self._padding, np.int64)
        answers = np.zeros((len(rows), longest), np.bool_)
        positions = np.zeros((3, len(rows), longest), np.int64)
        for index, (tokens, said) in enumerate(rows):
            filled[index, : len(tokens)] = tokens
            answers[index, : len(tokens)] = said
            positions[:, index, : len(tokens)] = positions_of(tokens, self._image_token, grid[1], grid[0])
        return filled, answers, positions
