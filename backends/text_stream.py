"""Text out of a token stream: bytes into characters, and an end at stop strings. No engine, no I/O.

Above it: the backends that decode token by token (llamacpp, onnx).
"""

import codecs
from collections.abc import Sequence


class Utf8Assembler:
    """Decodes UTF-8 that is cut anywhere; what is not UTF-8 becomes U+FFFD, as in the Unicode Standard, table 3-8."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def feed(self, data: bytes) -> str:
        """Return the characters that are complete now; an incomplete tail is held back."""
        return self._decode(data)

    def flush(self) -> str:
        """End the stream: U+FFFD for a character that was never completed, else nothing."""
        return self._decode(b"", True)


class StopFilter:
    """Passes text on up to the first stop string, and withholds exactly what may still become one.

    The stop string that is complete first wins, and of those that end at one place the longest, so the outcome does
    not depend on where the text was cut. The stop string itself is not passed on.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(dict.fromkeys(stop for stop in stops if stop))
        self._first_characters = frozenset(stop[0] for stop in self._stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.stopped = False
        """True once a stop string was found; from then on nothing is passed."""

    def feed(self, text: str) -> str:
        """Take new text and return what can no longer be part of a stop string."""
        if self.stopped:
            return ""
        if not self._held and self._first_characters.isdisjoint(text):
            return text
        buffer = self._held + text
        start = self._find(buffer)
        if start is not None:
            self.stopped = True
            self._held = ""
            return buffer[:start]
        kept = self._first_candidate(buffer)
        self._held = buffer[kept:]
        return buffer[:kept]

    def flush(self) -> str:
        """End the stream and return what was withheld."""
        held, self._held = self._held, ""
        return held

    def _find(self, buffer: str) -> int | None:
        """The start of the match that ends first, or None."""
        starts = ((buffer.find(stop), len(stop)) for stop in self._stops)
        ends = [(start + length, start) for start, length in starts if start >= 0]
        return min(ends)[1] if ends else None

    def _first_candidate(self, buffer: str) -> int:
        """The first place from which the rest of the buffer is the beginning of a stop string."""
        for place in range(max(0, len(buffer) - self._longest + 1), len(buffer)):
            if buffer[place] in self._first_characters:
                tail = buffer[place:]
                if any(stop.startswith(tail) for stop in self._stops):
                    return place
        return len(buffer)
