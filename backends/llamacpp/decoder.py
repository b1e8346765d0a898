"""Runs tokens through the model: the prompt in batches, then one at a time, and stops at once when told to.

The engine asks its abort callback between the operations of a step. A Python callback there would take the GIL
hundreds of times a token, so the callback is C's own `strlen`, looking at a string that is empty until the
generation is cancelled: false for "", true for "x".
"""

import ctypes
import sys
from collections.abc import Iterator
from typing import Any

import llama_cpp

from backends.base import CancelToken
from backends.llamacpp.kv_cache import KvCache
from backends.llamacpp.memory import BATCH_TOKENS

_ABORTED = 2


class Aborted(Exception):
    """A decode was cut short by a cancellation; the cache holds what was complete before it."""


class AbortFlag:
    """A cancellation as the engine sees it; one for each generation, so that a late cancel meets no later one."""

    def __init__(self, cancel: CancelToken) -> None:
        self.raised = False
        self.text = ctypes.create_string_buffer(2)
        cancel.on_cancel(self._raise)

    def _raise(self) -> None:
        self.raised = True
        self.text[0] = b"x"


class Decoder:
    """A context's decode calls, with its KV cache kept in step."""

    def __init__(self, context: Any) -> None:
        self.cache = KvCache(context)
        self._context = context
        self._token = (llama_cpp.llama_token * 1)()
        self._one = llama_cpp.llama_batch_get_one(self._token, 1)
        self._decode = llama_cpp.llama_decode
        self._strlen = ctypes.cast(_strlen(), llama_cpp.ggml_abort_callback)
        self._flag: AbortFlag | None = None
        """Kept because the engine holds its address."""

    def watch(self, flag: AbortFlag | None) -> None:
        """Stop decoding once `flag` is raised; None: never."""
        address = ctypes.addressof(flag.text) if flag else None
        callback = self._strlen if flag else llama_cpp.ggml_abort_callback()
        llama_cpp.llama_set_abort_callback(self._context, callback, address)
        self._flag = flag

    def prefill(self, tokens: list[int]) -> Iterator[int]:
        """Decode the rest of a prompt, and yield how many tokens of it are done after each batch. Raises `Aborted`."""
        for start in range(0, len(tokens), BATCH_TOKENS):
            part = tokens[start : start + BATCH_TOKENS]
            batch = (llama_cpp.llama_token * len(part))(*part)
            self._run(llama_cpp.llama_batch_get_one(batch, len(part)))
            self.cache.tokens.extend(part)
            yield start + len(part)

    def step(self, token: int) -> None:
        """Decode one token. Raises `Aborted`."""
        self._token[0] = token
        self._run(self._one)
        self.cache.tokens.append(token)

    def _run(self, batch: Any) -> None:
        result = self._decode(self._context, batch)
        if not result:
            return
        self.cache.drop_after(len(self.cache.tokens))
        if result == _ABORTED:
            raise Aborted
        raise RuntimeError(f"llama_decode failed with {result}")


def _strlen() -> Any:
    library = ctypes.CDLL("msvcrt") if sys.platform == "win32" else ctypes.CDLL(None)
    return library.strlen
