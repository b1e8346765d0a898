"""What every model's folder is checked for, without an engine: its JSON files, its graphs, and where they point.

A folder is foreign: every file that it names must lie in it. What is wrong is a HostError `model_invalid` that names
the file. Above it: the readers of the two layouts.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from backends.onnx.onnx_file import OnnxError, OnnxHeader, read_header
from messages.errors import ErrorCode, HostError


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file; HostError `model_invalid` if it is not there or not one."""
    value = read_value(path)
    if not isinstance(value, dict):
        refuse(path, "is not a JSON object")
    return value


def read_value(path: Path) -> Any:
    """Read any JSON value from a file; HostError `model_invalid` if it is not there or not JSON."""
    if not path.is_file():
        refuse(path, "is missing")
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        refuse(path, f"cannot be read ({error})", error)


def refuse(path: Path, reason: str, cause: BaseException | None = None) -> NoReturn:
    """Raise `model_invalid` about one file of the folder."""
    raise HostError(
        ErrorCode.MODEL_INVALID,
        f"{path.name} {reason}. Get the model's folder again, complete: {path.parent}",
        model_path=str(path.parent),
        file=str(path),
    ) from cause


def is_inside(folder: Path, name: str) -> bool:
    """True if a relative name stays in the folder; links inside it are the user's own doing (download caches)."""
    parts = Path(name).parts
    return not Path(name).is_absolute() and ".." not in parts and ":" not in name and not name.startswith("\\")


def read_onnx(file: Path) -> OnnxHeader:
    """Read a graph's header; HostError `model_invalid` if it is damaged."""
    try:
        return read_header(file)
    except OnnxError as error:
        refuse(file, f"is not a whole ONNX model: {error}", error)


def externals(headers: Iterable[OnnxHeader]) -> dict[str, int]:
    """External data files of several graphs, with the bytes that each must have."""
    merged: dict[str, int] = {}
    for header in headers:
        for name, needed in header.external.items():
            merged[name] = max(needed, merged.get(name, 0))
    return merged


def external_size(path: Path, name: str, needed: int) -> int:
    """The size of an external data file; HostError `model_invalid` if it is not whole, or not in the graph's folder."""
    file = path / name
    if not is_inside(path, name):
        refuse(path / "model.onnx", f"names a file outside the folder ({name})")
    if not file.is_file():
        refuse(file, "is missing (it holds weights)")
    size = file.stat().st_size
    if size < needed:
        refuse(file, f"is cut off: it has {size} bytes and needs {needed}")
    return size
