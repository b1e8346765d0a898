"""Reads what safetensors files hold without loading them: names of tensors, and whether a file is whole.

Format: 8 bytes little-endian length, that many bytes of JSON, then the tensors (safetensors' README, "Format"). What is
wrong is a HostError `model_invalid` that names the file. Above it: `checkpoint`.
"""

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from backends.huggingface.files import is_inside, read_json, refuse
from messages.wording import plural

INDEX = "model.safetensors.index.json"
MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""

_LENGTH = struct.Struct("<Q")


def weight_files(folder: Path) -> list[Path]:
    """The files that mlx-vlm 0.7.10 reads: those that the index names, else every safetensors file.

    Raises HostError `model_invalid` for an index that names a file that is not there, or not in the folder.
    """
    index = folder / INDEX
    if not index.is_file():
        return sorted(
            file for file in folder.glob("*.safetensors") if not file.name.endswith("consolidated.safetensors")
        )
    weights = read_json(index).get("weight_map")
    if not isinstance(weights, dict) or not weights or not all(isinstance(name, str) for name in weights.values()):
        refuse(index, "does not say which file holds which weights")
    names = sorted(set(weights.values()))
    for name in names:
        if not is_inside(folder, name):
            refuse(index, f"names weights outside the folder ({name})", damaged=False)
        if not (folder / name).is_file():
            refuse(folder / name, "is missing (it holds weights)")
    return [folder / name for name in names]


def tensor_names(files: Iterable[Path]) -> set[str]:
    """The names of all tensors; HostError `model_invalid` for a file that is cut off or is not safetensors."""
    return {name for file in files for name in _read_header(file) if name != "__metadata__"}


def _read_header(file: Path) -> dict[str, Any]:
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(_LENGTH.size)
        if len(start) < _LENGTH.size:
            refuse(file, "is cut off before its header")
        length = _LENGTH.unpack(start)[0]
        if length > min(size - _LENGTH.size, MAX_HEADER_BYTES):
            refuse(file, "is not a whole safetensors file: its header is longer than the file")
        try:
            header = json.loads(opened.read(length))
        except (ValueError, RecursionError) as error:
            refuse(file, f"is not a safetensors file: its header cannot be read ({error})", error)
    needed = _LENGTH.size + length + _tensor_bytes(file, header)
    if size < needed:
        refuse(file, f"is cut off: it has {size} {plural(size, 'byte')} and needs {needed}")
    return dict(header)


def _tensor_bytes(file: Path, header: Any) -> int:
    if not isinstance(header, dict):
        refuse(file, "is not a safetensors file: its header is not a JSON object")
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    try:
        return max((int(entry["data_offsets"][1]) for entry in entries), default=0)
    except (LookupError, TypeError, ValueError) as error:
        refuse(file, "is not a safetensors file: its header does not say where a tensor is", error)
