"""The questions that the statistics answer, as functions of an open connection, read-only or not.

Above it: `native_host.stats_database` and the terminal. Below it: the tables of `native_host.stats_schema`.
"""

import math
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

from messages.facts import Aggregate, Fact, Percentiles
from native_host.performance import percentiles
from native_host.stats_rows import GENERATION_COLUMNS, MEMORY_REPEAT_S, Filter, GenerationRecord

NEWEST = 10_000
"""Rows that percentiles are taken over: the newest ones."""

_LOST_S = MEMORY_REPEAT_S + 60.0
"""A loaded model's next memory sample comes within `MEMORY_REPEAT_S` and a few seconds, however busy the machine is."""

Grouping = Literal["backend", "model", "origin"]

_SUMS = """
SELECT count(*) AS count,
    coalesce(sum(outcome = 'success'), 0) AS succeeded, coalesce(sum(outcome = 'error'), 0) AS failed,
    coalesce(sum(outcome = 'cancelled'), 0) AS cancelled, coalesce(sum(input_tokens), 0) AS input_tokens,
    coalesce(sum(output_tokens), 0) AS output_tokens, coalesce(sum(cached_tokens), 0) AS cached_tokens,
    coalesce(total(total_time), 0.0) AS total_time
FROM generations
"""


class HistoryPoint(Fact):
    """The generations that ended from `time` (seconds since the epoch) on, until the next point's earliest time."""

    time: float
    count: int
    time_to_first_token: Percentiles
    tokens_per_second: Percentiles


class MemoryPoint(Fact):
    """The most bytes that a model had resident in the part of time that begins at `time`.

    0: it was unloaded then, or nothing was heard of it from then on, as after a power cut.
    """

    time: float
    resident_bytes: int


def aggregate(connection: sqlite3.Connection, wanted: Filter) -> Aggregate:
    """Counts and sums over all rows that match, percentiles over the newest `NEWEST` of them."""
    sums = connection.execute(_SUMS + wanted.sql, wanted.values).fetchone()
    newest = connection.execute(
        f"SELECT time_to_first_token, tokens_per_second FROM generations{wanted.sql} ORDER BY id DESC LIMIT {NEWEST}",
        wanted.values,
    ).fetchall()
    return Aggregate(
        **dict(sums),
        time_to_first_token=_percentiles(row[0] for row in newest),
        tokens_per_second=_percentiles(row[1] for row in newest),
    )


def grouped(connection: sqlite3.Connection, by: Grouping, wanted: Filter) -> dict[str, Aggregate]:
    """The same for each backend, model or origin that has rows, by name."""
    names = connection.execute(f"SELECT DISTINCT {by} FROM generations{wanted.sql} ORDER BY {by}", wanted.values)
    return {name: aggregate(connection, _narrowed(wanted, by, name)) for (name,) in names.fetchall()}


def history(connection: sqlite3.Connection, wanted: Filter, parts: int) -> dict[str, list[HistoryPoint]]:
    """Percentiles over time for each backend: its newest rows in at most `parts` equal parts of time, none empty.

    The time is from `since`, or the oldest of those rows, to `until`, or now.
    """
    rows = connection.execute(
        f"SELECT time, backend, time_to_first_token, tokens_per_second FROM generations{wanted.sql} "
        f"ORDER BY id DESC LIMIT {NEWEST}",
        wanted.values,
    ).fetchall()
    start, width = _parts(wanted, min((row["time"] for row in rows), default=0.0), parts)
    found: defaultdict[tuple[str, int], list[sqlite3.Row]] = defaultdict(list)
    for row in rows:
        found[row["backend"], min(int((row["time"] - start) / width), parts - 1)].append(row)
    points: defaultdict[str, list[HistoryPoint]] = defaultdict(list)
    for (backend, part), members in sorted(found.items(), key=lambda item: item[0]):
        points[backend].append(_history_point(start + part * width, members))
    return dict(points)


