"""Pictures as files and data URLs, for tests: drawn, encoded, broken."""

import base64
import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from messages.content import Message, PromptInput

EXIF_ORIENTATION = 0x0112


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as a file; kind is Pillow's name of the format."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def data_url(data: bytes, media_type: str) -> str:
    """A file as a data URL; media_type without `image/`."""
    return f"data:image/{media_type};base64,{base64.b64encode(data).decode()}"


def png_url(picture: Image.Image) -> str:
    """A picture as the data URL of a PNG."""
    return data_url(encoded(picture, "PNG"), "png")


def two_halves(width: int = 80, height: int = 40) -> Image.Image:
    """A picture that shows which side is up: red on the left, blue on the right, a green line at the top."""
    picture = Image.new("RGB", (width, height), "red")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((width // 2, 0, width, height), fill="blue")
    draw.rectangle((0, 0, width, height // 4), fill="lime")
    return picture


def photo(width: int, height: int, quality: int = 90) -> bytes:
    """A JPEG with detail everywhere, so that it is as large as one from a camera."""
    noise = Image.effect_noise((width // 2, height // 2), 60).resize((width, height))
    shades = Image.linear_gradient("L").resize((width, height))
    return encoded(
        Image.merge("RGB", (noise, shades, noise.transpose(Image.Transpose.ROTATE_180))), "JPEG", quality=quality
    )


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than anybody has memory for, in about 2 KB."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _png(_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(bytes(1_000_000))))


def png_of_two(depth: int, samples: Sequence[int], transparent: Sequence[int]) -> bytes:
    """A PNG of two pixels in grey or RGB, of so many bits a sample, with one colour that is transparent (tRNS)."""
    bits = "".join(f"{sample:0{depth}b}" for sample in samples)
    row = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))
    header = struct.pack(">IIBBBBB", 2, 1, depth, 2 if len(transparent) == 3 else 0, 0, 0, 0)
    colour = struct.pack(f">{len(transparent)}H", *transparent)
    return _png(_chunk(b"IHDR", header), _chunk(b"tRNS", colour), _chunk(b"IDAT", zlib.compress(b"\0" + row)))


def _png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def prompt_with(*urls: str) -> PromptInput:
    """A message that asks about pictures."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": "What is it?"}]
    parts += [{"type": "image", "data": url} for url in urls]
    return PromptInput(messages=(Message.model_validate({"role": "user", "content": parts}),))
