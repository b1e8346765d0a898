"""Runs a decoder's graph over a KV cache that stays where it is: `OrtGenerator` and its three kinds of cache.

A graph that concatenates writes a longer cache with each step, so on a CPU two buffers of the whole context take turns:
one is read, the other written, and nothing is allocated or copied between steps. On a device the runtime allocates, and
the tensor that one step gave is what the next one takes. A graph with GroupQueryAttention writes into the cache that it
was given: one buffer, bound once, as past and as present (onnxruntime,
`contrib_ops/cpu/bert/group_query_attention.cc`). Above it: `backends.onnx.kv_cache`, `loader`.
"""

import contextlib
import mmap
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from backends.onnx.interface import Logits
from backends.onnx.session import ELEMENT_TYPES, Session
from backends.onnx.transformersjs.graph import LOGITS_COUNTS, Cache, DecoderGraph

Array = npt.NDArray[Any]


class CacheStore(Protocol):
    """Where the keys and values of a sequence are."""

    def bind(self, binding: Any, length: int, total: int) -> None:
        """Bind the caches for a run that makes `total` tokens of `length`."""

    def advance(self, binding: Any) -> None:
        """Take what the run gave."""

    def cut(self, length: int, kept: int) -> None:
        """Keep the first `kept` of `length` tokens."""


class AlternatingStore:
    """Two buffers for each cache, in the CPU's memory, which take turns as past and present."""

    def __init__(self, caches: Sequence[Cache], max_length: int) -> None:
        self._caches = caches
        self._past = [_buffer(cache, max_length) for cache in caches]
        self._present = [_buffer(cache, max_length) for cache in caches]
        self._pointers = [[array.ctypes.data for array in side] for side in (self._past, self._present)]

    def bind(self, binding: Any, length: int, total: int) -> None:
        """Bind one side as past, the other as present."""
        for place, cache in enumerate(self._caches):
            kind, (past, present) = ELEMENT_TYPES[cache.element], self._pointers
            binding.bind_input(cache.past, "cpu", 0, kind, cache.shape_of(length), past[place])
            binding.bind_output(cache.present, "cpu", 0, kind, cache.shape_of(total), present[place])

    def advance(self, binding: Any) -> None:
        """Let the sides change places."""
        self._past, self._present = self._present, self._past
        self._pointers.reverse()

    def cut(self, length: int, kept: int) -> None:
        """Move the kept tokens together: one copy, when a conversation takes another turn."""
        for cache, past, present in zip(self._caches, self._past, self._present, strict=True):
            old = _view(past, cache.shape_of(length)).swapaxes(0, cache.axis)[:kept].swapaxes(0, cache.axis)
            _view(present, cache.shape_of(kept))[...] = old
        self.advance(None)


class GrowingStore:
    """Caches on a device, which the graph gives anew, longer, with each run."""

    def __init__(self, session: Session, caches: Sequence[Cache]) -> None:
        self._session = session
        self._caches = caches
        self._values = [self._empty(cache, 0) for cache in caches]
        self._next: list[Any] = []

    def bind(self, binding: Any, length: int, total: int) -> None:
        """Bind the last run's outputs as inputs, and new tensors on the device as outputs."""
        self._next = [self._empty(cache, total) for cache in self._caches]
        for cache, value, grown in zip(self._caches, self._values, self._next, strict=True):
            binding.bind_ortvalue_input(cache.past, value)
            binding.bind_ortvalue_output(cache.present, grown)

    def advance(self, binding: Any) -> None:
        """Keep the run's caches; the ones before are freed."""
        self._values, self._next = self._next, []

    def cut(self, length: int, kept: int) -> None:
        """Keep the first tokens: one copy by way of the CPU, when a conversation takes another turn."""
        for place, cache in enumerate(self._caches):
            array = self._values[place].numpy().take(np.arange(kept), axis=cache.axis)
            self._values[place] = self._session.value(array)

    def _empty(self, cache: Cache, length: int) -> Any:
        return self._session.empty(cache.shape_of(length), ELEMENT_TYPES[cache.element])


class SharedStore:
    """One buffer of the whole context for each cache, written in place."""

    def __init__(self, session: Session, caches: Sequence[Cache], max_length: int) -> None:
        self._caches = caches
        self._values = [session.empty(cache.shape_of(max_length), ELEMENT_TYPES[cache.element]) for cache in caches]
        self._bound = False

    def bind(self, binding: Any, length: int, total: int) -> None:
        """Bind each buffer as input and as output, once."""
        if self._bound:
            return
        for cache, value in zip(self._caches, self._values, strict=True):
            binding.bind_ortvalue_input(cache.past, value)
            binding.bind_ortvalue_output(cache.present, value)
        self._bound = True

    def advance(self, binding: Any) -> None:
        """Nothing: the graph wrote where we keep it."""

    def cut(self, length: int, kept: int) -> None:
        """Nothing: what lies behind the kept tokens is never looked at, and is written over."""


