"""Tells what a path holds by its first bytes or its layout, never by its name. Standard library only."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GGUF_MAGIC = b"GGUF"

_PEEK_BYTES = 4096
_PROJECTOR_ENTRY = b"general.architecture\x08\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00clip"
"""The metadata entry (key, type, length, value) of a projector; writers put it first."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a file or folder says of itself, read without its engine.

    format is a name for people ("GGUF"), needed_bytes what loading it would take in memory with given options.
    """

    format: str
    size_bytes: int
    needed_bytes: int | None
    context_length: int | None = None


def is_gguf(path: Path) -> bool:
    """True for a file that begins with GGUF's magic (gguf specification, "File structure")."""
    return path.is_file() and _first_bytes(path, len(GGUF_MAGIC)) == GGUF_MAGIC


def is_gguf_projector(path: Path) -> bool:
    """True for a GGUF file that is a projector for pictures or sounds: a part of a model, and none by itself."""
    if not path.is_file():
        return False
    start = _first_bytes(path, _PEEK_BYTES)
    return start.startswith(GGUF_MAGIC) and _PROJECTOR_ENTRY in start


def is_genai_folder(path: Path) -> bool:
    """True for a folder in onnxruntime-genai's layout: it has a `genai_config.json`."""
    return path.is_dir() and (path / "genai_config.json").is_file()


def is_transformersjs_folder(path: Path) -> bool:
    """True for a folder in the layout of Transformers.js: a `config.json`, and graphs in `onnx/` or beside it."""
    if not path.is_dir() or not (path / "config.json").is_file():
        return False
    return any((path / "onnx").glob("*.onnx")) or any(path.glob("*.onnx"))


def is_onnx_folder(path: Path) -> bool:
    """True for a folder in either layout of ONNX Runtime."""
    return is_genai_folder(path) or is_transformersjs_folder(path)


def is_safetensors_folder(path: Path) -> bool:
    """True for a Hugging Face folder of a model: a `config.json` with a `model_type`, and safetensors; no ONNX."""
    if not path.is_dir() or is_onnx_folder(path) or not any(path.glob("*.safetensors")):
        return False
    try:
        return isinstance(_read_config(path).get("model_type"), str)
    except (OSError, ValueError):
        return False


def damage_of(path: Path) -> str | None:
    """What is wrong with a path that is surely meant to be a model and that no backend takes; None for any other.

    It goes behind the path. Here alone a name counts: nobody calls anything else `.gguf`.
    """
    if path.suffix.lower() == ".gguf" and path.is_file():
        return "does not begin as a GGUF file does; it is damaged or something else. Get it again."
    if path.is_dir() and any(path.glob("*.safetensors")) and (path / "config.json").is_file():
        try:
            _read_config(path)
        except ValueError:
            return "has a config.json that is not a JSON object; it is damaged. Get the folder again."
    return None


def _read_config(folder: Path) -> dict[str, Any]:
    """A folder's `config.json`. OSError if it cannot be read, ValueError if it is not a JSON object."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(config, dict):
        raise ValueError("not an object")
    return config


def _first_bytes(path: Path, count: int) -> bytes:
    """The beginning of a file; OSError also for one that has nothing to say yet, such as the kernel's log: no wait."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        return os.read(descriptor, count)
    finally:
        os.close(descriptor)


def never(path: Path) -> bool:
    """For a backend that reads no files."""
    return False
