"""From a picture to what Qwen2-VL sees: scaled, normalised, cut into patches; and where each token stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backends.pictures import smart_fit

PATCH = 14
MERGE = 2
FRAMES = 2
CELL = PATCH * MERGE
# 112 x 112 pixels with some room for rounding; the least is llama.cpp's own for this projector, 8 tokens.
MIN_PIXELS = 8 * CELL * CELL
MAX_PIXELS = 12800


fit = smart_fit(CELL, MIN_PIXELS, MAX_PIXELS)


def to_patches(picture: Image.Image) -> NDArray[np.float32]:
    """Patches of a scaled RGB picture, `(patches, 3 * 14 * 14)` in -1..1, in the merger's order: blocks of 2 x 2."""
    pixels = np.asarray(picture, np.float32) / 127.5 - 1.0
    rows, columns = pixels.shape[0] // CELL, pixels.shape[1] // CELL
    blocks = pixels.reshape(rows, MERGE, PATCH, columns, MERGE, PATCH, 3)
    return np.ascontiguousarray(blocks.transpose(0, 3, 1, 4, 6, 2, 5).reshape(-1, 3 * PATCH * PATCH))


def positions_of(tokens: Sequence[int], image_token: int, rows: int, columns: int) -> NDArray[np.int64]:
    """M-RoPE positions `(3, len(tokens))`: a picture of `rows` x `columns` tokens counts as its longer side."""
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")).reshape(2, -1)
    columns_of: list[NDArray[np.int64]] = []
    index = place = 0
    while index < len(tokens):
        if tokens[index] == image_token:
            columns_of.append(place + np.concatenate([np.zeros((1, rows * columns), np.int64), grid]))
            index, place = index + rows * columns, place + max(rows, columns)
        else:
            columns_of.append(np.full((3, 1), place, np.int64))
            index, place = index + 1, place + 1
    return np.concatenate(columns_of, 1)
