"""GGUF files for tests: small working models, and headers put together by hand."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter

from tools.make_gguf import PRESETS, write_model

UINT32, FLOAT32, STRING, ARRAY = 4, 6, 8, 9


def write_tiny(path: Path, **changes: Any) -> Path:
    """Write a tiny Llama model (0.1 million random parameters), with fields of `tools.make_gguf.Shape` changed."""
    write_model(path, replace(PRESETS["tiny"], **changes))
    return path


@dataclass(frozen=True)
class Tensor:
    """A tensor's description in a header; offset None is where it belongs."""

    name: str = "weights"
    shape: tuple[int, ...] = (32,)
    kind: int = 0
    offset: int | None = None


def string(text: str) -> bytes:
    """A GGUF string."""
    return struct.pack("<Q", len(text.encode())) + text.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    """A metadata entry."""
    return string(key) + struct.pack("<I", kind) + value


def uint32(key: str, value: int) -> bytes:
    """A metadata entry with one number."""
    return entry(key, UINT32, struct.pack("<I", value))


ENTRIES = (
    entry("general.architecture", STRING, string("llama")),
    uint32("llama.context_length", 128),
    uint32("llama.embedding_length", 32),
    uint32("llama.block_count", 1),
    uint32("llama.attention.head_count", 4),
)


def gguf(
    entries: Iterable[bytes] = ENTRIES,
    tensors: Iterable[Tensor] = (Tensor(),),
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    tensor_count: int | None = None,
    entry_count: int | None = None,
    data: bytes = bytes(128),
) -> bytes:
    """A GGUF file, by default a whole one of one tensor of 32 floats, with anything in it wrong that is asked for."""
    entries, tensors = list(entries), list(tensors)
    counts = (
        len(tensors) if tensor_count is None else tensor_count,
        len(entries) if entry_count is None else entry_count,
    )
    header = magic + struct.pack("<IQQ", version, *counts) + b"".join(entries)
    for tensor in tensors:
        header += string(tensor.name) + struct.pack("<I", len(tensor.shape))
        header += struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape)
        header += struct.pack("<IQ", tensor.kind, tensor.offset or 0)
    return header + bytes(-len(header) % 32) + data


def write_lora(path: Path, architecture: str = "llama", width: int = 64, seed: int = 3) -> Path:
    """Write a LoRA adapter of rank 4 on the tiny model's first output projection."""
    random = np.random.default_rng(seed)
    writer = GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 64.0)
    writer.add_tensor("blk.0.attn_output.weight.lora_a", random.standard_normal((4, width), np.float32))
    writer.add_tensor("blk.0.attn_output.weight.lora_b", random.standard_normal((width, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
