"""The engine's three objects that we use, each with an owner and an end: model, tokenizer, generator.

A generator is only ever *fed* tokens (`append`) and asked for the next token's logits; it never samples. So everything
in its sequence is also in its KV cache, and a rewind is right at any place (its own `generate_next_token` leaves the
last token out of the cache, and goes wrong after it, see `append`). Above it: `kv_cache`, `backend`. Below it: `capi`.
"""

import ctypes
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backends.onnx.genai.capi import GenaiLibrary, Handle
from backends.onnx.interface import Logits
from backends.onnx.threads import spinning

_ADAPTER = b"adapter"
"""What we call the one adapter of a model."""


class Model:
    """A loaded model, and the LoRA adapter that its generators run with."""

    def __init__(self, library: GenaiLibrary, folder: Path, provider: str | None, threads: int | None) -> None:
        """Load a folder's model.

        Provider None leaves what the folder asks for; "" is the CPU; any other is the engine's name of a provider.
        Raises EngineError.
        """
        self.library = library
        self._adapters: Handle | None = None
        config = library.create("OgaCreateConfig", str(folder).encode())
        try:
            if provider is not None:
                library.call("OgaConfigClearProviders", config)
            if provider:
                library.call("OgaConfigAppendProvider", config, provider.encode())
            if threads is not None:
                library.call("OgaConfigOverlay", config, _threads_overlay(threads))
            self.handle = library.create("OgaCreateModelFromConfig", config)
        finally:
            library.destroy("OgaDestroyConfig", config)

    @property
    def device(self) -> str:
        """The kind of device that the engine says it uses, in its own words ("CPU", "CUDA", "DirectML")."""
        name = ctypes.c_char_p()
        self.library.call("OgaModelGetDeviceType", self.handle, ctypes.byref(name))
        return (name.value or b"").decode()

    def activate(self, adapter: Path) -> None:
        """Let every generator made from now on run with an adapter (`.onnx_adapter`). Raises EngineError."""
        self._adapters = self.library.create("OgaCreateAdapters", self.handle)
        self.library.call("OgaLoadAdapter", self._adapters, str(adapter).encode(), _ADAPTER)

    def adapt(self, generator: Handle) -> None:
        """Give a generator that has read nothing yet the adapter, if there is one. Raises EngineError."""
        if self._adapters is not None:
            self.library.call("OgaSetActiveAdapter", generator, self._adapters, _ADAPTER)

    def close(self) -> None:
        """Free the model; tokenizers and generators first."""
        if self._adapters is not None:
            self.library.destroy("OgaDestroyAdapters", self._adapters)
        self.library.destroy("OgaDestroyModel", self.handle)


class Tokenizer:
    """Text into tokens."""

    def __init__(self, model: Model) -> None:
        self._library = model.library
        self._handle = self._library.create("OgaCreateTokenizer", model.handle)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text without NUL; special tokens in it are recognised, none is added."""
        sequences = self._library.create("OgaCreateSequences")
        try:
            self._library.call("OgaTokenizerEncode", self._handle, text.encode("utf-8", "replace"), sequences)
            count = self._library.sequence_length(sequences, 0)
            tokens: list[int] = self._library.sequence_data(sequences, 0)[:count]
        finally:
            self._library.destroy("OgaDestroySequences", sequences)
        return tokens

    def close(self) -> None:
        """Free the tokenizer."""
        self._library.destroy("OgaDestroyTokenizer", self._handle)


class Generator:
    """A sequence of tokens and its KV cache of up to `max_length` tokens."""

    def __init__(self, model: Model, *, max_length: int, vocab_size: int) -> None:
        self._library = library = model.library
        self._logits_type = ctypes.c_float * vocab_size
        params = library.create("OgaCreateGeneratorParams", model.handle)
        try:
            library.call("OgaGeneratorParamsSetSearchNumber", params, b"max_length", float(max_length))
            library.call("OgaGeneratorParamsSetSearchNumber", params, b"num_beams", 1.0)
            library.call("OgaGeneratorParamsSetSearchBool", params, b"do_sample", False)
            self._handle: Handle | None = library.create("OgaCreateGenerator", model.handle, params)
        finally:
            library.destroy("OgaDestroyGeneratorParams", params)
        model.adapt(self._handle)

    def append(self, tokens: Sequence[int]) -> None:
        """Run the model over new tokens. Raises EngineError, also when `terminate` was called."""
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        self._library.call("OgaGenerator_AppendTokens", self._handle, ids, len(tokens))

    def logits(self) -> Logits:
        """Scores of the token that follows the last one appended."""
        tensor = self._library.create("OgaGenerator_GetLogits", self._handle)
        try:
            data = Handle()
            self._library.call("OgaTensorGetData", tensor, ctypes.byref(data))
            return np.ctypeslib.as_array(self._logits_type.from_address(data.value or 0)).copy()
        finally:
            self._library.destroy("OgaDestroyTensor", tensor)

    def rewind(self, length: int) -> None:
        """Drop the tokens from `length` on; at least one must be appended before logits are asked for."""
        self._library.call("OgaGenerator_RewindTo", self._handle, length)

    def terminate(self) -> None:
        """End a running `append` with an error; from any thread."""
        self._library.call("OgaGenerator_SetRuntimeOption", self._handle, b"terminate_session", b"1")

    def resume(self) -> None:
        """Take a `terminate` back."""
        self._library.call("OgaGenerator_SetRuntimeOption", self._handle, b"terminate_session", b"0")

    def close(self) -> None:
        """Free the generator and its KV cache."""
        if self._handle is not None:
            self._library.destroy("OgaDestroyGenerator", self._handle)
            self._handle = None


def _threads_overlay(threads: int) -> bytes:
    options = {"intra_op_num_threads": threads, **spinning(threads)}
    return json.dumps({"model": {"decoder": {"session_options": options}}}).encode()
