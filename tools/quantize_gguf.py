"""Writes a GGUF's weights in Q4_0, as llama.cpp's own tool does; imported by tests and benchmarks."""

import ctypes
from pathlib import Path

import llama_cpp


def quantize_to_q4_0(source: Path, target: Path) -> None:
    """Write the model at `source`, whatever its types, to `target`. RuntimeError if llama.cpp cannot."""
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0
    parameters.allow_requantize = True
    if llama_cpp.llama_model_quantize(bytes(source), bytes(target), ctypes.byref(parameters)):
        raise RuntimeError(f"llama.cpp could not write {target}")
