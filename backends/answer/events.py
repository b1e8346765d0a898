"""A generation's events with its raw text read: reasoning, text and tool calls instead of tokens' text.

Above it: `backends.worker`. Below it: `backends.answer.reader`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from backends.answer.reader import AnswerPiece, AnswerReader
from backends.base import CancelToken, GenerationEnd, GenerationEvent, TokenChunk
from messages.facts import FinishReason


class AnswerChunk(NamedTuple):
    """A token and what it has made certain, in the order in which it was written; often nothing."""

    chunk: TokenChunk
    pieces: list[AnswerPiece]


def read_events(
    events: Iterable[GenerationEvent], reader: AnswerReader, cancel: CancelToken
) -> Iterator[GenerationEvent | AnswerChunk]:
    """The events of a generation, an `AnswerChunk` for each `TokenChunk`.

    One that has made as many calls as it may is cancelled; who makes calls ends with `tool_calls`.
    """
    cancelled_here = False
    for event in events:
        match event:
            case TokenChunk():
                yield AnswerChunk(event, reader.feed(event.text, event.tokens))
                if reader.is_full and not cancel.cancelled:
                    cancelled_here = True
                    cancel.cancel()
            case GenerationEnd():
                yield AnswerChunk(TokenChunk("", 0), reader.finish())
                yield _ended(event, reader, cancelled_here)
            case _:
                yield event


def _ended(end: GenerationEnd, reader: AnswerReader, cancelled_here: bool) -> GenerationEnd:
    is_whole = end.finish_reason is FinishReason.STOP or cancelled_here
    reason = FinishReason.TOOL_CALLS if is_whole and reader.calls else end.finish_reason
    return replace(end, finish_reason=reason, reasoning_tokens=reader.reasoning_tokens)
