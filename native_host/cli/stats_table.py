"""The figures as lines of at most 80 columns: counts, percentiles per backend and model, a sparkline, the last one.

Above it: `native_host.cli.stats`.
"""

import re
import textwrap
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from messages.facts import Aggregate
from messages.wording import plural
from native_host.cli.sparkline import sparkline
from native_host.cli.terminal import duration, size
from native_host.one_line import one_line
from native_host.stats_queries import HistoryPoint
from native_host.stats_rows import GenerationRecord

WIDTH = 80
PARTS = 40
"""Columns of a sparkline: parts of the time since the first generation."""

_NAME_WIDTH = 24
_CHART_NAME_WIDTH = 22
_INDENT = "  "
_GAP = "..."
_FILE_ENDING = re.compile(r"\.[a-z]+$")
_COUNT_WIDTH = 8
_CELL_WIDTH = 8
_SHARES = ("p50", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Report:
    """What is told; `since` is the first generation's time in seconds since the epoch.

    Mappings are by backend and then by model; a model's history is in `PARTS` parts of the time since then.
    """

    since: float
    total: Aggregate
    backends: Mapping[str, Aggregate]
    models: Mapping[str, Mapping[str, Aggregate]]
    history: Mapping[str, Mapping[str, Sequence[HistoryPoint]]]
    last: GenerationRecord


def render(report: Report, levels: str) -> Iterator[str]:
    """The lines; `levels` are a sparkline's characters from low to high."""
    yield from _counts(report)
    yield ""
    yield from _table(report)
    yield ""
    yield from _over_time(report, levels)
    yield ""
    yield from _last(report.last)


def _counts(report: Report) -> Iterator[str]:
    total = report.total
    ends = f"{total.succeeded:,} done, {total.cancelled:,} stopped, {total.failed:,} failed"
    yield f"{total.count:,} {plural(total.count, 'generation')} since {_date(report.since)}: {ends}"
    read = f"{total.input_tokens:,} {plural(total.input_tokens, 'token')} read"
    yield f"{read}, {total.cached_tokens:,} of them from the cache, {total.output_tokens:,} written"


def _table(report: Report) -> Iterator[str]:
    group = _CELL_WIDTH * len(_SHARES)
    indent = " " * (_NAME_WIDTH + _COUNT_WIDTH)
    yield f"{indent}{'first token after, ms':>{group}}{'tokens/s':>{group}}"
    shares = "".join(f"{share:>{_CELL_WIDTH}}" for share in _SHARES * 2)
    yield f"{'':<{_NAME_WIDTH}}{'count':>{_COUNT_WIDTH}}{shares}"
    for backend, figures in report.backends.items():
        yield _row(_column(backend, _NAME_WIDTH), figures)
        for model, part in report.models[backend].items():
            yield _row(_column(model, _NAME_WIDTH, _INDENT), part)


def _row(name: str, figures: Aggregate) -> str:
    parts = (figures.time_to_first_token, figures.tokens_per_second)
    cells = [_figure(getattr(part, share)) for part in parts for share in _SHARES]
    columns = "".join(f"{cell:>{_CELL_WIDTH}}" for cell in cells)
    return f"{name}{figures.count:>{_COUNT_WIDTH},}{columns}"


def _over_time(report: Report, levels: str) -> Iterator[str]:
    yield f"tokens/s over time, from {_date(report.since)} to now, medians"
    part_s = max(time.time() - report.since, 0.001) / PARTS
    for backend, models in report.history.items():
        yield backend
        for model, points in models.items():
            medians: list[float | None] = [None] * PARTS
            for point in points:
                part = min(max(round((point.time - report.since) / part_s), 0), PARTS - 1)
                medians[part] = point.tokens_per_second.p50
            name = _column(model, _CHART_NAME_WIDTH, _INDENT)
            yield f"{name}{sparkline(medians, levels)}  {_span(medians)}"


def _span(medians: Sequence[float | None]) -> str:
    known = [median for median in medians if median is not None]
    return f"{_figure(min(known))} to {_figure(max(known))}" if known else "not known"


def _last(last: GenerationRecord) -> list[str]:
    parts = [
        f"{_known(last.input_tokens)} {plural(last.input_tokens, 'token')} in, {_known(last.output_tokens)} out",
        f"the first after {_figure(last.time_to_first_token)} ms",
        f"{_figure(last.tokens_per_second)} tokens/s",
        f"{_figure(last.total_time)} ms in all",
        last.finish_reason or last.outcome,
    ]
    if last.peak_memory is not None:
        parts.append(f"at most {size(last.peak_memory)} of memory")
    ago = duration(time.time() - last.time)
    text = f"last: {one_line(last.model)} on {last.backend}, {ago} ago: {', '.join(parts)}"
    return textwrap.wrap(text, WIDTH, subsequent_indent="      ", break_on_hyphens=False)


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if abs(value) < 10_000 else f"{value:.0f}"


def _known(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _column(name: str, width: int, indent: str = "") -> str:
    """A name in its column, with a space before the next one."""
    text = indent + _cut(one_line(name), width - len(indent) - 1)
    return text + " " * (width - _cells(text))


def _cut(name: str, width: int) -> str:
    """A name that fits: of a path its end, where models in one folder differ; of a long file name both its ends."""
    if _cells(name) <= width:
        return name
    room = width - len(_GAP)
    file = re.split(r"[/\\]", name)[-1]
    if _cells(file) <= room:
        return f"{_GAP}{_end(name, room)}"
    stem = _FILE_ENDING.sub("", file)
    end = room * 2 // 5
    return stem if _cells(stem) <= width else f"{_end(stem[::-1], room - end)[::-1]}{_GAP}{_end(stem, end)}"


def _cells(text: str) -> int:
    """Cells of a terminal that a text takes: a Chinese character takes two, an accent on the letter before it none."""
    kinds = [unicodedata.east_asian_width(character) in "WF" for character in text]
    return sum(1 + is_wide for is_wide in kinds) - sum(map(bool, map(unicodedata.combining, text)))


def _end(text: str, cells: int) -> str:
    """As much of a text's end as fits into so many cells."""
    for place in reversed(range(len(text))):
        cells -= _cells(text[place])
        if cells < 0:
            return text[place + 1 :]
    return text


def _date(seconds: float) -> str:
    return time.strftime("%d %b %Y %H:%M", time.localtime(seconds))
