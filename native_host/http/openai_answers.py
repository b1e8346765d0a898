"""What the OpenAI endpoints answer with: whole answers, and streams of them as server-sent events.

Above it: `native_host.http.openai_routes`. Below it: `messages.replies`. Nothing here waits: text and results go in,
JSON objects and events come out. The responses endpoint has a module of its own, `native_host.http.openai_responses`.

Source: OpenAI's API reference, and the types of the `openai` Python client 3.52, which its tests read the answers with.
"""

import base64
import secrets
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from messages.facts import Figures, FinishReason
from messages.frames import JsonObject, dump, quoted
from messages.replies import Embedded, Generated, Partial, call_deltas
from native_host.http.event_lines import json_line
from native_host.http.openai_logprobs import CompletionLogprobs, Tokens, chat_logprobs

DONE = "data: [DONE]\n\n"

_PLACE = "\ufdd0"
"""A noncharacter of Unicode, which stands for the text that is to come."""


class Answer(Protocol):
    """An answer, whole or as a stream: what comes first, for each piece of text, at the end, and instead of an end."""

    def whole(self, result: Generated) -> JsonObject:
        """The answer as one object."""

    def begin(self) -> Iterator[str]:
        """The events before any text."""

    def partial(self, partial: Partial) -> Iterator[str]:
        """The events of new text, reasoning and tool calls, and of the tokens if these were asked for."""

    def end(self, result: Generated) -> Iterator[str]:
        """The events after the last text."""

    def fail(self, error: JsonObject) -> Iterator[str]:
        """The events of a generation that failed after the stream had begun; `error` in OpenAI's shape."""


def event(data: Mapping[str, Any], name: str | None = None) -> str:
    """One server-sent event."""
    line = f"data: {json_line(dump(data))}\n\n"
    return f"event: {name}\n{line}" if name else line


class TextEvent:
    """An event that is known but for one text in it: the text of a token, which is to go out at once.

    Most of what makes an event would have left the processor's caches when the engine's step is over.
    """

    def __init__(self, with_text: Callable[[str], Mapping[str, Any]]) -> None:
        """`with_text` gives the event's data with a text in its place, behind all that callers choose."""
        self._before, _, self._after = event(with_text(_PLACE)).rpartition(quoted(_PLACE))

    def of(self, text: str) -> str:
        """The event with this text."""
        return f"{self._before}{json_line(quoted(text))}{self._after}"


def comment(text: str) -> str:
    """A line that clients pass over, so that nobody takes a long prefill for a dead connection."""
    return f": {text}\n\n"


def new_id(prefix: str) -> str:
    """An id of an answer."""
    return f"{prefix}{secrets.token_hex(12)}"


def finish_reason(result: Generated) -> str:
    """Why it ended, in OpenAI's words, which have none for a generation that somebody stopped."""
    reason = result.finish_reason or FinishReason.STOP
    return str(FinishReason.STOP if reason == FinishReason.CANCELLED else reason)


def usage(*stats: Figures) -> JsonObject:
    """Token counts, the engine's own, of one generation or of several together."""
    prompt, completion = (sum(one.input_tokens or 0 for one in stats), sum(one.output_tokens or 0 for one in stats))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(one.cached_tokens or 0 for one in stats)},
        "completion_tokens_details": {"reasoning_tokens": sum(one.reasoning_tokens or 0 for one in stats)},
    }


