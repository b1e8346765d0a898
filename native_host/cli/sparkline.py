"""A line chart one row high, for the terminal."""

from collections.abc import Sequence
from typing import TextIO

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.-=+*#@"


def sparkline(values: Sequence[float | None], levels: str) -> str:
    """A character for each value, from the least (`levels`' first) to the greatest; a space where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return " " * len(values)
    least, span = min(known), max(known) - min(known)
    return "".join(" " if value is None else _level(value - least, span, levels) for value in values)


def levels_for(stream: TextIO) -> str:
    """Blocks, or ASCII if the stream's encoding has none."""
    try:
        BLOCKS.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return ASCII
    return BLOCKS


def _level(above_least: float, span: float, levels: str) -> str:
    """All values alike are drawn half high."""
    share = above_least / span if span else 0.5
    return levels[round(share * (len(levels) - 1))]
