"""What was measured once and is remembered: a JSON file in the folder that a load names (`LoadSpec.cache_path`).

A file that is missing, damaged or not to be written costs a measurement and nothing else. Above it: `threads` and
whoever checks something that takes seconds.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pydantic import JsonValue

from backends.onnx.folder import externals, read_onnx

LARGEST_COUNT = 200
"""Entries that a file keeps; the oldest go first."""


class Remembered:
    """Facts under keys. Two processes that write at once may lose one of the two facts, never the file."""

    def __init__(self, folder: Path | None, name: str) -> None:
        """A folder of None remembers nothing."""
        self._file = folder / f"{name}.json" if folder is not None else None

    @property
    def lasting(self) -> bool:
        """True if there is a place to remember in."""
        return self._file is not None

    def get(self, key: str) -> JsonValue:
        """The fact under a key; None if there is none."""
        return self._read().get(key)

    def put(self, key: str, value: JsonValue) -> None:
        """Remember a fact, if it can be."""
        if self._file is None:
            return
        facts = self._read()
        facts.pop(key, None)
        facts[key] = value
        with contextlib.suppress(OSError):
            _write(self._file, dict(list(facts.items())[-LARGEST_COUNT:]))

    def _read(self) -> dict[str, JsonValue]:
        if self._file is None:
            return {}
        try:
            value = json.loads(self._file.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}


def weights_key(graphs: Iterable[Path], *circumstances: object) -> str:
    """A key that changes when a graph's file or its external data does, or any of the circumstances."""
    files = [file for graph in graphs for file in (graph, *_external_files(graph))]
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((stats, circumstances)).encode()).hexdigest()


def _external_files(graph: Path) -> list[Path]:
    return [graph.parent / name for name in externals([read_onnx(graph)])]


def _write(file: Path, facts: dict[str, JsonValue]) -> None:
    """Write a file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(facts, stream)
        Path(name).replace(file)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
