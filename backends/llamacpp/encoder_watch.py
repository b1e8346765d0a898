"""Watches an encoder at work: how far it is, and ends it between two operations when nobody waits for it any more.

Above it: `multimodal`. The engine asks at each node of its graph whether to stop behind it, and there whether to go on
(ggml-backend.h, `ggml_backend_sched_eval_callback`); both in the thread that encodes.
"""

import threading
import time
from typing import Any

import llama_cpp

_PIECE_S = 0.01
"""About how often to be asked whether to go on, in seconds; one operation can take longer."""

_MOST_NODES = 1024
_LAYER_NODES = 42
"""About as many nodes as a layer of an encoder's graph has: those of Qwen2-VL's, for as long as none was counted."""

_MOST_SHARE = 0.95
"""Share that is never exceeded while the encoder is at work: its number of nodes may be a guess."""


class EncoderWatch:
    """Cuts an encoder's graph, of so many layers, into pieces of some milliseconds. `callback` is for the engine."""

    def __init__(self, layers: int) -> None:
        self.callback = llama_cpp.ggml_backend_sched_eval_callback(self._at_node)
        self._left = threading.Event()
        self._guess = _LAYER_NODES * max(1, layers)
        self._expected: dict[bool, int] = {}
        self._seen = 0
        self._limit = 1
        self._piece = 0
        self._started = 0.0

    def begin(self, left: threading.Event) -> None:
        """Begin with a graph, and end it once nobody waits for it."""
        self._left, self._seen, self._piece = left, 0, 0
        self._started = time.perf_counter()

    def end(self, is_picture: bool) -> None:
        """The graph was seen to its end: others of its kind have as many nodes."""
        self._expected[is_picture] = self._seen

    def share(self, is_picture: bool) -> float:
        """About how much of the graph is done, 0 to 1."""
        return min(_MOST_SHARE, self._seen / self._expected.get(is_picture, self._guess))

    def _at_node(self, _: Any, asked: bool, __: Any) -> bool:
        left = self._left.is_set()
        if asked:
            self._seen += 1
            self._piece += 1
            return left or self._piece >= self._limit
        now = time.perf_counter()
        slow = now - self._started > _PIECE_S
        self._limit = max(1, self._piece // 2) if slow else min(_MOST_NODES, 2 * self._limit)
        self._piece, self._started = 0, now
        return not left