class OrtGenerator:
    """A sequence of tokens in one graph; satisfies `backends.onnx.interface.Generator`."""

    def __init__(self, session: Session, graph: DecoderGraph, max_length: int) -> None:
        """`max_length` is the most tokens that the sequence may have."""
        self._session = session
        self._graph = graph
        self._length = 0
        self._store = make_store(session, graph, max_length)
        self._binding = session.binding()
        self._inputs = PlainInputs(graph, max_length)
        self._logits: Array = np.zeros(graph.vocab_size, dtype=ELEMENT_TYPES[graph.logits_element])
        self._rows = np.zeros((1, graph.vocab_size), dtype=self._logits.dtype)

    def append(self, tokens: Sequence[int]) -> None:
        """Run the graph over new tokens. Raises EngineError; the sequence is then as it was."""
        total = self._length + len(tokens)
        rows = 1 if self._inputs.counts_logits else len(tokens)
        if len(self._rows) < rows:
            self._rows = np.zeros((rows, self._graph.vocab_size), dtype=self._logits.dtype)
        with self._session.failures():
            self._store.bind(self._binding, self._length, total)
            self._inputs.bind(self._binding, tokens, self._length)
            shape = [1, rows, self._graph.vocab_size]
            self._binding.bind_output("logits", "cpu", 0, self._rows.dtype.type, shape, self._rows.ctypes.data)
        self._session.run(self._binding)
        self._store.advance(self._binding)
        self._logits = self._rows[rows - 1]
        self._length = total

    def logits(self) -> Logits:
        """Scores of the token that follows the last one appended."""
        return self._logits.astype(np.float32)

    def rewind(self, length: int) -> None:
        """Drop the tokens from `length` on. Raises EngineError."""
        if length < self._length:
            with self._session.failures():
                self._store.cut(self._length, length)
            self._length = length

    def terminate(self) -> None:
        """End a running `append` with an error; from any thread."""
        self._session.terminate()

    def resume(self) -> None:
        """Take a `terminate` back."""
        self._session.resume()

    def close(self) -> None:
        """Free the KV cache."""
        del self._binding, self._store


class PlainInputs:
    """The inputs besides the caches, each in an array of its own that is written anew for each run."""

    def __init__(self, graph: DecoderGraph, max_length: int) -> None:
        fills: dict[str, Array] = {"attention_mask": np.ones(max_length), "position_ids": np.arange(max_length)}
        fills |= {name: np.ones(1) for name in LOGITS_COUNTS}
        self._arrays: dict[str, Array] = {}
        for name, value in graph.inputs.items():
            filled = fills.get(name, np.zeros(max_length))
            self._arrays[name] = filled.astype(ELEMENT_TYPES[value.element])
        self._pointers = {name: array.ctypes.data for name, array in self._arrays.items()}
        self._scalars = {name: [1] * len(value.shape) for name, value in graph.inputs.items()}

    @property
    def counts_logits(self) -> bool:
        """True if the graph is asked for the last token's logits alone."""
        return any(name in self._arrays for name in LOGITS_COUNTS)

    def bind(self, binding: Any, tokens: Sequence[int], length: int) -> None:
        """Bind the inputs for new tokens behind `length` others."""
        count = len(tokens)
        for name, array in self._arrays.items():
            pointer, shape = self._pointers[name], self._scalars[name]
            if name == "input_ids":
                array[:count], shape = tokens, [1, count]
            elif name == "attention_mask":
                shape = [1, length + count]
            elif name == "position_ids":
                pointer, shape = pointer + length * array.itemsize, [1, count]
            elif name == "use_cache_branch":
                array[0] = length > 0
            binding.bind_input(name, "cpu", 0, array.dtype.type, shape, pointer)


def make_store(session: Session, graph: DecoderGraph, max_length: int) -> CacheStore:
    """The kind of cache that suits a graph and a device."""
    if graph.shares_cache:
        return SharedStore(session, graph.caches, max_length)
    return (
        GrowingStore(session, graph.caches) if session.keeps_on_device else AlternatingStore(graph.caches, max_length)
    )


def _buffer(cache: Cache, length: int) -> Array:
    """Room for `length` tokens; the system gives memory for what is written to, and no more.

    Not from numpy: it asks for huge pages, which Linux fills up behind our back, for what is never written to as well.
    """
    dtype = np.dtype(ELEMENT_TYPES[cache.element])
    pages = mmap.mmap(-1, max(1, int(np.prod(cache.shape_of(length)))) * dtype.itemsize)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a kernel without huge pages
            pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, dtype=dtype)


def _view(buffer: Array, shape: Sequence[int]) -> Array:
    return buffer[: int(np.prod(shape))].reshape(shape)
