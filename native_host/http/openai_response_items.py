"""The items of a response's output - reasoning, a message, function calls - and the events that build them up.

Above it: `native_host.http.openai_responses`. Below it: `native_host.http.openai_answers`. An item begins with the
first that comes of it and ends before the next one begins: clients keep items in the order in which they end.

Source: OpenAI's API reference ("Streaming events"), and the types of the `openai` Python client 3.52.
"""

from collections.abc import Iterator, Mapping

from messages.content import ToolCall
from messages.facts import TokenLogprob
from messages.frames import JsonObject
from native_host.http.openai_answers import new_id
from native_host.http.openai_carried import carried
from native_host.http.openai_logprobs import Tokens, response_logprobs

Event = tuple[str, JsonObject]
"""An event's type and fields."""

Namespaces = Mapping[str, tuple[str, str]]
"""The namespace and the name in it of functions, by what a model knows them as."""

MESSAGE, REASONING = "message", "reasoning"

COMPLETED = "completed"
"""The status of an item that has come to its end."""


class TextItem:
    """A message or a stretch of reasoning: one part of text."""

    def __init__(self, index: int, kind: str, carries: bool) -> None:
        """`carries` gives reasoning as `encrypted_content` too, in the items that are whole."""
        self.is_message = kind == MESSAGE
        self._carries = carries and not self.is_message
        self._id = new_id("msg_" if self.is_message else "rs_")
        self._part_type = "output_text" if self.is_message else "reasoning_text"
        self._index = index
        self._texts: list[str] = []
        self._tokens: list[TokenLogprob] = []

    def begin(self) -> Iterator[Event]:
        """The item and its part, both empty."""
        yield "response.output_item.added", {"output_index": self._index, "item": self._item("in_progress", [])}
        yield "response.content_part.added", {**self._place, "part": self._part("", ())}

    def add(self, text: str, tokens: Tokens) -> Event:
        """New text."""
        self._texts.append(text)
        self.add_tokens(tokens)
        return f"response.{self._part_type}.delta", {**self._place, "delta": text, **self._logprobs(tokens)}

    def add_tokens(self, tokens: Tokens) -> None:
        """Tokens of no text: the item's end tells them."""
        self._tokens.extend(tokens or ())

    def end(self, status: str) -> Iterator[Event]:
        """The part and the item, both whole."""
        text = "".join(self._texts)
        yield f"response.{self._part_type}.done", {**self._place, "text": text, **self._logprobs(self._tokens)}
        yield "response.content_part.done", {**self._place, "part": self._part(text, self._tokens)}
        yield "response.output_item.done", {"output_index": self._index, "item": self.whole(status)}

    def whole(self, status: str) -> JsonObject:
        """The item."""
        text = "".join(self._texts)
        own = {"encrypted_content": carried(text)} if self._carries else {}
        return self._item(status, [self._part(text, self._tokens)]) | own

    @property
    def _place(self) -> JsonObject:
        return {"item_id": self._id, "output_index": self._index, "content_index": 0}

    def _logprobs(self, tokens: Tokens) -> JsonObject:
        return {"logprobs": response_logprobs(tokens)} if self.is_message else {}

    def _part(self, text: str, tokens: Tokens) -> JsonObject:
        own = {"annotations": [], **self._logprobs(tokens)} if self.is_message else {}
        return {"type": self._part_type, "text": text, **own}

    def _item(self, status: str, content: list[JsonObject]) -> JsonObject:
        own = {"type": "message", "role": "assistant"} if self.is_message else {"type": "reasoning", "summary": []}
        return {"id": self._id, **own, "status": status, "content": content}


