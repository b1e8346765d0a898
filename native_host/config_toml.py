"""Writes the configuration as TOML, with every default and what it means. It parses back to the defaults."""

import math
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from native_host.config import Config
from native_host.config_load import LoadConfig, ModelLoadConfig
from native_host.config_sections import Section

_WIDTH = 100


def render_default_toml() -> str:
    """The whole file: each section with its purpose, each value with its description above it."""
    lines = [
        "# TabAgent native host: every setting with its default.",
        "# What is left out keeps its default. The daemon reads this file when it starts: `tabagent-host stop`.",
        "# An environment variable wins over the file: TABAGENT_DAEMON__IDLE_EXIT_S=60",
    ]
    defaults = Config()
    for name in Config.model_fields:
        section: Section = getattr(defaults, name)
        lines += ["", *_comment(_purpose(section)), f"[{name}]", *_values(section)]
    return "\n".join(lines) + "\n"


def _values(section: Section) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, dict):
            yield from ("", *_comment(_description(field)), *_one_model())
            continue
        yield from _comment(_description(field))
        yield _example(name, field) if value is None else f"{name} = {_toml(value)}"


def _one_model() -> Iterator[str]:
    """The table of a model's own options; those that it shares with all models have been described."""
    yield "# [load.models.'folder/name.gguf']"
    for name, field in ModelLoadConfig.model_fields.items():
        if name not in LoadConfig.model_fields:
            yield from _comment(_description(field))
        yield _example(name, field)


def _example(name: str, field: FieldInfo) -> str:
    """A value that is not set: what it could be, commented out."""
    return f"# {name} = {_toml((field.examples or [0])[0])}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False)


def _purpose(section: Section) -> str:
    return (type(section).__doc__ or "").splitlines()[0]


def _description(field: FieldInfo) -> str:
    assert field.description is not None
    return field.description


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path):
        return _string(str(value))
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
