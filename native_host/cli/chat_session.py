"""A conversation with a model through the real relay: loading, asking, stopping, and finding the way back after a loss.

Above it: `native_host.cli.chat`, which is its screen. Below it: `native_host.client`.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from messages.actions import ActionType
from messages.errors import ErrorCode, HostError
from messages.facts import ModelState
from messages.frames import JsonObject
from messages.replies import Generated, Loaded, ModelList, ModelListing
from native_host.client import HostClient, Interrupted, read_fields

SILENCE_S = 120.0
"""Longest silence before the host counts as lost, in seconds; it gives a sign of life each `UPDATE_INTERVAL_S`."""

UPDATE_INTERVAL_S = 1.0
_LOAD_SILENCE_S = 630.0
_UNLOADED = frozenset({ErrorCode.MODEL_NOT_LOADED, ErrorCode.NO_ACTIVE_BACKEND})


class Screen(Protocol):
    """What shows a conversation."""

    def show_progress(self, text: str) -> None:
        """Something goes on; the next thing shown takes its place."""

    def show_text(self, text: str) -> None:
        """New text of the answer."""

    def show_reasoning(self, text: str) -> None:
        """What the model thinks before it answers."""


class ChatSession:
    """One conversation. Methods raise HostError, HostGone and TimeoutError; after each of them it can go on."""

    def __init__(self, model: str, system: str | None, screen: Screen) -> None:
        self.model = model
        self.system = system
        self._screen = screen
        self._turns: list[dict[str, str]] = []
        self._client: HostClient | None = None

    def load(self, model: str | None = None) -> ModelState:
        """Load the session's model, or change to another once that is loaded."""
        name = model or self.model
        loaded = self._connected().call(
            ActionType.LOAD, Loaded, timeout=_LOAD_SILENCE_S, on_message=self._show_load, model=name, stream=True
        )
        self.model = name
        return loaded.model

    def list_models(self) -> list[ModelListing]:
        """What can be loaded."""
        return self._connected().call(ActionType.LIST_MODELS, ModelList).models

    def ask(self, question: str) -> Generated:
        """Ask, showing the answer as it comes; a model that was unloaded meanwhile is loaded again.

        A Ctrl-C stops the answer, and what was said until then counts as said; a second one is KeyboardInterrupt.
        """
        turn = {"role": "user", "content": question}
        try:
            answer = self._generate(turn)
        except HostError as error:
            if error.code not in _UNLOADED:
                raise
            self.load()
            answer = self._generate(turn)
        if answer.text:
            self._turns += [turn, {"role": "assistant", "content": answer.text}]
        return answer

    def clear(self) -> None:
        """Forget what was said."""
        self._turns.clear()

    def reconnect(self) -> None:
        """Drop a connection that is lost; the next question makes a new one."""
        self.close()
        self._client = None

    def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._client.close()

    def _connected(self) -> HostClient:
        if self._client is None:
            self._client = HostClient()
        return self._client

    def _generate(self, turn: dict[str, str]) -> Generated:
        client = self._connected()
        head = [{"role": "system", "content": self.system}] if self.system else []
        request = client.send(
            ActionType.GENERATE,
            model=self.model,
            messages=[*head, *self._turns, turn],
            thinking_update_interval=UPDATE_INTERVAL_S,
        )
        with _interrupts_to(client):
            return self._follow(client, request)

    def _follow(self, client: HostClient, request: str) -> Generated:
        job_id: str | None = None
        stopping = False
        while True:
            try:
                for message in client.messages(request, SILENCE_S):
                    job_id = message.get("job_id", job_id)
                    if message.get("type") == "result":
                        return read_fields(message, Generated)
                    self._show_generation(message)
            except Interrupted:
                if stopping or job_id is None:
                    raise KeyboardInterrupt from None
                stopping = True
                client.send(ActionType.STOP_GENERATION, job_id=job_id)

    def _show_generation(self, message: JsonObject) -> None:
        if message.get("type") == "partial":
            self._screen.show_reasoning(message.get("reasoning", ""))
            self._screen.show_text(message["text"])
        elif message.get("type") == "thinking_update":
            self._screen.show_progress(message["thinking"])

    def _show_load(self, message: JsonObject) -> None:
        if message.get("type") != "progress":
            return
        share = message.get("progress")
        percent = "" if share is None else f" {share:.0%}"
        self._screen.show_progress(f"{message['message'].rstrip('.')}{percent}")


@contextmanager
def _interrupts_to(client: HostClient) -> Iterator[None]:
    """While inside, a Ctrl-C interrupts the client's next `receive` and nothing else."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        client.interrupt()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
