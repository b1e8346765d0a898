"""A model's vocabulary: text into tokens, tokens into bytes, and which of them end a turn."""

import ctypes
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import llama_cpp

from backends.logprobs import spelled
from backends.shield import SHIELD, shield
from messages.content import Message

_PIECE_BYTES = 256
_SLAB_CHARACTERS = 16_384
_ROOM_TOKENS = 1024


class Vocabulary:
    """The vocabulary of a loaded model, which must outlive it."""

    def __init__(self, model: Any) -> None:
        self.handle = llama_cpp.llama_model_get_vocab(model)
        self.size: int = llama_cpp.llama_vocab_n_tokens(self.handle)
        self.bos: int = llama_cpp.llama_vocab_bos(self.handle)
        self.pieces = Pieces(self.handle)
        self._pieces_with: dict[frozenset[int], Pieces] = {}
        self._room = (llama_cpp.llama_token * _ROOM_TOKENS)()
        """Kept, since ctypes makes a class for each length of an array."""
        self._adds_bos = bool(llama_cpp.llama_vocab_get_add_bos(self.handle)) and self.bos >= 0

    @cached_property
    def control(self) -> re.Pattern[str]:
        """Matches the spelling of any control token; nothing if there are none."""
        tokens = filter(lambda token: llama_cpp.llama_vocab_is_control(self.handle, token), range(self.size))
        spellings = sorted(filter(None, map(self.spelling, tokens)), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, spellings)) or r"(?!)")

    def spelling(self, token: int) -> str:
        """A token as it stands in the vocabulary ("<|im_end|>"); empty for -1."""
        if token < 0:
            return ""
        text: bytes = llama_cpp.llama_vocab_get_text(self.handle, token)
        return text.decode("utf-8", "replace")

    def spell(self, token: int) -> tuple[str, bytes | None]:
        """A token's name and the bytes that it writes; None for a control token, which writes nothing."""
        data = self.pieces[token]
        return spelled(data) if data else (self.spelling(token), None)

    @property
    def bos_text(self) -> str:
        """The beginning token's spelling."""
        return self.spelling(self.bos)

    @property
    def eos_text(self) -> str:
        """The end token's spelling."""
        return self.spelling(llama_cpp.llama_vocab_eos(self.handle))

    def tokenize_prompt(self, text: str) -> list[int]:
        """Tokens of a whole prompt: special tokens in it are read as such, and it begins with BOS exactly once.

        A `SHIELD` is where two parts of the text must not be read as one token; it is not part of the text itself.
        """
        tokens = self.tokenize_rest(text)
        if self._adds_bos and tokens[:1] != [self.bos]:
            return [self.bos, *tokens]
        return tokens

    def tokenize_rest(self, text: str) -> list[int]:
        """Tokens of a text that goes on from another."""
        return [token for part in text.split(SHIELD) for slab in self._slabs(part) for token in self._tokenize(slab)]

    def shield(self, messages: Sequence[Message]) -> list[Message]:
        """Messages in which what spells a control token is no control token: content must not end its own turn."""
        return [shield(message, self.control) for message in messages]

    def known(self, marks: Iterable[str]) -> frozenset[str]:
        """Those of some marks that are one token."""
        return frozenset(mark for mark in marks if len(self._tokenize(mark)) == 1)

    def pieces_with(self, markers: frozenset[str]) -> "Pieces":
        """The pieces, control tokens among them whose spelling is to be seen."""
        shown = {self._tokenize(mark)[0]: mark.encode() for mark in self.known(markers)}
        hidden = {token: text for token, text in shown.items() if self.pieces[token] == b""}
        if not hidden:
            return self.pieces
        return self._pieces_with.setdefault(frozenset(hidden), Pieces(self.handle, hidden))

    def _slabs(self, text: str) -> Iterator[str]:
        """Cut a long text before control tokens: the engine's time grows with the square of how many there are."""
        start = 0
        if len(text) > _SLAB_CHARACTERS:
            for found in self.control.finditer(text):
                if found.start() - start > _SLAB_CHARACTERS:
                    yield text[start : found.start()]
                    start = found.start()
        yield text[start:]

    def _tokenize(self, text: str) -> list[int]:
        data = text.encode("utf-8", "replace")
        if len(data) + 8 > len(self._room):
            self._room = (llama_cpp.llama_token * (2 * len(data)))()
        tokens = self._room
        count = llama_cpp.llama_tokenize(self.handle, data, len(data), tokens, len(tokens), False, True)
        if count < 0:
            raise RuntimeError(f"llama_tokenize wants room for {-count} tokens of {len(data)} bytes")
        return tokens[:count]


class Pieces(dict[int, bytes | None]):
    """The bytes of each token, looked up once; None for a token that ends the turn, nothing for control tokens.

    shown are the bytes of control tokens that are to be seen.
    """

    def __init__(self, vocabulary: Any, shown: Mapping[int, bytes] | None = None) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self._shown = shown or {}
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)

    def __missing__(self, token: int) -> bytes | None:
        """Ask the engine, and keep the answer."""
        ends = llama_cpp.llama_vocab_is_eog(self._vocabulary, token)
        piece = None if ends else self._shown.get(token) or self._bytes(token)
        self[token] = piece
        return piece

    def _bytes(self, token: int) -> bytes:
        to_piece = llama_cpp.llama_token_to_piece
        length = to_piece(self._vocabulary, token, self._buffer, len(self._buffer), 0, False)
        if length < 0:
            self._buffer = ctypes.create_string_buffer(-length)
            length = to_piece(self._vocabulary, token, self._buffer, len(self._buffer), 0, False)
        return self._buffer.raw[:length]
