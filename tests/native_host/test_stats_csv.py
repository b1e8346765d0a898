"""Generations as CSV."""

import csv
import io
from dataclasses import replace

from support.stats_rows import row

from native_host import stats_csv
from native_host.stats_rows import GENERATION_COLUMNS, GenerationRecord


def parsed(*records: GenerationRecord) -> list[dict[str, str]]:
    text = stats_csv.header() + "".join(stats_csv.lines(records))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_line_has_every_column_and_what_is_not_known_is_empty() -> None:
    record = replace(row(rate=None), time=1_700_000_000.25, queue_time=1.23456, peak_memory=2**33)
    (line,) = parsed(record)
    assert tuple(line) == GENERATION_COLUMNS
    assert line["time"] == "2023-11-14T22:13:20.250Z"
    assert (line["tokens_per_second"], line["queue_time"], line["peak_memory"]) == ("", "1.235", "8589934592")
    assert (line["model"], line["input_tokens"], line["outcome"]) == ("echo", "10", "success")


def test_commas_quotes_and_line_breaks_in_a_name_stay_in_their_cell() -> None:
    assert parsed(row(model='a,"b"\nc'))[0]["model"] == 'a,"b"\nc'


def test_a_name_is_never_a_formula() -> None:
    for name in ("=1+1", "+1", "-1", "@x", "\t=1"):
        assert parsed(row(model=name))[0]["model"] == f"'{name}"
