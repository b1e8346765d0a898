"""Whether the engine's own grammar for a schema takes a text."""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import llama_cpp

from backends.llamacpp.backend import LlamaCppBackend
from backends.llamacpp.constraint import grammar_of, grammar_sampler
from backends.llamacpp.engine_log import EngineLog
from messages.options import JsonSchemaFormat

Accepts = Callable[[Any, str], bool]


@contextlib.contextmanager
def grammar_texts(backend: LlamaCppBackend) -> Iterator[Accepts]:
    """Tells whether the grammar for a schema takes a text, to its end."""
    assert backend._loaded
    vocabulary, log = backend._loaded.engine.vocabulary, EngineLog()
    end = llama_cpp.llama_vocab_eos(vocabulary.handle)

    def accept(schema: Any, text: str) -> bool:
        grammar = grammar_of(JsonSchemaFormat(type="json_schema", json_schema=schema))
        assert grammar
        sampler = grammar_sampler(vocabulary.handle, grammar, log)
        try:
            tokens = [*vocabulary.tokenize_rest(text), end]
            return all(_takes(sampler, token) for token in tokens)
        finally:
            llama_cpp.llama_sampler_free(sampler)

    yield accept
    log.close()


def _takes(sampler: Any, token: int) -> bool:
    """Whether a token may come next; if so it has come."""
    one = llama_cpp.llama_token_data(token, 1.0, 0.0)
    llama_cpp.llama_sampler_apply(
        sampler, ctypes.byref(llama_cpp.llama_token_data_array(ctypes.pointer(one), 1, -1, False))
    )
    if one.logit == float("-inf"):
        return False
    llama_cpp.llama_sampler_accept(sampler, token)
    return True
