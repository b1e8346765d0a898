"""Generations as CSV, for spreadsheets: a header, then a line each, times in ISO 8601 (UTC), figures as in the wire.

Above it: `tabagent-host stats --csv` and the HTTP API. Source: https://www.rfc-editor.org/rfc/rfc4180; a text that a
spreadsheet would take for a formula gets an apostrophe (https://owasp.org/www-community/attacks/CSV_Injection).
"""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from operator import attrgetter

from native_host.stats_rows import GENERATION_COLUMNS, GenerationRecord

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_DECIMALS = 3
_after_time = attrgetter(*GENERATION_COLUMNS[1:])


def header() -> str:
    """The first line."""
    return _line(GENERATION_COLUMNS)


def lines(records: Iterable[GenerationRecord]) -> Iterator[str]:
    """A line for each generation; what is not known is empty."""
    for record in records:
        yield _line([_iso(record.time), *map(_cell, _after_time(record))])


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cell(value: str | float | None) -> str | float | None:
    if isinstance(value, float):
        return round(value, _DECIMALS)
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value


def _line(cells: Iterable[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()
