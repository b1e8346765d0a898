"""What a folder's graphs are checked for, without an engine: that they are whole, and where their weights are.

What is wrong is a HostError `model_invalid` that names the file. Above it: the readers of the two layouts.
"""

from collections.abc import Iterable
from pathlib import Path

from backends.huggingface.files import is_inside, refuse
from backends.onnx.onnx_file import OnnxError, OnnxHeader, read_header
from messages.wording import plural

_POINTER_MAGIC = b"version https://git-lfs"
_POINTER = "is Git LFS' pointer to the model and not the model itself (git lfs pull fetches it)"


def read_onnx(file: Path) -> OnnxHeader:
    """Read a graph's header; HostError `model_invalid` if it is damaged."""
    try:
        return read_header(file)
    except OnnxError as error:
        reason = _POINTER if _is_pointer(file) else f"is not a whole ONNX model: {error}"
        refuse(file, reason, error)


def _is_pointer(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_POINTER_MAGIC)) == _POINTER_MAGIC


def externals(headers: Iterable[OnnxHeader]) -> dict[str, int]:
    """External data files of several graphs, with the bytes that each must have."""
    merged: dict[str, int] = {}
    for header in headers:
        for name, needed in header.external.items():
            merged[name] = max(needed, merged.get(name, 0))
    return merged


def external_size(graph: Path, name: str, needed: int) -> int:
    """The size of a graph's external data file; HostError `model_invalid` if it is not whole, or in another folder."""
    file = graph.parent / name
    if not name or not is_inside(graph.parent, name):
        refuse(graph, f"has its weights in a file outside the folder ({name or 'without a name'})", damaged=False)
    if not file.is_file():
        refuse(file, "is missing (it holds weights)")
    size = file.stat().st_size
    if size < needed:
        refuse(file, f"is cut off: it has {size} {plural(size, 'byte')} and needs {needed}")
    return size
