"""The sounds of a prompt, out of their data URLs: WAV, MP3 and FLAC files, which the engine decodes itself.

Above it: `media`.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass

from backends.llamacpp.sound_files import SoundProblem, harmless
from messages.content import AudioPart, PromptInput
from messages.errors import ErrorCode, HostError

MAX_SOUND_BYTES = 16_000_000
MAX_SOUNDS = 16


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound file's bytes and their SHA-256 in hexadecimal. field names the part of the request that it stood in."""

    field: str
    data: bytes
    digest: str


def read_sounds(prompt: PromptInput) -> list[Sound]:
    """The sounds of a prompt, in order of appearance.

    Raises HostError `invalid_request` whose `fields` name the message and part: too many, bad base64, too large, of
    another kind.
    """
    sounds = []
    for number, message in enumerate(prompt.messages or ()):
        for place, part in enumerate([] if isinstance(message.content, str) else message.content):
            if isinstance(part, AudioPart):
                field = f"messages[{number}].content[{place}].data"
                data = _sound_bytes(part.data, field)
                sounds.append(Sound(field, data, hashlib.sha256(data).hexdigest()))
    if len(sounds) > MAX_SOUNDS:
        raise bad_sound("messages", f"has {len(sounds)} sounds, and a request takes at most {MAX_SOUNDS}")
    return sounds


def _sound_bytes(url: str, name: str) -> bytes:
    head, _, encoded = url.partition(",")
    try:
        data = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        data = b""
    if not head.endswith(";base64") or not data:
        raise bad_sound(name, "is not a data URL in base64")
    if len(data) > MAX_SOUND_BYTES:
        raise bad_sound(name, f"is larger than {MAX_SOUND_BYTES // 1_000_000} MB")
    try:
        return harmless(data, head.removeprefix("data:").partition(";")[0].lower())
    except SoundProblem as problem:
        raise bad_sound(name, str(problem)) from None


def bad_sound(name: str, problem: str) -> HostError:
    """The error for a sound that cannot be used; `problem` goes behind its field's name."""
    return HostError(ErrorCode.INVALID_REQUEST, f"The sound {name} {problem}.", fields=[f"{name}: {problem}"])
