"""What three of mlx-vlm's image processors do wrong to pictures, and how it is mended (0.7.10).

PaddleOCR-VL's mixes up the patches of two pictures, Llava's is handed an option that Transformers 5 refuses, and Llama
4's leaves out the view of the whole behind a picture's tiles, for which there are tokens: the network would read memory
that nobody has written. Above it: `preprocessing`.
"""

from typing import Any

import numpy as np
from PIL import Image

from backends.mlx_vlm.mending import become


def mend(processor: Any) -> None:
    """Mend a processor's image processor, where it is one of those."""
    mended = _MENDED.get(type(processor).__name__)
    if mended is not None:
        become(processor.image_processor, mended)


class _OneByOne:
    """Looks at each picture alone. Its answers are patches `(1, n, 3, height, width)` and grids `(n, 3)`."""

    def __call__(self, images: Any, **options: Any) -> Any:
        process: Any = super().__call__  # type: ignore[misc]
        made = [process(images=[image], **options) for image in _flat(images)]
        whole = made[0]
        whole["pixel_values"] = np.concatenate([one["pixel_values"] for one in made], axis=1)
        whole["image_grid_thw"] = np.concatenate([one["image_grid_thw"] for one in made])
        return whole


class _Unpadded:
    """Leaves out what is meant for the tokenizer."""

    def __call__(self, images: Any, padding: Any = None, **options: Any) -> Any:
        process: Any = super().__call__  # type: ignore[misc]
        return process(images, **options)


class _WithTheWhole:
    """Puts the view of the whole behind a picture's tiles, as Transformers' `image_processing_llama4` does."""

    size: int

    def _split_into_tiles(self, image: Image.Image, aspect_ratio: tuple[int, int]) -> list[Image.Image]:
        split: Any = super()._split_into_tiles  # type: ignore[misc]
        tiles: list[Image.Image] = split(image, aspect_ratio)
        whole = image.resize((self.size, self.size), Image.Resampling.BICUBIC)
        return [*tiles, whole] if len(tiles) > 1 else tiles


_MENDED: dict[str, type] = {
    "PaddleOCRVLProcessor": _OneByOne,
    "LlavaProcessor": _Unpadded,
    "Llama4Processor": _WithTheWhole,
}


def _flat(images: Any) -> list[Any]:
    if not isinstance(images, list | tuple):
        return [images]
    return [one for image in images for one in _flat(image)]
