"""Checks a sound file before the engine decodes it: what its header says must not make the engine run out of memory.

Above it: `sounds`. The engine makes room for as many samples as the header announces, and ends the process if there is
none. Source: miniaudio's decoders, which llama.cpp's `mtmd-helper.cpp` uses; RIFF, RFC 9639 (FLAC), ID3v2.4.
"""

import re
import struct

MAX_SECONDS = 600.0
"""Longest sound, in seconds: models of today hear pieces of thirty seconds each."""

SOUND_FORMATS = {
    "audio/wav": "WAV",
    "audio/wave": "WAV",
    "audio/x-wav": "WAV",
    "audio/vnd.wave": "WAV",
    "audio/mpeg": "MP3",
    "audio/mp3": "MP3",
    "audio/x-mp3": "MP3",
    "audio/flac": "FLAC",
    "audio/x-flac": "FLAC",
}
"""The media types that are taken, and the names of their formats."""

_PLAIN_WAV = frozenset([1, 3, 6, 7, 0xFFFE])
"""PCM, float, A-law, mu-law, extensible: formats whose length follows from the size of their samples."""

_BROKEN_WAV = "is a broken or truncated WAV file"

_MP3_LENGTHS = re.compile(b"Xing|Info|VBRI")
"""Marks of an MP3 file's own idea of its length; without them the decoder counts."""


class SoundProblem(Exception):
    """A file that cannot be used; the text goes behind its field's name."""


def harmless(data: bytes, media_type: str) -> bytes:
    """The file as the engine may have it, without tags before it. Raises SoundProblem, also for one of another type."""
    data = _without_tags(data)
    named, found = SOUND_FORMATS.get(media_type), _format_of(data)
    if named is None:
        raise SoundProblem(f"is of type {media_type[:100]}; a sound is one of audio/wav, audio/mpeg, audio/flac")
    if found is None:
        raise SoundProblem("is not a WAV, MP3 or FLAC file")
    if found != named:
        raise SoundProblem(f"says that it is {named}, and its content is {found}")
    if found == "WAV":
        seconds, end = _wav_length(data)
        _require_short(seconds)
        if end > len(data):
            raise SoundProblem(_BROKEN_WAV)
        return data
    if found == "FLAC":
        _require_short(_flac_seconds(data))
        return data
    return _MP3_LENGTHS.sub(bytes(4), data)


def _format_of(data: bytes) -> str | None:
    """The format that a file's first bytes are of; None if it is none that is taken."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "WAV"
    if data[:4] == b"fLaC":
        return "FLAC"
    return "MP3" if len(data) > 1 and data[0] == 0xFF and data[1] >= 0xE0 else None


def _require_short(seconds: float) -> None:
    if seconds > MAX_SECONDS:
        raise SoundProblem(f"says that it is longer than {MAX_SECONDS / 60:.0f} minutes")


def _without_tags(data: bytes) -> bytes:
    while data[:3] == b"ID3" and len(data) > 10:
        size = sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
        data = data[10 + size + (10 if data[5] & 0x10 else 0) :]
    return data


def _wav_length(data: bytes) -> tuple[float, int]:
    """How long a WAV file says that it is: in seconds, and in bytes to the end of its samples."""
    rate, place = 0.0, 12
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        if name == b"data" and rate:
            return float(size) / rate, place + 8 + size
        if name == b"fmt ":
            if rate or size < 16 or place + 24 > len(data):
                break
            rate = _wav_rate(*struct.unpack_from("<HHIIHH", data, place + 8))
        place += 8 + size + size % 2
    raise SoundProblem(_BROKEN_WAV)


def _wav_rate(kind: int, channels: int, samples: int, _: int, __: int, bits: int) -> float:
    """Bytes a second."""
    if kind not in _PLAIN_WAV or bits not in (8, 16, 24, 32, 64) or not 0 < channels <= 16 or not samples:
        raise SoundProblem("is a WAV file of a kind that is not read; send PCM of 16 bits")
    return samples * channels * bits / 8


def _flac_seconds(data: bytes) -> float:
    """How long a FLAC file says that it is."""
    if len(data) < 42 or data[4] & 0x7F != 0:
        raise SoundProblem("is a broken or truncated FLAC file")
    packed = int.from_bytes(data[18:26], "big")
    rate, samples = packed >> 44, packed & 0xFFFFFFFFF
    if not rate or not samples:
        raise SoundProblem("is a FLAC file that does not say how long it is")
    return samples / rate
