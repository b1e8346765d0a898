"""What is wrong with a configuration, in words: each mistake with the file's line, or the variable, that it stands in.

Above it: `native_host.config`. Below it: `messages.validation` and `native_host.toml_keys`.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from messages.validation import MAX_FIELDS, words_of
from native_host import toml_keys

ENV_PREFIX = "TABAGENT_"
DELIMITER = "__"

_IN_QUOTES = "Put a model's name into single quotes: [load.models.'folder/name.gguf']"


def describe_toml(file: Path, error: tomllib.TOMLDecodeError) -> str:
    """A file that is not TOML; a name without its quotes, or a path in the wrong ones, is told so."""
    line = re.search(r"\(at line (\d+),", str(error))
    text = file.read_text(encoding="utf-8").split("\n")[int(line[1]) - 1] if line else ""
    remedy = _IN_QUOTES if re.match(r"\s*\[\s*load\s*\.\s*models\s*\.", text) else "Mend that line"
    return f"{file} is not valid TOML: {str(error).rstrip('.')}. {remedy}."


def describe_values(file: Path, error: ValidationError) -> str:
    """Values that cannot be used."""
    lines: dict[str, None] = {}
    for item in error.errors(include_url=False):
        path = tuple(str(part) for part in item["loc"] if isinstance(part, str))
        lines[f"{_place(file, path)}: {_field(item['loc'])}: {_words(path, item)}"] = None
    return f"{'; '.join(list(lines)[:MAX_FIELDS])}. Mend it; `tabagent-host config` shows every name and default."


def _field(location: tuple[int | str, ...]) -> str:
    names = toml_keys.written([part for part in location if isinstance(part, str)])
    return names + "".join(f"[{part}]" for part in location if isinstance(part, int))


def _words(path: tuple[str, ...], item: Mapping[str, Any]) -> str:
    """What is wrong, and what was meant where that can be told."""
    text = words_of(item)
    if item["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"must be a table: [{toml_keys.written(path)}]"
    if item["type"] != "extra_forbidden" or path[0] != "load":
        return text
    if path == ("load", "keep_alive_s"):
        return f"{text}; that of all models is models.keep_alive_s"
    if not isinstance(item["input"], dict):
        return text
    if len(path) == 2:
        return f"{text}; the options of one model go into [{toml_keys.written(('load', 'models', path[1]))}]"
    return f"{text}. {_IN_QUOTES}"


def _place(file: Path, path: tuple[str, ...]) -> str:
    """The variable that a value came from, else the file and line."""
    in_file, line = _line_of(file.read_text(encoding="utf-8"), path) if file.is_file() else (0, 0)
    variables = [ENV_PREFIX + DELIMITER.join(path[:depth]).upper() for depth in range(len(path), in_file - 1, -1)]
    for variable in variables:
        if variable in os.environ:
            return f"Environment variable {variable}"
    return f"{file}, line {line}" if line else str(file)


def _line_of(text: str, path: tuple[str, ...]) -> tuple[int, int]:
    """The line of a field, 1-based, in a file written the plain way: a [section], and below it `name = value`.

    First how many parts of the path stand there: of a field in an inline table, those of the table. Zeros if none do.
    """
    section: tuple[str, ...] = ()
    found = 0, 0
    for number, line in enumerate(text.splitlines(), start=1):
        key = toml_keys.key_of_line(line)
        if key is None:
            continue
        names, is_header = key
        full = names if is_header else (*section, *names)
        section = names if is_header else section
        if full == path[: len(full)] and len(full) > found[0]:
            found = len(full), number
    return found
