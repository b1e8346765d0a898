"""The held-out pictures: a fixed list that no training step sees, drawn from seeds of their own."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tools.demo_vision.drawing import render, roughen
from tools.demo_vision.scenes import Scene, draw_grid, scenes_by_lot

# Training draws the numbers of (TRAINING_SEED, step), this list those of (SEED, index).
TRAINING_SEED = 5
SEED = 20_011
COUNT = 300


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A drawing and what is on it."""

    scene: Scene
    picture: Image.Image

    @property
    def data_url(self) -> str:
        """The picture as a PNG in a data URL."""
        stream = io.BytesIO()
        self.picture.save(stream, "PNG")
        return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def held_out(index: int) -> HeldOut:
    """The held-out picture of this number, 0 to COUNT - 1."""
    rng = np.random.default_rng([SEED, index])
    scene = next(scenes_by_lot(rng, draw_grid(rng)))
    return HeldOut(scene, roughen(rng, render(scene)))


def held_out_pictures(count: int = COUNT) -> Iterator[HeldOut]:
    """The first `count` held-out pictures, in order."""
    return (held_out(index) for index in range(count))