class CallItem:
    """A function call, which comes whole."""

    def __init__(self, index: int, call: ToolCall, namespaces: Namespaces) -> None:
        self._id = new_id("fc_")
        self._call = call
        self._index = index
        placed = namespaces.get(call.function.name)
        self._names = {"namespace": placed[0], "name": placed[1]} if placed else {"name": call.function.name}

    def events(self) -> Iterator[Event]:
        """All events of the item."""
        place = {"item_id": self._id, "output_index": self._index}
        name, arguments = self._names["name"], self._call.function.arguments
        yield "response.output_item.added", {"output_index": self._index, "item": self._item("in_progress", "")}
        yield "response.function_call_arguments.delta", {**place, "delta": arguments}
        yield "response.function_call_arguments.done", {**place, "name": name, "arguments": arguments}
        yield "response.output_item.done", {"output_index": self._index, "item": self.whole(COMPLETED)}

    def whole(self, status: str) -> JsonObject:
        """The item."""
        return self._item(status, self._call.function.arguments)

    def _item(self, status: str, arguments: str) -> JsonObject:
        own = {"call_id": self._call.id, **self._names, "arguments": arguments}
        return {"id": self._id, "type": "function_call", "status": status, **own}


class OutputItems:
    """The items of one response, of which the last one may be open."""

    def __init__(self, namespaces: Namespaces, carries: bool) -> None:
        """`namespaces` of functions, and their names there; `carries` gives reasoning as `encrypted_content` too."""
        self._namespaces, self._carries = namespaces, carries
        self._items: list[TextItem | CallItem] = []
        self._open: TextItem | None = None
        self._untold: list[TokenLogprob] = []
        """Tokens that came without text, such as those of reasoning and calls: only messages have a place for them."""
        self._tells_tokens = False
        self._held: list[ToolCall] = []
        """Calls behind the open message, which is to end with their tokens."""

    def add_tokens(self, tokens: Tokens) -> None:
        """Tokens have come, and maybe text with them, which is then to be added next."""
        self._tells_tokens |= tokens is not None
        self._untold.extend(tokens or ())

    def add_reasoning(self, text: str) -> Iterator[Event]:
        """New reasoning."""
        item, events = self._opened(REASONING)
        yield from events
        yield item.add(text, None)

    def add_text(self, text: str) -> Iterator[Event]:
        """New text."""
        item, events = self._opened(MESSAGE)
        yield from events
        yield item.add(text, self._take_untold())

    def add_call(self, call: ToolCall) -> Iterator[Event]:
        """A call. Where tokens are told it comes when its message has all of them, which an ended item cannot get."""
        if self._tells_tokens and self._open is not None and self._open.is_message:
            self._open.add_tokens(self._take_untold())
            self._held.append(call)
            return
        yield from self._close(COMPLETED)
        yield from self._call_events(call)

    def end(self, status: str) -> Iterator[Event]:
        """The last item's end. There is a message, an empty one if need be, unless there are calls."""
        if not any(isinstance(item, CallItem) or item.is_message for item in self._items):
            _, events = self._opened(MESSAGE)
            yield from events
        if self._held and self._open is not None:
            self._open.add_tokens(self._take_untold())
        yield from self._close(COMPLETED if self._held else status)
        messages = [item for item in self._items if isinstance(item, TextItem) and item.is_message]
        if messages:
            messages[-1].add_tokens(self._take_untold())

    def whole(self, status: str) -> list[JsonObject]:
        """All items, after their end; with `status` that of the last one if it is a message."""
        last = len(self._items) - 1
        is_cut = isinstance(self._items[last], TextItem)
        return [item.whole(status if is_cut and at == last else COMPLETED) for at, item in enumerate(self._items)]

    def _opened(self, kind: str) -> tuple[TextItem, list[Event]]:
        """The open item of a kind, and the events that lead to it."""
        if self._open is not None and not self._held and self._open.is_message is (kind == MESSAGE):
            return self._open, []
        events = list(self._close(COMPLETED))
        item = self._open = TextItem(len(self._items), kind, self._carries)
        self._items.append(item)
        return item, [*events, *item.begin()]

    def _close(self, status: str) -> Iterator[Event]:
        item, self._open = self._open, None
        if item is not None:
            if item.is_message and not self._held:
                item.add_tokens(self._take_untold())
            yield from item.end(status)
        held, self._held = self._held, []
        for call in held:
            yield from self._call_events(call)

    def _call_events(self, call: ToolCall) -> Iterator[Event]:
        item = CallItem(len(self._items), call, self._namespaces)
        self._items.append(item)
        yield from item.events()

    def _take_untold(self) -> list[TokenLogprob]:
        taken, self._untold = self._untold, []
        return taken
