"""Data URLs of pictures (RFC 2397): what can be said against one without decoding it.

Above it: `messages.content`, which holds every picture against it, and `backends.pictures`, which decodes. Only the
first bytes and the length are looked at: a request may carry many megabytes, and the daemon's loop must not wait.
"""

import re
from base64 import b64encode
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

PICTURE_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/jpg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/x-ms-bmp": "BMP",
    "image/avif": "AVIF",
}
"""The media types that are taken, and the names of their formats."""

_SIGNATURES = (
    ("PNG", 0, b"\x89PNG\r\n\x1a\n"),
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("GIF", 0, b"GIF87a"),
    ("GIF", 0, b"GIF89a"),
    ("BMP", 0, b"BM"),
    ("WEBP", 8, b"WEBP"),
    *(("AVIF", 4, b"ftyp" + brand) for brand in (b"avif", b"avis", b"mif1", b"msf1")),
)
"""Names of formats, and the bytes that their files have at a place."""

MAX_PICTURE_BYTES = 20_000_000
"""Most bytes of one picture, as a file."""

MAX_PICTURES = 16
"""Most pictures of one request."""

_HEADER_CHARACTERS = 128
_HEADER = re.compile(r"data:(?P<type>[^;,]*)(?P<parameters>[^,]*),", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PictureUrl:
    """A picture's data URL, read as far as its comma: the format that it names, and its base64."""

    format: str
    base64: str


def format_of(data: bytes) -> str | None:
    """The format that a file's first bytes are of; None if it is none that is taken."""
    return next((name for name, at, sign in _SIGNATURES if data[at : at + len(sign)] == sign), None)


def as_picture_url(data: bytes) -> str | None:
    """A file as a data URL of its own type; None if it is no picture of a format that is taken."""
    kind = format_of(data)
    return kind and f"data:image/{kind.lower()};base64,{b64encode(data).decode('ascii')}"


def check_picture_url(url: str) -> str:
    """Return a picture's data URL as it is; PydanticCustomError with what is wrong with it."""
    _payload_start(url)
    return url


def split_picture_url(url: str) -> PictureUrl:
    """Read a URL that `check_picture_url` has let pass."""
    kind, start = _payload_start(url)
    return PictureUrl(kind, url[start:])


def _payload_start(url: str) -> tuple[str, int]:
    header = _HEADER.match(url[:_HEADER_CHARACTERS])
    if header is None:
        raise _wrong("must be a data URL (data:image/png;base64,...); no address is fetched and no file is read")
    media_type = header["type"].strip().lower()
    if media_type not in PICTURE_FORMATS:
        named = f"is of type {media_type}" if media_type else "names no type"
        raise _wrong(
            f"{named}; a picture is one of image/png, image/jpeg, image/webp, image/gif, image/bmp, image/avif"
        )
    if header["parameters"].lower().rpartition(";")[2].strip() != "base64":
        raise _wrong(f"must be in base64 (data:{media_type};base64,...)")
    size = (len(url) - header.end()) // 4 * 3 - url[-2:].count("=")
    if size > MAX_PICTURE_BYTES:
        raise _wrong(f"is larger than {MAX_PICTURE_BYTES // 1_000_000} MB; make the picture smaller")
    return PICTURE_FORMATS[media_type], header.end()


def _wrong(text: str) -> PydanticCustomError:
    return PydanticCustomError("picture_url", "{text}", {"text": text})