def memory(connection: sqlite3.Connection, wanted: Filter, parts: int) -> dict[str, list[MemoryPoint]]:
    """Resident memory over time for each model, in at most `parts` equal parts of time, as `history` has them.

    A part that ends unloaded says so with a point of its own, or else its most would stand until the next load. So
    does one after which samples fail to come: its daemon was killed, and could not tell that its models went with it.
    """
    within = Filter(backend=wanted.backend, model=wanted.model, since=wanted.since, until=wanted.until)
    (oldest,) = connection.execute(f"SELECT min(time) FROM memory{within.sql}", within.values).fetchone()
    start, width = _parts(within, oldest or 0.0, parts)
    rows = connection.execute(
        f"SELECT model, min(CAST((time - ?) / ? AS INTEGER), ?) AS part, max(resident_bytes) AS most, "
        f"min(time) AS first, max(time) AS last, max(CASE WHEN resident_bytes = 0 THEN time END) AS unloaded "
        f"FROM memory{within.sql} GROUP BY model, part ORDER BY model, part",
        [start, width, parts - 1, *within.values],
    )
    end = min(within.until or math.inf, time.time())
    points: defaultdict[str, list[MemoryPoint]] = defaultdict(list)
    for row, following in pairwise([*rows, None]):
        if row["most"]:
            points[row["model"]].append(MemoryPoint(time=start + row["part"] * width, resident_bytes=row["most"]))
        goes_on = following is not None and following["model"] == row["model"]
        if row["unloaded"] == row["last"]:
            points[row["model"]].append(MemoryPoint(time=row["unloaded"], resident_bytes=0))
        elif (following["first"] if goes_on else end) - row["last"] > _LOST_S:
            points[row["model"]].append(MemoryPoint(time=row["last"] + MEMORY_REPEAT_S, resident_bytes=0))
    return dict(points)


def page(
    connection: sqlite3.Connection, wanted: Filter, after_id: int, limit: int
) -> tuple[list[GenerationRecord], int]:
    """The next rows that match, oldest first, and the id to go on after; no rows: that was all."""
    where = f"{wanted.sql} AND" if wanted.sql else " WHERE"
    rows = connection.execute(
        f"SELECT id, {', '.join(GENERATION_COLUMNS)} FROM generations{where} id > ? ORDER BY id LIMIT ?",
        [*wanted.values, after_id, limit],
    ).fetchall()
    records = [GenerationRecord(*tuple(row)[1:]) for row in rows]
    return records, rows[-1]["id"] if rows else after_id


def pages(connection: sqlite3.Connection, wanted: Filter, limit: int = 1000) -> Iterator[GenerationRecord]:
    """All rows that match, oldest first, a page of `limit` at a time in memory."""
    records, last = page(connection, wanted, 0, limit)
    while records:
        yield from records
        records, last = page(connection, wanted, last, limit)


def newest(connection: sqlite3.Connection, wanted: Filter) -> GenerationRecord | None:
    """The generation that ended last."""
    row = connection.execute(
        f"SELECT {', '.join(GENERATION_COLUMNS)} FROM generations{wanted.sql} ORDER BY id DESC LIMIT 1", wanted.values
    ).fetchone()
    return None if row is None else GenerationRecord(*row)


def _narrowed(wanted: Filter, by: Grouping, name: str) -> Filter:
    values = {"backend": wanted.backend, "model": wanted.model, "origin": wanted.origin, by: name}
    return Filter(**values, since=wanted.since, until=wanted.until)


def _parts(wanted: Filter, oldest: float, parts: int) -> tuple[float, float]:
    """Where the first part begins, and how long each is, in seconds; a part is never shorter than a millisecond."""
    start = oldest if wanted.since is None else wanted.since
    end = time.time() if wanted.until is None else wanted.until
    return start, max((end - start) / parts, 0.001)


def _history_point(begin: float, rows: list[sqlite3.Row]) -> HistoryPoint:
    return HistoryPoint(
        time=begin,
        count=len(rows),
        time_to_first_token=_percentiles(row["time_to_first_token"] for row in rows),
        tokens_per_second=_percentiles(row["tokens_per_second"] for row in rows),
    )


def _percentiles(values: Iterator[float | None]) -> Percentiles:
    return percentiles([value for value in values if value is not None])
