"""A loaded model and its context: made, warmed up, and freed."""

import ctypes
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llama_cpp
import numpy as np
import numpy.typing as npt
import psutil

from backends.base import ProgressCallback
from backends.damage import WORTHLESS, is_damaged
from backends.llamacpp import amx
from backends.llamacpp.attention import is_plain
from backends.llamacpp.batch_filling import BatchFilling
from backends.llamacpp.decoder import Decoder
from backends.llamacpp.devices import Placement
from backends.llamacpp.engine_log import EngineLog
from backends.llamacpp.header import invalid_model
from backends.llamacpp.lora import apply_adapter
from backends.llamacpp.memory import BatchSizes, ModelShape
from backends.llamacpp.products import Products
from backends.llamacpp.projector import Projector
from backends.llamacpp.sampler import LastLogits
from backends.llamacpp.vocabulary import Vocabulary
from messages.errors import ErrorCode, HostError

if TYPE_CHECKING:
    from backends.llamacpp.multimodal import Multimodal

MAX_THREADS = 16
_PROGRESS_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to run a model of a shape: context in tokens, threads, where, with which LoRA adapter and which projector.

    products are what its batches cost on the processor.
    """

    context: int
    threads: int
    placement: Placement
    batches: BatchSizes
    shape: ModelShape
    products: Products
    adapter: Path | None = None
    projector: Projector | None = None


def default_threads() -> int:
    """One thread less than there are physical cores, at most 16.

    The engine's threads wait for each other after every operation, spinning: where one of them has to share its core
    with the browser, all of them wait, and a model runs at a tenth of its speed (seen with 2 threads on 2 cores).
    """
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return max(1, min(cores, usable, MAX_THREADS + 1) - 1)


class Engine:
    """A model in llama.cpp with one context of one sequence; `close` frees both."""

    def __init__(self, path: Path, options: EngineOptions, log: EngineLog, progress: ProgressCallback) -> None:
        """Load the model at `path`.

        Raises HostError `model_invalid` if the engine refuses it, its projector or its adapter, `out_of_memory` if the
        context cannot be allocated.
        """
        self.context: Any = None
        self.multimodal: Multimodal | None = None
        self.model: Any = _load_model(path, options.placement, log, progress)
        try:
            self.vocabulary = Vocabulary(self.model)
            if options.projector is not None:
                self.multimodal = _load_projector(options.projector, self.model, options, log, progress)
            plain = not options.placement.gpus and is_plain(
                options.shape, options.products, options.context, _batch_tokens(options.batches, self.multimodal)
            )
            self.context = _make_context(self.model, options, self.multimodal, plain, log)
            if options.adapter is not None:
                apply_adapter(self.model, self.context, options.adapter, log)
            filling = _choose_filling(self.model, options, plain)
            self.decoder = Decoder(self.context, options.batches, self.multimodal, filling)
            self.logits = LastLogits(self.context, self.vocabulary.size)
            self._warm_up(path, options.adapter)
        except HostError:
            self.close()
            raise

    def close(self) -> None:
        """Free the context, the projector and the model."""
        if self.context:
            llama_cpp.llama_free(self.context)
        if self.multimodal is not None:
            self.multimodal.close()
        if self.model:
            llama_cpp.llama_model_free(self.model)
        self.context = self.multimodal = self.model = None

    def _warm_up(self, path: Path, adapter: Path | None) -> None:
        """Decode a token, so that the weights are read and buffers made before the first prompt comes.

        Raises HostError `model_invalid` if it shows that the weights are damaged.
        """
        if is_damaged(self._score, max(0, self.vocabulary.bos)):
            with_adapter = f" with the adapter {adapter.name}" if adapter else ""
            raise invalid_model(path, f"cannot be used{with_adapter}: {WORTHLESS}")

    def _score(self, token: int) -> npt.NDArray[np.float32]:
        """The scores after one token, which is then forgotten; the engine's own array, as `LastLogits.read` has it."""
        self.decoder.step(token)
        scores = self.logits.read()
        self.decoder.cache.clear()
        return scores


def _load_model(path: Path, placement: Placement, log: EngineLog, progress: ProgressCallback) -> Any:
    llama_cpp.llama_backend_init()
    parameters = amx.model_parameters()
    handles = [gpu.handle for gpu in placement.gpus]
    devices = (ctypes.c_void_p * (len(handles) + 1))(*handles, None)
    parameters.devices = ctypes.addressof(devices)
    parameters.n_gpu_layers = placement.gpu_layers
    callback = llama_cpp.llama_progress_callback(_rate_limited(progress))
    parameters.progress_callback = callback
    log.errors.clear()
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), parameters)
    if not model:
        raise invalid_model(path, f"cannot be loaded by llama.cpp: {log.last_error or 'it gives no reason'}")
    if llama_cpp.llama_model_has_encoder(model) or not llama_cpp.llama_model_has_decoder(model):
        llama_cpp.llama_model_free(model)
        raise invalid_model(path, "is not a model that continues a text")
    return model


def _rate_limited(progress: ProgressCallback) -> Any:
    """The engine's progress callback: passes on at most ten values a second, and always the last."""
    last = float("-inf")

    def report(value: float, _: Any) -> bool:
        nonlocal last
        now = time.monotonic()
        if value >= 1 or now - last >= _PROGRESS_INTERVAL_S:
            last = now
            progress("loading", min(1.0, value), "Loading the model's weights.")
        return True

    return report


def _load_projector(
    projector: Projector, model: Any, options: EngineOptions, log: EngineLog, progress: ProgressCallback
) -> "Multimodal":
    from backends.llamacpp.multimodal import Multimodal

    progress("loading", None, "Loading the model's projector.")
    log.open_multimodal()
    gpu = next((gpu.handle for gpu in options.placement.gpus), None)
    return Multimodal(projector, model, options.threads, gpu, log)


def _batch_tokens(batches: BatchSizes, multimodal: "Multimodal | None") -> int:
    """Most tokens that are decoded at once."""
    if multimodal is None or not multimodal.whole:
        return batches.early
    from backends.llamacpp.multimodal import MAX_WHOLE_TOKENS

    return MAX_WHOLE_TOKENS


def _choose_filling(model: Any, options: EngineOptions, plain: bool) -> BatchFilling | None:
    """What tells when to fill a batch up; None on a GPU."""
    if options.placement.gpus:
        return None
    return BatchFilling.of(model, options.products, options.shape, None if plain else options.threads, options.context)


def _make_context(
    model: Any, options: EngineOptions, multimodal: "Multimodal | None", plain: bool, log: EngineLog
) -> Any:
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = options.context
    parameters.n_batch = parameters.n_ubatch = _batch_tokens(options.batches, multimodal)
    parameters.n_outputs_max = 1
    if plain:
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.n_threads = parameters.n_threads_batch = options.threads
    log.errors.clear()
    context = llama_cpp.llama_init_from_model(model, parameters)
    if not context:
        text = f"llama.cpp cannot make a context of {options.context} tokens: {log.last_error or 'no reason given'}."
        raise HostError(ErrorCode.OUT_OF_MEMORY, text)
    return context
