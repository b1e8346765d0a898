"""Messages with pictures and sounds in them."""

import base64
import io
import struct
from typing import Literal

import numpy as np
from PIL import Image

from messages.content import AudioPart, ImagePart, ImageUrl, ImageUrlPart, Message, Part, TextPart

SAMPLES_A_SECOND = 16_000


def picture(seed: int = 1, width: int = 200, height: int = 150) -> str:
    """A data URL of a PNG: one colour of sixteen shades, with a stripe of noise, all by `seed`."""
    random = np.random.default_rng(seed)
    pixels = np.broadcast_to(random.integers(0, 255, 3, np.uint8), (height, width, 3)).copy()
    pixels[: height // 2] = random.integers(0, 255, (height // 2, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def wav(tone: float = 440.0, seconds: float = 1.0) -> bytes:
    """A WAV file (16 bits, mono) of one tone in Hz."""
    times = np.arange(int(seconds * SAMPLES_A_SECOND)) / SAMPLES_A_SECOND
    data = (np.sin(2 * np.pi * tone * times) * 20_000).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, SAMPLES_A_SECOND, 2 * SAMPLES_A_SECOND, 2, 16)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def sound(tone: float = 440.0, seconds: float = 1.0) -> str:
    """A data URL of `wav`."""
    return sound_url(wav(tone, seconds))


def sound_url(data: bytes, kind: str = "wav") -> str:
    """A data URL of a sound file's bytes, that says which kind they are of."""
    return f"data:audio/{kind};base64," + base64.b64encode(data).decode()


def look(*parts: str, role: Literal["system", "user", "assistant", "tool"] = "user", openai: bool = False) -> Message:
    """A message of text, and of pictures and sounds where a part is a data URL."""
    return Message(role=role, content=[_part(part, openai) for part in parts])


def _part(part: str, openai: bool) -> Part:
    if part.startswith("data:audio/"):
        return AudioPart(type="audio", data=part)
    if not part.startswith("data:image/"):
        return TextPart(type="text", text=part)
    if openai:
        return ImageUrlPart(type="image_url", image_url=ImageUrl(url=part))
    return ImagePart(type="image", data=part)
