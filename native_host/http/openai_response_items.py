"""The items of a response's output - reasoning, a message, function calls - and the events that build them up.

Above it: `native_host.http.openai_responses`. Below it: `native_host.http.openai_answers`. Items are there once
something of them has come, in the order of their beginnings.

Source: OpenAI's API reference ("Streaming events"), and the types of the `openai` Python client 3.52.
"""

from collections.abc import Iterator

from messages.content import ToolCall
from messages.frames import JsonObject
from messages.replies import Generated
from native_host.http.openai_answers import new_id
from native_host.http.openai_logprobs import Tokens, response_logprobs

Event = tuple[str, JsonObject]
"""An event's type and fields."""


class TextItem:
    """The message or the reasoning: one part of text."""

    def __init__(self, index: int, kind: str) -> None:
        self._is_message = kind == "message"
        self._id = new_id("msg_" if self._is_message else "rs_")
        self._part_type = "output_text" if self._is_message else "reasoning_text"
        self.index = index

    def begin(self) -> Iterator[Event]:
        """The item and its part, both empty."""
        yield "response.output_item.added", {"output_index": self.index, "item": self._item("in_progress", [])}
        yield "response.content_part.added", {**self._place, "part": self._part("", ())}

    def delta(self, text: str, tokens: Tokens) -> Event:
        """New text."""
        return f"response.{self._part_type}.delta", {**self._place, "delta": text, **self._logprobs(tokens)}

    def end(self, text: str, tokens: Tokens, status: str) -> Iterator[Event]:
        """The part and the item, both whole."""
        yield f"response.{self._part_type}.done", {**self._place, "text": text, **self._logprobs(tokens)}
        yield "response.content_part.done", {**self._place, "part": self._part(text, tokens)}
        yield "response.output_item.done", {"output_index": self.index, "item": self.whole(text, tokens, status)}

    def whole(self, text: str, tokens: Tokens, status: str) -> JsonObject:
        """The item."""
        return self._item(status, [self._part(text, tokens)])

    @property
    def _place(self) -> JsonObject:
        return {"item_id": self._id, "output_index": self.index, "content_index": 0}

    def _logprobs(self, tokens: Tokens) -> JsonObject:
        return {"logprobs": response_logprobs(tokens)} if self._is_message else {}

    def _part(self, text: str, tokens: Tokens) -> JsonObject:
        own = {"annotations": [], **self._logprobs(tokens)} if self._is_message else {}
        return {"type": self._part_type, "text": text, **own}

    def _item(self, status: str, content: list[JsonObject]) -> JsonObject:
        own = {"type": "message", "role": "assistant"} if self._is_message else {"type": "reasoning", "summary": []}
        return {"id": self._id, **own, "status": status, "content": content}


class CallItem:
    """A function call, which comes whole."""

    def __init__(self, index: int, call: ToolCall) -> None:
        self._id = new_id("fc_")
        self._call = call
        self.index = index

    def events(self) -> Iterator[Event]:
        """All events of the item."""
        place = {"item_id": self._id, "output_index": self.index}
        name, arguments = self._call.function.name, self._call.function.arguments
        yield "response.output_item.added", {"output_index": self.index, "item": self._item("in_progress", "")}
        yield "response.function_call_arguments.delta", {**place, "delta": arguments}
        yield "response.function_call_arguments.done", {**place, "name": name, "arguments": arguments}
        yield "response.output_item.done", {"output_index": self.index, "item": self.whole()}

    def whole(self) -> JsonObject:
        """The item."""
        return self._item("completed", self._call.function.arguments)

    def _item(self, status: str, arguments: str) -> JsonObject:
        name = self._call.function.name
        own = {"call_id": self._call.id, "name": name, "arguments": arguments}
        return {"id": self._id, "type": "function_call", "status": status, **own}


class OutputItems:
    """The items of one response."""

    def __init__(self) -> None:
        self._message: TextItem | None = None
        self._reasoning: TextItem | None = None
        self._calls: list[CallItem] = []

    def add_reasoning(self, text: str) -> Iterator[Event]:
        """New reasoning."""
        if self._reasoning is None:
            self._reasoning = TextItem(self._next_index, "reasoning")
            yield from self._reasoning.begin()
        yield self._reasoning.delta(text, None)

    def add_text(self, text: str, tokens: Tokens) -> Iterator[Event]:
        """New text."""
        yield from self._begin_message()
        assert self._message is not None
        yield self._message.delta(text, tokens)

    def add_call(self, call: ToolCall) -> Iterator[Event]:
        """A call."""
        item = CallItem(self._next_index, call)
        self._calls.append(item)
        yield from item.events()

    def end(self, result: Generated, status: str) -> Iterator[Event]:
        """What has not come as events: an empty message where there is nothing else, and the ends of the texts."""
        yield from self._begin_missing(result)
        if self._reasoning is not None:
            yield from self._reasoning.end(result.reasoning or "", None, "completed")
        if self._message is not None:
            yield from self._message.end(result.text, result.logprobs, status)

    def whole(self, result: Generated, status: str) -> list[JsonObject]:
        """All items, in the order of their beginnings."""
        for _ in self._begin_missing(result):
            pass
        items = {item.index: item.whole() for item in self._calls}
        if self._reasoning is not None:
            items[self._reasoning.index] = self._reasoning.whole(result.reasoning or "", None, "completed")
        if self._message is not None:
            items[self._message.index] = self._message.whole(result.text, result.logprobs, status)
        return [items[index] for index in sorted(items)]

    def _begin_missing(self, result: Generated) -> Iterator[Event]:
        """Begin what a result has and no event has told of; there is a message unless there are calls alone."""
        if result.reasoning and self._reasoning is None:
            yield from self.add_reasoning(result.reasoning)
        if result.text or not result.tool_calls:
            yield from self._begin_message()
        for call in (result.tool_calls or ())[len(self._calls) :]:
            yield from self.add_call(call)

    def _begin_message(self) -> Iterator[Event]:
        if self._message is None:
            self._message = TextItem(self._next_index, "message")
            yield from self._message.begin()

    @property
    def _next_index(self) -> int:
        return len(self._calls) + (self._message is not None) + (self._reasoning is not None)
