"""One picture from its file's bytes to upright, scaled RGB, by the one decoder of Pillow that its data URL names.

Above it: `backends.pictures`. Size and orientation come from the header, so that a bomb is refused before a pixel of it
is decoded, and a large JPEG is decoded at the fraction of its size that the model needs (the DCT's own scaling).
"""

import io
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError, features
from PIL.PngImagePlugin import PngImageFile

from backends.cancellation import raise_if_cancelled
from messages.data_urls import format_of

Fit = Callable[[int, int], tuple[int, int]]
"""`(width, height)` of an upright picture, in pixels, to the `(width, height)` that a model takes."""

MAX_PIXELS = 50_000_000
"""Most pixels of one picture as it was sent."""

MAX_ASPECT_RATIO = 200
"""Most times that a picture's longer side may be its shorter; Qwen2-VL's own limit."""

REDUCING_GAP = 2.0
"""How many times larger than wanted a cheap first reduction may leave a picture, each way, before the filter's turn."""

DRAFT_GAP = 1.5
"""The same for the reduction that a JPEG's decoder does: halving 12 megapixels at once saves half of their time."""

UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
)
"""What Pillow raises for broken files; its own classes are among these."""

_ORIENTATION = 0x0112
"""EXIF's tag for how to turn a picture upright (Exif 2.32, 4.6.4)."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_QUARTERS = frozenset(_TURNS[number] for number in (5, 6, 7, 8))

_SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")


_SAMPLES = {"L;2": 85.0, "L;4": 17.0, "I;16B": 1 / 257, "RGB;16B": 1 / 256}
"""What a PNG's samples, by Pillow's name for their layout, are multiplied by to have 8 bits."""


class _Source(io.BytesIO):
    """A file in memory. Decoders take it block by block, and between two blocks a cancellation is seen."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise_if_cancelled()
        return super().read(size)


class PictureProblem(Exception):
    """A picture that cannot be used; the text goes behind its field's name."""


def decode(data: bytes, kind: str, fit: Fit) -> tuple[Image.Image, int, int]:
    """The scaled picture, and the width and height of the upright picture as it was sent.

    kind is Pillow's name of the format. Raises PictureProblem; Cancelled where a decoder lets a cancellation be seen.
    """
    _require_kind(data, kind)
    try:
        with _bombs_are_errors(), Image.open(_Source(data), formats=[kind]) as image:
            return _scaled(image, fit)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureProblem(_too_large("far too many pixels")) from None
    except UNREADABLE as error:
        raise PictureProblem(f"is a broken or truncated {kind} picture: {_reason(error)}") from None


def _scaled(image: Image.Image, fit: Fit) -> tuple[Image.Image, int, int]:
    _require_size(image.width, image.height)
    if image.format not in (
        "JPEG",
        "MPO",
    ):  # elsewhere the orientation may stand behind the pixels, and there is no draft
        _scale_transparent_colour(image)
        image.load()
    turn = _TURNS.get(_orientation(image))
    width, height = _turned(image.size, turn)
    wanted = _turned(fit(width, height), turn)
    image.draft(None, (round(wanted[0] * DRAFT_GAP), round(wanted[1] * DRAFT_GAP)))
    image.load()
    raise_if_cancelled()
    pixels = _flat(_straight(image).resize(wanted, Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP))
    return (pixels if turn is None else pixels.transpose(turn)), width, height


def _require_kind(data: bytes, kind: str) -> None:
    found = format_of(data)
    if found is None:
        raise PictureProblem(f"says that it is {kind}, and its content is no picture of a known format")
    if found != kind:
        raise PictureProblem(f"says that it is {kind}, and its content is {found}")
    if kind in ("AVIF", "WEBP") and not features.check(kind.lower()):
        raise PictureProblem(f"is {kind}, which this build of Pillow cannot read; send PNG or JPEG")


def _require_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PictureProblem(_too_large(f"{width} x {height} pixels"))
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise PictureProblem(f"is {width} x {height} pixels: one side is over {MAX_ASPECT_RATIO} times the other")


def _too_large(has: str) -> str:
    return f"has {has}, and {MAX_PIXELS // 1_000_000} million are the most; make the picture smaller"


@contextmanager
def _bombs_are_errors() -> Iterator[None]:
    """Pillow's other warnings are of no use to anybody: a picture is read, or an error says why not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _orientation(image: Image.Image) -> int:
    """EXIF's number for how the picture lies; 1 (upright) without one. Broken EXIF does not make a broken picture."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except UNREADABLE:
        return 1


def _scale_transparent_colour(image: Image.Image) -> None:
    """Bring a PNG's transparent colour to 8 bits, as its pixels will be; Pillow 13.0 leaves it at the file's own."""
    colour = image.info.get("transparency")
    if not isinstance(image, PngImageFile) or not image.tile or colour is None:
        return
    scale = _SAMPLES.get(str(image.tile[0].args), 1.0)
    if isinstance(colour, int):
        image.info["transparency"] = int(colour * scale)
    elif isinstance(colour, tuple):
        image.info["transparency"] = tuple(int(one * scale) for one in colour)


def _turned(size: tuple[int, int], turn: Image.Transpose | None) -> tuple[int, int]:
    """A size with its sides exchanged, if the turn does that (EXIF's 5 to 8)."""
    lying = turn is not None and turn in _QUARTERS
    return (size[1], size[0]) if lying else size


def _straight(image: Image.Image) -> Image.Image:
    """The picture in RGB, or in RGBA where some of it is transparent; 16 bits of grey become 8."""
    if image.mode in _SIXTEEN_BITS:
        image = image.convert("I").point(lambda value: value / 257).convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _flat(image: Image.Image) -> Image.Image:
    """What is transparent shows white, as on a page."""
    if image.mode == "RGB":
        return image
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image)
    return ground.convert("RGB")


def _reason(error: Exception) -> str:
    """Pillow's own words, on one line and not at any length."""
    words = " ".join(str(error).split()) or type(error).__name__
    return "it cannot be read" if isinstance(error, UnidentifiedImageError) else words[:120]
