"""Tells reasoning, text and tool calls apart in a model's raw text, as it streams.

Above it: `backends.answer.plan`. Below it: `backends.answer.dialects` (the marks) and `backends.answer.calls` (what
stands between those of a call). No engine, no I/O. Text is held back only while it may be the beginning of a mark, or
white space before one; what comes does not depend on where the raw text was cut. Nothing is lost: what turns out to be
no call is text, its marks included.
"""

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Any, NamedTuple

from backends.answer.calls import Call, require_some, typed_arguments
from backends.answer.dialects import CallForm, Dialect
from messages.content import CalledFunction, ToolCall

Schemas = Mapping[str, dict[str, Any]]
"""The JSON schema of each tool's arguments, by its name."""


_QUOTES = frozenset("`'\"")

_BETWEEN = "\n\n"
"""Between two blocks of reasoning."""


class AnswerPiece(NamedTuple):
    """New text of an answer; one of the three is not empty."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()


class _Place(Enum):
    TEXT = auto()
    REASONING = auto()
    CALL = auto()


class _Marks:
    """Finds the first of some marks; where one is the beginning of another, the longer one."""

    def __init__(self, marks: Iterable[str]) -> None:
        self._marks = tuple(sorted(set(marks), key=len, reverse=True))
        self._pattern = re.compile("|".join(map(re.escape, self._marks)) or r"(?!)")
        self._longest = max(map(len, self._marks), default=0)
        self.first_characters = frozenset(mark[0] for mark in self._marks)

    def find(self, text: str, start: int, at_end: bool) -> re.Match[str] | None:
        """The first mark from `start` on, if no more text can make a longer one of it; `at_end` none comes."""
        found = self._pattern.search(text, start)
        return found if found is None or at_end or not self._may_grow(text[found.start() :]) else None

    def candidate(self, text: str, start: int) -> int:
        """The first place from which the rest of the text is the beginning of a mark, or the text's end."""
        places = range(max(start, len(text) - self._longest + 1), len(text))
        return next((place for place in places if self._may_grow(text[place:])), len(text))

    def overlap(self, length: int) -> int:
        """How far back from `length` a mark may begin that was not complete there."""
        return max(0, length - self._longest)

    def _may_grow(self, tail: str) -> bool:
        return any(len(tail) < len(mark) and mark.startswith(tail) for mark in self._marks)