class ChatAnswer:
    """The answer to one chat completion, whole or in chunks."""

    def __init__(self, model: str, include_usage: bool = False) -> None:
        self._include_usage = include_usage
        self._head = _head("chatcmpl-", model) | {"system_fingerprint": None}
        self._text: TextEvent | None = None

    def whole(self, result: Generated) -> JsonObject:
        """The chat completion."""
        message: JsonObject = {"role": "assistant", "content": result.text, "refusal": None}
        if result.reasoning:
            message["reasoning_content"] = result.reasoning
        if result.tool_calls:
            calls = [call.model_dump() for call in result.tool_calls]
            message |= {"content": result.text or None, "tool_calls": calls}
        logprobs = chat_logprobs(result.logprobs)
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish_reason(result)}
        return self._head | {"object": "chat.completion", "choices": [choice], "usage": usage(result.stats)}

    def begin(self) -> Iterator[str]:
        """The chunk that names the role."""
        yield self._chunk({"role": "assistant", "content": ""})
        self._text = TextEvent(lambda text: self._data({"content": text}))

    def partial(self, partial: Partial) -> Iterator[str]:
        """A chunk of text, reasoning (under the name that DeepSeek gave it) or tool calls, each of these whole."""
        if self._text is not None and partial.is_plain:
            yield self._text.of(partial.text)
            return
        delta: JsonObject = {}
        if partial.reasoning:
            delta["reasoning_content"] = partial.reasoning
        if partial.text or not (partial.reasoning or partial.tool_calls):
            delta["content"] = partial.text
        if partial.tool_calls:
            delta["tool_calls"] = call_deltas(partial.tool_calls, partial.first_call)
        yield self._chunk(delta, tokens=partial.logprobs)

    def end(self, result: Generated) -> Iterator[str]:
        """Why it ended, usage if it was asked for, and the end mark."""
        yield self._chunk({}, finish_reason(result))
        if self._include_usage:
            yield event(self._head | {"object": "chat.completion.chunk", "choices": [], "usage": usage(result.stats)})
        yield DONE

    def fail(self, error: JsonObject) -> Iterator[str]:
        """The error, which clients raise."""
        yield event(error)

    def _chunk(self, delta: JsonObject, reason: str | None = None, tokens: Tokens = None) -> str:
        return event(self._data(delta, reason, tokens))

    def _data(self, delta: JsonObject, reason: str | None = None, tokens: Tokens = None) -> JsonObject:
        choice = {"index": 0, "delta": delta, "logprobs": chat_logprobs(tokens), "finish_reason": reason}
        without = {"usage": None} if self._include_usage else {}
        return self._head | {"object": "chat.completion.chunk", "choices": [choice]} | without


class CompletionAnswer:
    """The answer to one completion of a bare prompt, whole or in chunks."""

    def __init__(self, model: str, include_usage: bool = False) -> None:
        self._include_usage = include_usage
        self._head = _head("cmpl-", model) | {"object": "text_completion"}
        self._logprobs = CompletionLogprobs()
        self._text: TextEvent | None = None

    def whole(self, result: Generated) -> JsonObject:
        """The completion."""
        return self.whole_of([result])

    def whole_of(self, results: Sequence[Generated]) -> JsonObject:
        """The completion of several prompts."""
        choices = [_choice(one.text, finish_reason(one), CompletionLogprobs().of(one.logprobs)) for one in results]
        numbered = [choice | {"index": at} for at, choice in enumerate(choices)]
        return self._head | {"choices": numbered, "usage": usage(*(one.stats for one in results))}

    def begin(self) -> Iterator[str]:
        """Nothing comes before the text."""
        self._text = TextEvent(lambda text: self._with_choice(text, None) | self._without_usage())
        yield from ()

    def partial(self, partial: Partial) -> Iterator[str]:
        """A chunk of text."""
        if self._text is not None and partial.is_plain:
            yield self._text.of(partial.text)
            return
        yield event(self._with_choice(partial.text, None, partial.logprobs) | self._without_usage())

    def end(self, result: Generated) -> Iterator[str]:
        """Why it ended, usage if it was asked for, and the end mark."""
        yield event(self._with_choice("", finish_reason(result)) | self._without_usage())
        if self._include_usage:
            yield event(self._head | {"choices": [], "usage": usage(result.stats)})
        yield DONE

    def fail(self, error: JsonObject) -> Iterator[str]:
        """The error, which clients raise."""
        yield event(error)

    def _with_choice(self, text: str, reason: str | None, tokens: Tokens = None) -> JsonObject:
        return self._head | {"choices": [_choice(text, reason, self._logprobs.of(tokens))]}

    def _without_usage(self) -> JsonObject:
        return {"usage": None} if self._include_usage else {}


def embeddings(result: Embedded, model: str, encoding: str) -> JsonObject:
    """The vectors, as numbers or as base64 of little-endian floats of 4 bytes."""
    encode = _base64 if encoding == "base64" else list
    rows = [
        {"object": "embedding", "index": at, "embedding": encode(vector)} for at, vector in enumerate(result.embeddings)
    ]
    tokens = {"prompt_tokens": result.input_tokens, "total_tokens": result.input_tokens}
    return {"object": "list", "data": rows, "model": model, "usage": tokens}


def _choice(text: str, reason: str | None, logprobs: JsonObject | None) -> JsonObject:
    return {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": reason}


def _head(prefix: str, model: str) -> JsonObject:
    return {"id": new_id(prefix), "created": int(time.time()), "model": model}


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
