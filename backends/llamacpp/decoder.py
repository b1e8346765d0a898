"""Runs a prompt through the model in batches, then one token at a time, and stops at once when told to."""

import ctypes
from collections.abc import Generator, Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NoReturn

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from backends.llamacpp.abort import Aborted, AbortFlag, abort_cell
from backends.llamacpp.batch_filling import BatchFilling
from backends.llamacpp.embedding_cache import EmbeddingCache
from backends.llamacpp.kv_cache import KvCache
from backends.llamacpp.memory import BatchSizes
from backends.llamacpp.prompt import Prompt

if TYPE_CHECKING:
    from backends.llamacpp.multimodal import Chunk, Multimodal

_ABORTED = 2


class Decoder:
    """A context's decode calls, with its KV cache kept in step.

    multimodal is None for a model that reads only text, filler None where no batch is filled up.
    """

    def __init__(
        self,
        context: Any,
        batches: BatchSizes,
        multimodal: "Multimodal | None" = None,
        filler: BatchFilling | None = None,
    ) -> None:
        self.cache = KvCache(context)
        self._context = context
        self._batches = batches
        self._multimodal = multimodal
        self._filler = filler
        self._embeddings = EmbeddingCache()
        self._tokens: Any = (llama_cpp.llama_token * batches.early)()
        self._positions: Any = (llama_cpp.llama_pos * batches.early)()
        self._scored: Any = (ctypes.c_int8 * batches.early)()
        self._batch: Any = llama_cpp.llama_batch(n_tokens=1, token=self._tokens, pos=self._positions)
        """Kept, since ctypes makes a class for each length of an array."""
        self._decode = llama_cpp.llama_decode
        self._aborts = abort_cell(context)
        """Kept because the engine holds its address."""
        self._flag: AbortFlag | None = None

    def watch(self, flag: AbortFlag | None) -> None:
        """Stop decoding once `flag` is raised; None: never."""
        if self._flag is not None:
            self._flag.hide()
        if flag is not None:
            flag.show_in(self._aborts)
        self._flag = flag

    def prefill(self, prompt: Prompt) -> Iterator[int]:
        """Decode what of a prompt is not cached, and yield how many of its tokens are done after each batch.

        Raises `Aborted`.
        """
        tokens, done = prompt.tokens, len(self.cache.tokens)
        while done < len(tokens):
            if tokens[done] < 0:
                chunk = prompt.chunks[tokens[done]]
                yield from self._prefill_chunk(chunk, tokens[done : done + chunk.tokens])
            else:
                size = self._batches.at(done)
                part = list(takewhile(lambda token: token >= 0, tokens[done : done + size]))
                self._prefill_text(part)
                yield done + len(part)
            done = len(self.cache.tokens)

    def step(self, token: int) -> None:
        """Decode one token. Raises `Aborted`."""
        self._tokens[0] = token
        self._positions[0] = self.cache.position
        self._batch.n_tokens = 1
        result = self._decode(self._context, self._batch)
        if result:
            self._fail(result)
        self.cache.tokens.append(token)

    def _prefill_text(self, tokens: list[int]) -> None:
        filling = self._filler.filling(len(tokens), len(self.cache.tokens)) if self._filler else 0
        if filling:
            self._run_filled(tokens, filling)
        else:
            self._put(tokens)
            self._run(self._batch)
        self.cache.tokens.extend(tokens)
        if filling:
            self.cache.drop_rest()
            if not self.cache.tokens:  # all had to go, and is read once more
                self._filler = None

    def _put(self, tokens: list[int]) -> None:
        count, start = len(tokens), self.cache.position
        self._tokens[:count] = tokens
        self._positions[:count] = range(start, start + count)
        self._batch.n_tokens = count

    def _run_filled(self, tokens: list[int], filling: int) -> None:
        """Decode them with others behind, which they do not see; the scores are those after the last of them."""
        last = len(tokens) - 1
        self._put(tokens + tokens[-1:] * filling)
        self._scored[last] = 1
        self._batch.logits = self._scored
        try:
            self._run(self._batch)
        finally:
            self._batch.logits = None
            self._scored[last] = 0

    def _prefill_chunk(self, chunk: "Chunk", cells: list[int]) -> Iterator[int]:
        """Encode a picture or a sound and decode its embeddings; it counts as cached once all of it is."""
        start = len(self.cache.tokens)
        try:
            for done in self._embed(chunk, cells[0]):
                if done == chunk.tokens:
                    self.cache.add_span(cells, chunk.positions)
                yield start + done
        finally:
            if len(self.cache.tokens) == start:
                self.cache.drop_rest()

    def _encode(self, chunk: "Chunk", cell: int) -> Generator[int, None, NDArray[np.float32]]:
        assert self._multimodal is not None
        assert self._flag is not None
        embeddings = self._embeddings.get(cell)
        if embeddings is None:
            embeddings = yield from self._multimodal.encode(chunk, self._flag)
            self._embeddings.put(cell, embeddings)
            yield chunk.encoding_tokens
        return embeddings

    def _embed(self, chunk: "Chunk", cell: int) -> Iterator[int]:
        multimodal = self._multimodal
        assert multimodal is not None
        ahead = chunk.encoding_tokens if self._embeddings.get(cell) is None else 0
        embeddings = yield from self._encode(chunk, cell)
        positions = chunk.placed(self.cache.position, multimodal.mrope)
        at_once = multimodal.decodes_at_once(chunk)
        size = chunk.tokens if at_once else self._batches.late
        for start in range(0, chunk.tokens, size):
            end = min(start + size, chunk.tokens)
            places = positions[:, start:end].copy()
            batch = llama_cpp.llama_batch(
                n_tokens=end - start,
                embd=embeddings[start:end].ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
                pos=places.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_pos)),
            )
            llama_cpp.llama_set_causal_attn(self._context, not at_once)
            try:
                self._run(batch)
            finally:
                llama_cpp.llama_set_causal_attn(self._context, True)
            yield ahead + (chunk.tokens - ahead) * end // chunk.tokens

    def _run(self, batch: Any) -> None:
        result = self._decode(self._context, batch)
        if result:
            self._fail(result)

    def _fail(self, result: int) -> NoReturn:
        """Drop what a decode that did not finish left. Raises `Aborted`, or RuntimeError if it was not stopped."""
        self.cache.drop_rest()
        if result == _ABORTED:
            raise Aborted
        raise RuntimeError(f"llama_decode failed with {result}")
