"""A LoRA adapter on top of a loaded model."""

import ctypes
import os
from pathlib import Path
from typing import Any

import llama_cpp

from backends.llamacpp.engine_log import EngineLog
from backends.llamacpp.header import FLOAT32, Header, invalid_model, read_header
from messages.errors import ErrorCode, HostError

_SCALE = 1.0
_ALPHA = "adapter.lora.alpha"
"""What the engine ends its process over if it is of another type than float32 (llama-adapter.cpp, `get_kv_f32`)."""


def read_adapter(path: str, model: Header) -> Path:
    """Check an adapter's header against its model's, and return its path.

    Raises HostError `invalid_request` for a path that is not absolute, `model_not_found` if it cannot be read,
    `model_invalid` if it is no adapter, or one for another architecture.
    """
    adapter_path = Path(path).expanduser()
    if not adapter_path.is_absolute():
        text = f"The path of a LoRA adapter must be absolute; {path!r} is not."
        raise HostError(ErrorCode.INVALID_REQUEST, text, fields=["options.lora: must be an absolute path"])
    adapter = read_header(adapter_path)
    meant, loaded = adapter.text("general.architecture"), model.text("general.architecture")
    if adapter.text("general.type") != "adapter" or adapter.text("adapter.type") != "lora":
        raise invalid_model(adapter_path, "is not a LoRA adapter")
    if adapter.kinds.get(_ALPHA, FLOAT32) != FLOAT32:
        raise invalid_model(adapter_path, f"has a {_ALPHA} of a wrong type in its header")
    if meant != loaded:
        raise invalid_model(adapter_path, f"is an adapter for {meant} models, and this one is {loaded}")
    return adapter_path


def apply_adapter(model: Any, context: Any, path: Path, log: EngineLog) -> None:
    """Load the adapter at `path` and use it in a context; it is freed with the model.

    Raises HostError `model_invalid` if it does not fit the model.
    """
    log.errors.clear()
    adapter = llama_cpp.llama_adapter_lora_init(model, os.fsencode(path))
    if not adapter:
        raise invalid_model(path, f"does not fit the model: {log.last_error or 'llama.cpp gives no reason'}")
    adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(adapter)
    if llama_cpp.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(_SCALE)):
        raise invalid_model(path, "cannot be used with this model")
