"""Runs a decoder's graph over a KV cache that stays where the device has it: two kinds of `Generator`.

A graph that concatenates gives a longer cache with each step, and the next step takes that very tensor. One with
GroupQueryAttention writes into the cache it was given, so a buffer of the whole context is bound once, as past and as
present (onnxruntime, `contrib_ops/cpu/bert/group_query_attention.cc`). Neither copies a cache between steps.
Above it: `backends.onnx.kv_cache`, `loader`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from backends.onnx.interface import Logits
from backends.onnx.session import ELEMENT_TYPES, Session
from backends.onnx.transformersjs.graph import LOGITS_COUNTS, Cache, DecoderGraph


class CacheStore(Protocol):
    """Where the keys and values of a sequence are."""

    def bind(self, binding: Any) -> None:
        """Bind the caches for the next run."""

    def advance(self, outputs: dict[str, Any]) -> None:
        """Take what the run gave."""

    def cut(self, length: int) -> None:
        """Drop the tokens from `length` on."""


class GrowingStore:
    """Caches that the graph gives anew, longer, with each run."""

    def __init__(self, session: Session, caches: Sequence[Cache]) -> None:
        self._session = session
        self._caches = caches
        self._values = {cache.past: self._empty(cache) for cache in caches}

    def bind(self, binding: Any) -> None:
        """Bind the last run's outputs as inputs, and ask for new ones on the device."""
        for cache in self._caches:
            binding.bind_ortvalue_input(cache.past, self._values[cache.past])
            binding.bind_output(cache.present, self._session.placement.memory)

    def advance(self, outputs: dict[str, Any]) -> None:
        """Keep the run's caches; the ones before are freed."""
        for cache in self._caches:
            self._values[cache.past] = outputs[cache.present]

    def cut(self, length: int) -> None:
        """Keep the first `length` tokens: one copy, when a conversation takes another turn."""
        for cache in self._caches:
            kept = self._values[cache.past].numpy().take(np.arange(length), axis=cache.axis)
            self._values[cache.past] = self._session.value(kept) if length else self._empty(cache)

    def _empty(self, cache: Cache) -> Any:
        return self._session.value(np.zeros(cache.shape_of(0), dtype=ELEMENT_TYPES[cache.element]))


class SharedStore:
    """Caches of the whole context, written in place."""

    def __init__(self, session: Session, caches: Sequence[Cache], max_length: int) -> None:
        self._caches = caches
        self._values = {
            cache.past: session.empty(cache.shape_of(max_length), ELEMENT_TYPES[cache.element]) for cache in caches
        }
        self._bound: Any = None

    def bind(self, binding: Any) -> None:
        """Bind each buffer as input and as output, once for a binding."""
        if self._bound is binding:
            return
        for cache in self._caches:
            binding.bind_ortvalue_input(cache.past, self._values[cache.past])
            binding.bind_ortvalue_output(cache.present, self._values[cache.past])
        self._bound = binding

    def advance(self, outputs: dict[str, Any]) -> None:
        """Nothing: the graph wrote where we keep it."""

    def cut(self, length: int) -> None:
        """Nothing: what lies behind the length is never looked at, and is written over."""


class OrtGenerator:
    """A sequence of tokens in one graph; satisfies `backends.onnx.interface.Generator`."""

    def __init__(self, session: Session, graph: DecoderGraph, store: CacheStore, max_length: int) -> None:
        self._session = session
        self._graph = graph
        self._store = store
        self._length = 0
        self._ones = np.ones((1, max_length), dtype=np.int64)
        self._positions = np.arange(max_length, dtype=np.int64)[None]
        self._binding = session.binding()
        self._names = [*self._order_outputs()]
        self._logits: npt.NDArray[Any] = np.zeros((1, graph.vocab_size), dtype=ELEMENT_TYPES[graph.logits_element])

    def append(self, tokens: Sequence[int]) -> None:
        """Run the graph over new tokens. Raises EngineError; the sequence is then as it was."""
        binding = self._binding
        with self._session.failures():
            for name, array in self._feeds(tokens).items():
                binding.bind_cpu_input(name, array)
            self._store.bind(binding)
            binding.bind_output("logits", "cpu")
        self._session.run(binding)
        outputs = dict(zip(self._names, binding.get_outputs(), strict=True))
        self._store.advance(outputs)
        self._logits = outputs["logits"].numpy()[0, -1]
        self._length += len(tokens)

    def logits(self) -> Logits:
        """Scores of the token that follows the last one appended."""
        return self._logits.astype(np.float32)

    def rewind(self, length: int) -> None:
        """Drop the tokens from `length` on. Raises EngineError."""
        if length < self._length:
            with self._session.failures():
                self._store.cut(length)
            self._length = length

    def terminate(self) -> None:
        """End a running `append` with an error; from any thread."""
        self._session.terminate()

    def resume(self) -> None:
        """Take a `terminate` back."""
        self._session.resume()

    def close(self) -> None:
        """Free the KV cache."""
        del self._store, self._binding

    def _feeds(self, tokens: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
        """The inputs besides the caches: tokens `(1, n)`, mask `(1, past + n)`, positions `(1, n)`."""
        total = self._length + len(tokens)
        feeds: dict[str, npt.NDArray[Any]] = {
            "input_ids": np.array([tokens]),
            "attention_mask": self._ones[:, :total],
            "position_ids": self._positions[:, self._length : total],
            "use_cache_branch": np.array([self._length > 0]),
        } | {name: np.array(1) for name in LOGITS_COUNTS}
        return {
            name: np.ascontiguousarray(feeds[name], dtype=ELEMENT_TYPES[value.element]).reshape(
                _shape_like(feeds[name], value.shape)
            )
            for name, value in self._graph.inputs.items()
        }

    def _order_outputs(self) -> list[str]:
        """Names of the outputs in the order in which they are bound, which is that of `get_outputs`."""
        with self._session.failures():
            self._store.bind(self._binding)
            self._binding.bind_output("logits", "cpu")
        return [*(cache.present for cache in self._graph.caches), "logits"]


def _shape_like(array: npt.NDArray[Any], shape: Sequence[Any]) -> tuple[int, ...]:
    """A count is a scalar in some graphs and `(1,)` in others."""
    return array.shape if len(shape) == array.ndim else (1,) * len(shape)
