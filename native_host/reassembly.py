"""Joins `chunk` frames (PROTOCOL.md, "Chunks") back into the messages they were cut from. No I/O."""

import json

from messages.frames import JsonObject


class Reassembler:
    """Takes messages as they come; chunks of several requests may come between one another."""

    def __init__(self) -> None:
        self._pieces: dict[str | int | None, list[str]] = {}

    def add(self, message: JsonObject) -> JsonObject | None:
        """The message itself, the whole one at its last chunk, or None in between.

        Raises ValueError if the joined pieces are not a JSON object.
        """
        if message.get("type") != "chunk":
            return message
        pieces = self._pieces.setdefault(message["id"], [])
        pieces.append(message["data"])
        if not message["last"]:
            return None
        whole = json.loads("".join(self._pieces.pop(message["id"])))
        if not isinstance(whole, dict):
            raise ValueError("joined chunks are not a JSON object")
        return whole
