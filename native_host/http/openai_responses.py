"""The answer of the responses endpoint, whole or as the stream of events that builds it up.

Above it: `native_host.http.openai_routes`. Below it: `native_host.http.openai_response_items`. Each event has a type,
which is its name as well, and a number that counts them.

Source: OpenAI's API reference ("Streaming events"), and the types of the `openai` Python client 3.52.
"""

import time
from collections.abc import Iterator, Sequence

from messages.content import ToolCall
from messages.facts import Figures, FinishReason
from messages.frames import JsonObject
from messages.replies import Generated, Partial
from native_host.http.openai_answers import event, new_id
from native_host.http.openai_namespaces import called_names
from native_host.http.openai_requests import ResponseBody
from native_host.http.openai_response_items import Event, OutputItems


class ResponseAnswer:
    """The answer to one response."""

    def __init__(self, model: str, body: ResponseBody) -> None:
        self._model, self._body = model, body
        self._id, self._created = new_id("resp_"), int(time.time())
        self._items = OutputItems(called_names(body.tools), carries=body.includes_reasoning)
        self._number = 0

    def whole(self, result: Generated) -> JsonObject:
        """The response."""
        for _ in self._all_events(result):
            pass
        return self._ended(result)

    def _ended(self, result: Generated) -> JsonObject:
        """The response, once its items are whole."""
        status = _status(result)
        cut = {"reason": "max_output_tokens"} if result.finish_reason == FinishReason.LENGTH else None
        return self._response(status) | {
            "output": self._items.whole(status),
            "incomplete_details": cut,
            "usage": _usage(result.stats),
        }

    def begin(self) -> Iterator[str]:
        """The response, empty."""
        yield self._event("response.created", response=self._response("in_progress"))
        yield self._event("response.in_progress", response=self._response("in_progress"))

    def partial(self, partial: Partial) -> Iterator[str]:
        """New reasoning, text and calls; each item begins with the first that comes of it."""
        self._items.add_tokens(partial.logprobs)
        yield from self._told(self._events(partial.reasoning, partial.text, partial.tool_calls))

    def end(self, result: Generated) -> Iterator[str]:
        """The items and the response, all of them whole."""
        status = _status(result)
        yield from self._told(self._items.end(status))
        name = "completed" if status == "completed" else "incomplete"
        yield self._event(f"response.{name}", response=self._ended(result))

    def fail(self, error: JsonObject) -> Iterator[str]:
        """The response with its error."""
        told = {"code": "server_error", "message": error["error"]["message"]}
        yield self._event("response.failed", response=self._response("failed") | {"error": told})

    def _events(self, reasoning: str, text: str, calls: Sequence[ToolCall]) -> Iterator[Event]:
        if reasoning:
            yield from self._items.add_reasoning(reasoning)
        if text:
            yield from self._items.add_text(text)
        for call in calls:
            yield from self._items.add_call(call)

    def _all_events(self, result: Generated) -> Iterator[Event]:
        """What a stream would have told of a result; it leaves the items whole."""
        self._items.add_tokens(result.logprobs)
        yield from self._events(result.reasoning or "", result.text, result.tool_calls or ())
        yield from self._items.end(_status(result))

    def _told(self, events: Iterator[Event]) -> Iterator[str]:
        for kind, fields in events:
            yield self._event(kind, **fields)

    def _event(self, kind: str, **fields: object) -> str:
        number, self._number = self._number, self._number + 1
        return event({"type": kind, "sequence_number": number, **fields}, kind)

    def _response(self, status: str) -> JsonObject:
        body = self._body
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "model": self._model,
            "status": status,
            "output": [],
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": body.temperature,
            "text": body.text or {"format": {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": body.user,
        }


def _status(result: Generated) -> str:
    return "completed" if result.finish_reason not in (FinishReason.LENGTH, FinishReason.CANCELLED) else "incomplete"


def _usage(stats: Figures) -> JsonObject:
    read, written = stats.input_tokens or 0, stats.output_tokens or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": stats.cached_tokens or 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": stats.reasoning_tokens or 0},
        "total_tokens": read + written,
    }
