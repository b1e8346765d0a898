"""Keys of a TOML file: how they are written, and which key a line begins with.

Above it: `native_host.config_problems`, `native_host.configured_options` and `doctor`. Standard library only.
"""

import json
import re
import tomllib
from collections.abc import Sequence


def written(path: Sequence[str]) -> str:
    """A dotted key, its parts in quotes where TOML wants them: `load.models.'a.gguf'`."""
    return ".".join(_quoted(part) for part in path)


def key_of_line(line: str) -> tuple[tuple[str, ...], bool] | None:
    """The key that a line sets, and True if it is a table's header; None for any other line."""
    if header := re.match(r"""\s*\[((?:[^\]"'#]|"[^"]*"|'[^']*')*)\]""", line):
        path = _read(f"[{header[1]}]")
        return None if path is None else (path, True)
    if value := re.match(r"""\s*((?:[\w.-]|\s|"[^"]*"|'[^']*')+)=""", line):
        path = _read(f"{value[1]} = 0")
        return None if path is None else (path, False)
    return None


def _read(line: str) -> tuple[str, ...] | None:
    try:
        table = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    path: list[str] = []
    while isinstance(table, dict) and table:
        ((name, table),) = table.items()
        path.append(name)
    return tuple(path)


def _quoted(part: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_-]+", part):
        return part
    if "'" not in part and part.isprintable():
        return f"'{part}'"
    return json.dumps(part, ensure_ascii=False)
