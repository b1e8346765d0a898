"""Reads server-sent events as the HTML standard says, from a response that is open."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event; `id` is the last that was named, in it or before."""

    name: str
    data: str
    id: str

    @property
    def fields(self) -> dict[str, Any]:
        """The data as a JSON object."""
        fields: dict[str, Any] = json.loads(self.data)
        return fields


def events(answer: httpx.Response) -> Iterator[ServerEvent]:
    """The events of an open response until its end; lines that begin with a colon are passed over."""
    data: list[str] = []
    name, event_id = "message", ""
    for line in answer.iter_lines():
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line and data:
            yield ServerEvent(name, "\n".join(data), event_id)
            name, data = "message", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            event_id = value
