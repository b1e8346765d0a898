"""Turns a scene into pixels, as a browser's canvas does: anti-aliased edges, now and then a JPEG's artefacts."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backends.picture_decoding import REDUCING_GAP
from tools.demo_vision.patches import fit
from tools.demo_vision.scenes import Scene, Shape

Pixels = NDArray[np.float32]

# The host scales by the first; the others keep the model from leaning on one filter's edges.
RESAMPLINGS = (
    Image.Resampling.BICUBIC,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.BILINEAR,
    Image.Resampling.BOX,
)
JPEG_RATE = 0.25
NOISE_RATE = 0.1
NOISE_LEVEL = 4.0


def _circle(x: Pixels, y: Pixels, shape: Shape) -> Pixels:
    return np.sqrt(x * x + y * y) - np.float32(shape.width / 2)


def _square(x: Pixels, y: Pixels, shape: Shape) -> Pixels:
    return np.maximum(np.abs(x) - shape.width / 2, np.abs(y) - shape.height / 2)


def _triangle(x: Pixels, y: Pixels, shape: Shape) -> Pixels:
    half, height = shape.width / 2, shape.height
    slant = math.hypot(half, height)
    side = (np.abs(x) * height - (y + height / 2) * half) / slant
    distance: Pixels = np.maximum(side, y - height / 2)
    return distance


# Signed distances to the outline in pixels, negative inside; `x`, `y` count from the middle of the bounding box,
# `y` downwards; the triangle's tip is at the top.
DISTANCES: dict[str, Callable[[Pixels, Pixels, Shape], Pixels]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
}


def coverage(shape: Shape, xs: Pixels, ys: Pixels) -> Pixels:
    """How much of each pixel the shape covers, `(len(ys), len(xs))` in 0..1; `xs`, `ys` are the pixels' middles."""
    across = (xs - shape.x).astype(np.float32)[None, :]
    down = (ys - shape.y).astype(np.float32)[:, None]
    distance = DISTANCES[shape.kind](across, down, shape)
    share: Pixels = np.clip(0.5 - distance, 0.0, 1.0)
    return share


def render(scene: Scene) -> Image.Image:
    """The drawing itself, RGB, `scene.width` by `scene.height`."""
    canvas = np.empty((scene.height, scene.width, 3), np.uint8)
    canvas[:] = np.rint(scene.shade).astype(np.uint8)
    for shape in scene.shapes:
        left, right = (int(shape.x + side * (shape.width / 2 + 2)) for side in (-1, 1))
        top, bottom = (int(shape.y + side * (shape.height / 2 + 2)) for side in (-1, 1))
        rows = slice(max(0, top), min(scene.height, bottom + 1))
        columns = slice(max(0, left), min(scene.width, right + 1))
        xs = np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5
        ys = np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5
        share = coverage(shape, xs, ys)[..., None]
        part = canvas[rows, columns].astype(np.float32)
        canvas[rows, columns] = np.rint(part + share * (np.array(shape.shade, np.float32) - part))
    return Image.fromarray(canvas)


def roughen(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """What may happen to a drawing on its way: a JPEG's artefacts, a little noise, or nothing."""
    lot = rng.random()
    if lot < JPEG_RATE:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=int(rng.integers(60, 96)))
        return Image.open(stream).convert("RGB")
    if lot < JPEG_RATE + NOISE_RATE:
        pixels = np.asarray(picture, np.float32)
        noise = rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(0, NOISE_LEVEL))
        return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    return picture


def scaled(picture: Image.Image, resampling: Image.Resampling = RESAMPLINGS[0]) -> Image.Image:
    """The picture as the model takes it, scaled as `backends.pictures` does."""
    return picture.resize(fit(picture.width, picture.height), resampling, reducing_gap=REDUCING_GAP)
