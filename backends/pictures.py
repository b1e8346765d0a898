"""Pictures as a model takes them: decoded, upright, RGB, scaled. One way for every engine: all see equal pixels.

Above it: the backends that take pictures, in their worker's engine thread. Below it: `backends.picture_decoding`. It
imports Pillow, which the daemon never does.
"""

import binascii
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from backends.cancellation import raise_if_cancelled, run_beside
from backends.picture_decoding import Fit, PictureProblem, decode
from messages.content import PromptInput, picture_urls
from messages.data_urls import MAX_PICTURES, split_picture_url
from messages.errors import ErrorCode, HostError
from messages.facts import PictureFigures

__all__ = ["Fit", "Picture", "read_pictures", "smart_fit"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a model takes it.

    pixels are RGB, upright and scaled; width and height are those of the upright picture as it was sent; digest is the
    SHA-256, in hexadecimal, of the scaled pixels and their size: equal digests are equal pictures to the model.
    """

    pixels: Image.Image
    width: int
    height: int
    digest: str

    @property
    def figures(self) -> PictureFigures:
        """Its sizes, for `stats.pictures`."""
        scaled_width, scaled_height = self.pixels.size
        return PictureFigures(
            width=self.width, height=self.height, scaled_width=scaled_width, scaled_height=scaled_height
        )


def read_pictures(prompt: PromptInput, fit: Fit, most: int = MAX_PICTURES) -> tuple[Picture, ...]:
    """Decode all pictures of a prompt, in order of appearance, each scaled to what `fit` says.

    Raises HostError `invalid_request` whose `fields` name the message and part: too many, bad base64, not what the
    data URL says, too large, broken, truncated; Cancelled as soon as the generation is (see `backends.cancellation`).
    """
    found = list(picture_urls(prompt.messages or ()))
    if len(found) > most:
        raise _invalid("messages", f"has {len(found)} pictures, and this model takes at most {most} a request")
    return run_beside(lambda: tuple(_read(field, url, fit) for field, url in found))


def smart_fit(factor: int, min_pixels: int, max_pixels: int) -> Fit:
    """Qwen2-VL's rule: both sides multiples of `factor`, the area within the bounds, the aspect ratio nearly kept.

    It is `smart_resize` of transformers' `image_processing_qwen2_vl`, which leaves what comes out here as it is. Where
    the shorter side is down at `factor`, the longer one gives way to the bound.
    """

    def fit(width: int, height: int) -> tuple[int, int]:
        sides = round(width / factor) * factor, round(height / factor) * factor
        if sides[0] * sides[1] > max_pixels:
            sides = _scaled(width, height, max_pixels, factor, math.floor)
        elif sides[0] * sides[1] < min_pixels:
            sides = _scaled(width, height, min_pixels, factor, math.ceil)
        longest = max(max_pixels // min(sides) // factor, 1) * factor
        return min(sides[0], longest), min(sides[1], longest)

    return fit


def _scaled(width: int, height: int, pixels: int, factor: int, rounded: Callable[[float], int]) -> tuple[int, int]:
    """The sides at an area of about `pixels`, each a multiple of `factor` and not nothing."""
    scale = math.sqrt(pixels / (width * height)) / factor
    return max(rounded(width * scale), 1) * factor, max(rounded(height * scale), 1) * factor


def _read(field: str, url: str, fit: Fit) -> Picture:
    raise_if_cancelled()
    sent = split_picture_url(url)
    try:
        pixels, width, height = decode(_bytes(sent.base64), sent.format, fit)
    except PictureProblem as problem:
        raise _invalid(field, str(problem)) from None
    digest = hashlib.sha256(f"{pixels.width}x{pixels.height}".encode())
    digest.update(pixels.tobytes())
    return Picture(pixels, width, height, digest.hexdigest())


def _bytes(base64: str) -> bytes:
    try:
        data = binascii.a2b_base64(base64, strict_mode=True)
    except ValueError as error:
        raise PictureProblem(f"is not valid base64 ({error})") from None
    if base64.endswith("==="):  # Python lets this pass
        raise PictureProblem("is not valid base64 (more than two = at its end)")
    return data


def _invalid(field: str, problem: str) -> HostError:
    text = f"{field}: {problem}"
    return HostError(ErrorCode.INVALID_REQUEST, f"The request is not valid: {text}.", fields=[text])
