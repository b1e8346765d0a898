"""The reference engine, in a process of its own: a bare decode loop, and llama-cpp-python's own streaming.

`python -m benchmarks.reference MODEL THREADS`.
The bare loop is what llama.cpp can do: greedy, nothing kept, nothing written.
"""

import os
import sys
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import llama_cpp

from backends.llamacpp import amx
from backends.llamacpp.memory import choose_batches
from benchmarks.hosts import REPOSITORY
from benchmarks.line_process import LineProcess, answer_lines
from messages.frames import JsonObject

CONTEXT_TOKENS = 4096


class BareLoop:
    """llama_decode and the greedy sampler, and nothing else; context and batches are those of our backend."""

    def __init__(self, model: str, threads: int) -> None:
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(model.encode(), amx.model_parameters())
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = CONTEXT_TOKENS
        self._batches = choose_batches(os.path.getsize(model), on_gpu=False)
        parameters.n_batch = parameters.n_ubatch = self._batches.early
        parameters.n_threads = parameters.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, parameters)
        self._sampler = llama_cpp.llama_sampler_init_greedy()

    def run(self, prompt: str, tokens: int) -> JsonObject:
        """Decode: `first_ms` is tokenise, prefill and the first token, `rate` tokens a second from there."""
        decode, sample = llama_cpp.llama_decode, llama_cpp.llama_sampler_sample
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        started = time.perf_counter()
        for batch in self._tokenize(prompt):
            decode(self._context, llama_cpp.llama_batch_get_one(batch, len(batch)))
        one = (llama_cpp.llama_token * 1)()
        step = llama_cpp.llama_batch_get_one(one, 1)
        one[0] = sample(self._sampler, self._context, -1)
        first = time.perf_counter()
        for _ in range(tokens - 1):
            decode(self._context, step)
            one[0] = sample(self._sampler, self._context, -1)
        seconds = time.perf_counter() - first
        return {"first_ms": (first - started) * 1000, "rate": (tokens - 1) / seconds if seconds else 0.0}

    def _tokenize(self, prompt: str) -> Iterator[Any]:
        """The prompt's tokens as C arrays, one a batch."""
        data = prompt.encode()
        room = (llama_cpp.llama_token * (len(data) + 8))()
        vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        count = llama_cpp.llama_tokenize(vocabulary, data, len(data), room, len(room), True, True)
        tokens = room[:count]
        start = 0
        while start < count:
            part = tokens[start : start + self._batches.at(start)]
            yield (llama_cpp.llama_token * len(part))(*part)
            start += len(part)


class _Engines:
    """What answers the requests; each engine is made by the first that needs it."""

    def __init__(self, model: str, threads: int) -> None:
        self._model, self._threads = model, threads

    @cached_property
    def bare(self) -> BareLoop:
        return BareLoop(self._model, self._threads)

    @cached_property
    def chat(self) -> Any:
        threads = self._threads
        # It has no option for the parameters that it begins with.
        with patch.object(llama_cpp.llama_cpp, "llama_model_default_params", amx.model_parameters):
            return llama_cpp.Llama(
                self._model, n_ctx=CONTEXT_TOKENS, n_threads=threads, n_threads_batch=threads, verbose=False
            )

    def answer(self, request: JsonObject) -> JsonObject:
        if request["op"] == "bare":
            return self.bare.run(request["prompt"], request["tokens"])
        started = time.perf_counter()
        messages = [{"role": "user", "content": request["prompt"]}]
        chunks = self.chat.create_chat_completion(messages, stream=True, temperature=0, max_tokens=request["tokens"])
        count = sum(1 for _ in chunks)
        return {"rate": request["tokens"] / (time.perf_counter() - started), "chunks": count}


class Reference(LineProcess):
    """The other process, seen from here."""

    def __init__(self, model: Path, threads: int) -> None:
        super().__init__([sys.executable, "-m", "benchmarks.reference", str(model), str(threads)], REPOSITORY)

    def bare(self, prompt: str, tokens: int) -> JsonObject:
        """See `BareLoop.run`."""
        return self.ask({"op": "bare", "prompt": prompt, "tokens": tokens})

    def chat_rate(self, prompt: str, tokens: int) -> float:
        """Tokens a second of `create_chat_completion(stream=True)`, from the call to its last chunk."""
        return float(self.ask({"op": "chat", "prompt": prompt, "tokens": tokens})["rate"])


def main() -> None:
    """Answer until stdin ends."""
    answer_lines(lambda: _Engines(sys.argv[1], int(sys.argv[2])).answer)


if __name__ == "__main__":
    main()
