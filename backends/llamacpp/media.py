"""The pictures and sounds of a prompt: decoded, as tokens and cells.

Above it: `prompt`. Below it: `multimodal`, `sounds` and `backends.pictures`.
"""

from collections.abc import Sequence

from backends.llamacpp.abort import Aborted, AbortFlag
from backends.llamacpp.multimodal import MAX_WHOLE_TOKENS, Chunk, Chunks, Multimodal
from backends.llamacpp.places import Media, Medium, refused
from backends.llamacpp.projector import Projector
from backends.llamacpp.sound_files import MAX_SECONDS
from backends.llamacpp.sounds import Sound, bad_sound, read_sounds
from backends.pictures import Fit, Picture, read_pictures, smart_fit
from messages.content import AudioPart, ImagePart, ImageUrlPart, PromptInput, TextPart
from messages.errors import ErrorCode, HostError

_LONGEST_SIDE = 2048
"""Of a picture that clip scales by its own rule, in pixels: none of its models looks at more."""

_MOST_NAMES = 4096


class MediaReader:
    """Reads the pictures and sounds of prompts for one projector in a context of so many tokens."""

    def __init__(self, projector: Projector, multimodal: Multimodal, context: int) -> None:
        self._multimodal = multimodal
        self._cells = _Cells()
        smart = projector.smart(context)
        self._fit: Fit = smart_fit(smart.factor, *smart.bounds) if smart else _within_longest_side

    def read(self, prompt: PromptInput, flag: AbortFlag | None) -> Media:
        """Decode what a prompt has; HostError `invalid_request` or `unsupported_option` for what cannot be read.

        Raises `Aborted` between two pictures once `flag` is raised.
        """

        def fit(width: int, height: int) -> tuple[int, int]:
            if flag is not None and flag.raised:
                raise Aborted
            return self._fit(width, height)

        self._require_support(prompt)
        pictures = read_pictures(prompt, fit)
        sounds = read_sounds(prompt)
        media = Media(pictures=tuple(picture.figures for picture in pictures))
        for picture in pictures:
            if picture.digest not in media.by_digest:
                media.by_digest[picture.digest] = self._medium(picture.digest, self._split_picture(picture))
        for sound in sounds:
            if sound.digest not in media.by_digest:
                media.by_digest[sound.digest] = self._medium(sound.digest, self._split_sound(sound))
        media.digests = _in_order(prompt, [one.digest for one in pictures], [one.digest for one in sounds])
        return media

    def _require_support(self, prompt: PromptInput) -> None:
        if prompt.has_part("image") and not self._multimodal.vision:
            raise refused("image")
        if prompt.has_part("audio") and not self._multimodal.audio:
            raise refused("audio")

    def _split_picture(self, picture: Picture) -> Chunks:
        chunks = self._multimodal.split_picture(picture.pixels)
        if chunks is None:
            text = f"A picture of {picture.width} x {picture.height} pixels cannot be read by the model's projector."
            fields = ["messages: a picture cannot be read"]
            raise HostError(ErrorCode.INVALID_REQUEST, text, fields=fields)
        return chunks

    def _split_sound(self, sound: Sound) -> Chunks:
        chunks = self._multimodal.split_sound(sound.data, MAX_SECONDS)
        if chunks is None:
            minutes = f"{MAX_SECONDS / 60:.0f} minutes"
            raise bad_sound(sound.field, f"is a broken or truncated sound file, or longer than {minutes}")
        return chunks

    def _medium(self, digest: str, chunks: Chunks) -> Medium:
        pieces = chunks.pieces()
        cell = self._cells.first(digest, sum(piece.tokens for piece in pieces if isinstance(piece, Chunk)))
        medium = Medium([], {})
        for piece in pieces:
            if isinstance(piece, Chunk):
                self._require_size(piece)
                medium.chunks[cell] = piece
                medium.tokens.extend(range(cell, cell - piece.tokens, -1))
                cell -= piece.tokens
            else:
                _require_tokens(piece)
                medium.tokens.extend(piece)
        return medium

    def _require_size(self, chunk: Chunk) -> None:
        if chunk.tokens > MAX_WHOLE_TOKENS and self._multimodal.decodes_at_once(chunk):
            text = f"A picture of {chunk.tokens} tokens is more than this model reads; make it smaller."
            raise HostError(ErrorCode.INVALID_REQUEST, text, fields=["messages: a picture is too large"])


class _Cells:
    """Gives each picture and each sound numbers of its own: negative ones, downwards."""

    def __init__(self) -> None:
        self._next = -1
        self._firsts: dict[str, int] = {}

    def first(self, digest: str, count: int) -> int:
        """The first of a picture's `count` numbers: the same ones each time that it comes."""
        first = self._firsts.pop(digest, None)
        if first is None:
            first = self._next
            self._next -= count
        self._firsts[digest] = first
        if len(self._firsts) > _MOST_NAMES:
            del self._firsts[next(iter(self._firsts))]
        return first


def _require_tokens(tokens: tuple[int, ...]) -> None:
    """The library puts -1 for a token around pictures that the model's vocabulary does not have."""
    if min(tokens, default=0) < 0:
        text = "The model's vocabulary lacks a token that its projector puts around pictures: they are of two models."
        raise HostError(ErrorCode.MODEL_INVALID, text)


def _within_longest_side(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, _LONGEST_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _in_order(prompt: PromptInput, pictures: Sequence[str], sounds: Sequence[str]) -> list[str]:
    left = {ImagePart: iter(pictures), AudioPart: iter(sounds)}
    contents = [message.content for message in prompt.messages or () if not isinstance(message.content, str)]
    kinds = [ImagePart if isinstance(part, ImageUrlPart) else type(part) for parts in contents for part in parts]
    return [next(left[kind]) for kind in kinds if kind is not TextPart]
