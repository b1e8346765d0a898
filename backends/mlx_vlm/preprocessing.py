"""Pictures and a rendered prompt into what the network takes: token ids, pixel arrays, grids.

Above it: `prompt`. Below it: mlx-vlm's `prepare_inputs` and the model's processor. Pictures come decoded and at the
size at which the processor leaves them as they are, never as paths or addresses, which it would fetch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlx_vlm.models.base import BaseImageProcessor
from mlx_vlm.utils import prepare_inputs
from tokenizers.normalizers import Normalizer, Replace
from tokenizers.normalizers import Sequence as Normalizers

from backends.huggingface.splitting import splitting
from backends.mlx_vlm.failures import engine_errors
from backends.mlx_vlm.mended_processors import mend
from backends.pictures import Fit, Picture, smart_fit
from backends.shield import SHIELD
from messages.data_urls import MAX_PICTURES

LARGEST_AREA = 2_000_000
"""Pixels to which a picture is scaled down for a processor of which we do not know what it does."""

LONGEST_EDGE = 4096
"""The same of a side, for one that scales a picture's longer side to what it says."""

_OF_FRAMES = frozenset({"Glm46VImageProcessor"})
"""Image processors (mlx-vlm 0.7.10) whose bounds are of the pixels in all frames of a patch: a picture fills each."""

_OF_ONE_PICTURE = frozenset({"MolmoProcessor", "LlavaNextProcessor", "GraniteVisionProcessor"})
"""Processors (mlx-vlm 0.7.10) that fail on two pictures, or whose networks look at the first alone."""

_WRONG = frozenset({"Phi3VProcessor"})
"""Processors (mlx-vlm 0.7.10) that leave out a word behind each picture: their models take none here."""


class Preprocessor:
    """A model's processor. `takes_pictures` is False for a tokenizer alone, and for a network that sees nothing."""

    def __init__(self, folder: Path, processor: Any, image_token: int | None, *, sees: bool) -> None:
        """Take a folder's processor over; its tokenizer drops `SHIELD` from now on, once special tokens are found.

        sees is False for a network without its part for pictures, for which mlx-vlm makes a processor all the same.
        """
        self._file = folder / "tokenizer.json"
        mend(processor)
        self._processor = processor
        self._image_token = image_token
        self._tokenizer = getattr(processor, "tokenizer", processor)
        backend = self._tokenizer.backend_tokenizer
        usual: list[Normalizer] = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = Normalizers([Replace(SHIELD, ""), *usual])
        right = sees and type(processor).__name__ not in _WRONG
        self._images = getattr(processor, "image_processor", None) if right else None

    @property
    def takes_pictures(self) -> bool:
        """True if there is something that makes pixel arrays, and something that looks at them."""
        return self._images is not None

    @property
    def fit(self) -> Fit:
        """The size to which a picture is to be scaled."""
        return picture_fit(self._images)

    @property
    def most_pictures(self) -> int:
        """Pictures that a request may have. mlx-vlm's own processors drop all but the first (0.7.10)."""
        of_one = type(self._processor).__name__ in _OF_ONE_PICTURE
        return 1 if of_one or isinstance(self._images, BaseImageProcessor) else MAX_PICTURES

    def spell(self, token: int) -> str:
        """How a special token is written; "" for a number that no token has, as FastVLM's for pictures (-200).

        Raises EngineError.
        """
        if token < 0:
            return ""
        with engine_errors():
            return str(self._tokenizer.convert_ids_to_tokens(token) or "")

    def tokenize(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Tokens of a text; special tokens in it are recognised. Raises EngineError, HostError: see `splitting`."""
        with engine_errors(), splitting(self._file, len(text)):
            return list(map(int, self._tokenizer.encode(text, add_special_tokens=add_special_tokens)))

    def prepare(self, text: str, pictures: Sequence[Picture]) -> tuple[list[int], dict[str, Any]]:
        """Tokens of a text with pictures, their places filled, and the arrays of the pictures. Raises as `tokenize`."""
        with engine_errors(), splitting(self._file, len(text)):
            made: dict[str, Any] = prepare_inputs(
                self._processor,
                images=[picture.pixels for picture in pictures],
                prompts=text,
                image_token_index=self._image_token,
                add_special_tokens=False,
            )
            tokens: list[int] = made.pop("input_ids").flatten().tolist()
        return tokens, {name: value for name, value in made.items() if value is not None}


def picture_fit(images: Any) -> Fit:
    """The size at which an image processor leaves a picture as it is.

    Qwen2-VL's kind has a patch and bounds of the area. Others get a picture that is not larger than they could want,
    and scale it themselves: a size that they name is not always the one to which they scale (gemma4), or is that of
    one tile of many.
    """
    numbers = [getattr(images, name, None) for name in ("patch_size", "merge_size", "min_pixels", "max_pixels")]
    if all(isinstance(number, int) and number > 0 for number in numbers):
        patch, merge, smallest, largest = (int(number) for number in numbers if number is not None)
        frames = images.temporal_patch_size if type(images).__name__ in _OF_FRAMES else 1
        return smart_fit(patch * merge, -(-smallest // frames), largest // frames)
    return _no_larger_than(_longest_edge(images))


def _no_larger_than(edge: int) -> Fit:
    """No larger than `LARGEST_AREA`, or than is needed for a longer side of `edge`."""

    def fit(width: int, height: int) -> tuple[int, int]:
        scale = min(1.0, max((LARGEST_AREA / (width * height)) ** 0.5, edge / max(width, height)))
        return max(1, round(width * scale)), max(1, round(height * scale))

    return fit


def _longest_edge(images: Any) -> int:
    """To what a processor scales a picture's longer side, in pixels, as those of SmolVLM do; 0 for others."""
    size: Any = getattr(images, "size", None)
    if not hasattr(size, "get") or size.get("shortest_edge") is not None:
        return 0
    edge = size.get("longest_edge")
    return min(edge, LONGEST_EDGE) if isinstance(edge, int) else 0