class AnswerReader:
    """Reads one answer. Without `schemas` no tool was offered, and calls are text like any other."""

    def __init__(self, dialect: Dialect, schemas: Schemas, in_reasoning: bool, most_calls: int | None = None) -> None:
        self._reasoning = dialect.reasoning
        self._form: CallForm | None = dialect.calls if schemas else None
        self._schemas = schemas
        self._most_calls = most_calls
        self._marks = {place: _Marks(_marks_at(place, dialect, self._form)) for place in _Place}
        self._place = _Place.REASONING if in_reasoning else _Place.TEXT
        self._opened_by = ""
        self._buffer = ""
        self._untold: list[tuple[int, int]] = []
        """Tokens whose text begins in the buffer: the place where, and how many."""
        self._searched = 0
        self._skips_white = in_reasoning
        self._gap = ""
        self._is_fresh = True
        self._has_reasoned = self._begins_again = False
        self._last = ""
        """The last character that was given."""
        self._pieces: list[AnswerPiece] = []
        self.calls = 0
        """Calls that were read so far."""
        self.reasoning_tokens = 0
        """Tokens whose text began in reasoning, the marks around it not counted."""

    @property
    def is_full(self) -> bool:
        """True once there are as many calls as may be; what comes after them is dropped."""
        return self._most_calls is not None and self.calls >= self._most_calls

    def feed(self, text: str, tokens: int = 0) -> list[AnswerPiece]:
        """Take new raw text, of so many tokens, and return what is certain now, in the order of the raw text."""
        if self._is_plain(text):
            if self._place is not _Place.REASONING:
                return [AnswerPiece(text)]
            self.reasoning_tokens += tokens
            return [AnswerPiece(reasoning=text)]
        if tokens:
            self._untold.append((len(self._buffer), tokens))
        self._buffer += text
        while self._step():
            pass
        return self._take()

    def finish(self) -> list[AnswerPiece]:
        """End the answer and return what was held back."""
        while self._step(at_end=True):
            pass
        if self._place is _Place.CALL and self._form is not None and self._form.element is None:
            self._read_calls(self._buffer, "")
        elif self._place is _Place.CALL:  # without its end mark nobody knows whether all arguments have come
            self._give(self._opened_by + self._buffer)
        elif not (self.calls and not self._buffer.strip()):
            self._give(self._buffer)
        self._drop(len(self._buffer) + 1, counts=True)
        return self._take()

    def _is_plain(self, text: str) -> bool:
        """True for text that goes its way as it is: most tokens are, and one costs a microsecond."""
        place = self._place
        if self._buffer or self._skips_white or not text or place is _Place.CALL or self.is_full:
            return False
        if self._untold:  # tokens without text of their own, as half a character: this text is theirs too
            return False
        if place is _Place.TEXT and (self._is_fresh or self._gap):
            return False
        if text[-1].isspace() or not self._marks[place].first_characters.isdisjoint(text):
            return False
        self._last = text[-1]
        return True

    def _take(self) -> list[AnswerPiece]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def _step(self, at_end: bool = False) -> bool:
        """Go on to behind the next mark; False if there is none yet."""
        if self._begins_bare():
            self._place, self._opened_by = _Place.CALL, ""
            return True
        marks = self._marks[self._place]
        found = marks.find(self._buffer, self._searched, at_end)
        if found is None:
            self._give_certain(marks)
            return False
        if self._may_be_quoted(found):
            if found.end() == len(self._buffer) and not at_end:
                return False
            if self._buffer[found.end() : found.end() + 1] == self._before(found):
                self._searched = found.end()
                return True
        self._cross(found)
        return True

    def _may_be_quoted(self, found: re.Match[str]) -> bool:
        """True if the answer may only speak of a mark of reasoning: there is a quotation mark before it."""
        return self._place is not _Place.CALL and self._is_of_reasoning(found[0]) and self._before(found) in _QUOTES

    def _before(self, found: re.Match[str]) -> str:
        """The character before a mark; nothing at an answer's beginning."""
        return self._buffer[found.start() - 1] if found.start() else self._last

    def _is_of_reasoning(self, mark: str) -> bool:
        return self._reasoning is not None and mark in (self._reasoning.start, self._reasoning.end)

    def _begins_bare(self) -> bool:
        if self._form is None or not self._form.bare or not self._is_fresh or self._place is not _Place.TEXT:
            return False
        return self._buffer.lstrip().startswith("{")

    def _give_certain(self, marks: _Marks) -> None:
        """Give what can be no part of a mark, and no white space before one."""
        if self._place is _Place.CALL:
            self._searched = marks.overlap(len(self._buffer))
            return
        certain = len(self._buffer[: marks.candidate(self._buffer, self._searched)].rstrip())
        self._give(self._buffer[:certain])
        self._searched = max(0, self._searched - certain)
        self._drop(certain, counts=True)

    def _drop(self, count: int, *, counts: bool) -> None:
        """Forget the buffer's first characters; with `counts` the tokens that begin there, if it is reasoning."""
        begun = [tokens for place, tokens in self._untold if place < count]
        self._untold = [(place - count, tokens) for place, tokens in self._untold if place >= count]
        self._buffer = self._buffer[count:]
        if counts and self._place is _Place.REASONING:
            self.reasoning_tokens += sum(begun)

    def _cross(self, found: re.Match[str]) -> None:
        """Leave what is before a mark, and begin what is behind it."""
        before, mark = self._buffer[: found.start()], found[0]
        self._drop(len(before), counts=True)
        self._drop(len(mark), counts=False)
        self._searched = 0
        if self._place is _Place.CALL:
            self._leave_call(before, mark)
            return
        if self._place is _Place.REASONING and self._reasoning is not None and mark != self._reasoning.end:
            if before.strip() or not self._skips_white:  # else the model begins what the prompt has begun already
                self._give(before + mark)
            return
        self._give(before.rstrip())
        white = before[len(before.rstrip()) :]
        if self._place is _Place.TEXT and self._form is not None and mark in self._form.starts:
            self._place, self._opened_by = _Place.CALL, white + mark
            return
        self._skips_white, self._gap = True, self._gap or white
        if self._place is _Place.REASONING:
            self._place = _Place.TEXT
        elif self._reasoning is not None and mark == self._reasoning.start:
            self._place, self._begins_again = _Place.REASONING, self._has_reasoned

    def _leave_call(self, body: str, mark: str) -> None:
        assert self._form is not None
        begins_another = mark in self._form.starts
        self._read_calls(body, "" if begins_another else mark)
        self._place = _Place.CALL if begins_another else _Place.TEXT
        self._opened_by = mark if begins_another else ""

    def _read_calls(self, body: str, end: str) -> None:
        assert self._form is not None
        try:
            calls = [self._made(call) for call in require_some(self._form.read(body))]
        except (ValueError, RecursionError):
            self._give(self._opened_by + body + end)
            return
        room = len(calls) if self._most_calls is None else self._most_calls - self.calls
        kept = tuple(calls[:room])
        self.calls += len(kept)
        white = self._opened_by[: len(self._opened_by) - len(self._opened_by.lstrip())]
        self._skips_white, self._gap = True, self._gap or white or "\n"
        if kept:
            self._pieces.append(AnswerPiece(calls=kept))

    def _made(self, call: Call) -> ToolCall:
        """A call as the wire has it. ValueError for bare JSON that names no tool: it may be an answer."""
        if not self._opened_by and call.name not in self._schemas:
            raise ValueError("there is no such tool")
        arguments = json.dumps(typed_arguments(call, self._schemas.get(call.name, {})), ensure_ascii=False)
        return ToolCall(id=new_call_id(), function=CalledFunction(name=call.name, arguments=arguments))

    def _give(self, text: str) -> None:
        """Give text, or reasoning. White space beside marks is left out, but for what stood between two texts."""
        if self._skips_white:
            text = text.lstrip()
        if not text or self.is_full:
            return
        self._skips_white, self._last = False, text[-1]
        if self._place is _Place.REASONING:
            self._pieces.append(AnswerPiece(reasoning=_BETWEEN + text if self._begins_again else text))
            self._has_reasoned, self._begins_again = True, False
            return
        gap, self._gap = self._gap if not self._is_fresh else "", ""
        self._is_fresh = False
        self._pieces.append(AnswerPiece(text=gap + text))


def new_call_id() -> str:
    """An id for a call: nine letters and digits, since Mistral's templates take no others."""
    return f"c{secrets.token_hex(4)}"


def _marks_at(place: _Place, dialect: Dialect, form: CallForm | None) -> list[str]:
    """The marks that mean something at a place."""
    reasoning, calls = dialect.reasoning, form
    match place:
        case _Place.TEXT:
            starts = [*([reasoning.start] if reasoning else []), *(calls.starts if calls else ())]
            return [*starts, *dialect.dropped]
        case _Place.REASONING:
            return [reasoning.start, reasoning.end] if reasoning else []
        case _Place.CALL:
            return [*calls.starts, *calls.ends] if calls else []
