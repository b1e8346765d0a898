"""The answer of the responses endpoint: one message of text, whole or as the stream of events that builds it up.

Above it: `native_host.http.openai_routes`. Below it: `native_host.http.openai_answers`. Each event has a type,
which is its name as well, and a number that counts them.

Source: OpenAI's API reference ("Streaming events"), and the types of the `openai` Python client 3.52.
"""

import time
from collections.abc import Iterator

from messages.facts import Figures, FinishReason
from messages.frames import JsonObject
from messages.replies import Generated, Partial
from native_host.http.openai_answers import event, new_id
from native_host.http.openai_logprobs import Tokens, response_logprobs
from native_host.http.openai_requests import ResponseBody

_PLACE = {"output_index": 0, "content_index": 0}


class ResponseAnswer:
    """The answer to one response."""

    def __init__(self, model: str, body: ResponseBody) -> None:
        self._model, self._body = model, body
        self._id, self._item_id, self._created = new_id("resp_"), new_id("msg_"), int(time.time())
        self._number = 0

    def whole(self, result: Generated) -> JsonObject:
        """The response."""
        status = _status(result)
        cut = {"reason": "max_output_tokens"} if result.finish_reason == FinishReason.LENGTH else None
        return self._response(status) | {
            "output": [self._item(status, [_part(result.text, result.logprobs)])],
            "incomplete_details": cut,
            "usage": _usage(result.stats),
        }

    def begin(self) -> Iterator[str]:
        """The response, its one item, and that item's one part, all of them empty."""
        yield self._event("response.created", response=self._response("in_progress"))
        yield self._event("response.in_progress", response=self._response("in_progress"))
        yield self._event("response.output_item.added", output_index=0, item=self._item("in_progress", []))
        yield self._event("response.content_part.added", item_id=self._item_id, part=_part(""), **_PLACE)

    def partial(self, partial: Partial) -> Iterator[str]:
        """New text."""
        told = {"delta": partial.text, "logprobs": response_logprobs(partial.logprobs)}
        yield self._event("response.output_text.delta", item_id=self._item_id, **told, **_PLACE)

    def end(self, result: Generated) -> Iterator[str]:
        """The part, the item and the response, all of them whole."""
        whole = self.whole(result)
        text, logprobs = result.text, response_logprobs(result.logprobs)
        part = _part(text, result.logprobs)
        yield self._event("response.output_text.done", item_id=self._item_id, text=text, logprobs=logprobs, **_PLACE)
        yield self._event("response.content_part.done", item_id=self._item_id, part=part, **_PLACE)
        yield self._event("response.output_item.done", output_index=0, item=whole["output"][0])
        name = "completed" if whole["status"] == "completed" else "incomplete"
        yield self._event(f"response.{name}", response=whole)

    def fail(self, error: JsonObject) -> Iterator[str]:
        """The response with its error."""
        told = {"code": "server_error", "message": error["error"]["message"]}
        yield self._event("response.failed", response=self._response("failed") | {"error": told})

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
            "tools": [],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": body.user,
        }

    def _item(self, status: str, content: list[JsonObject]) -> JsonObject:
        return {"id": self._item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def _status(result: Generated) -> str:
    return "completed" if result.finish_reason not in (FinishReason.LENGTH, FinishReason.CANCELLED) else "incomplete"


def _part(text: str, tokens: Tokens = None) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": response_logprobs(tokens)}


def _usage(stats: Figures) -> JsonObject:
    read, written = stats.input_tokens or 0, stats.output_tokens or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": stats.cached_tokens or 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
