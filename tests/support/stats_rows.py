"""Rows of statistics, and reading a statistics file as the terminal does."""

import time
from contextlib import closing
from pathlib import Path

from native_host import stats_queries
from native_host.stats_rows import Filter, GenerationRecord
from native_host.stats_schema import open_to_read


def row(
    backend: str = "ECHO", model: str = "echo", origin: str = "cli", rate: float | None = 40.0, age_s: float = 0.0
) -> GenerationRecord:
    return GenerationRecord(
        time=time.time() - age_s,
        origin=origin,
        backend=backend,
        model=model,
        outcome="success",
        input_tokens=10,
        output_tokens=20,
        cached_tokens=5,
        time_to_first_token=30.0,
        tokens_per_second=rate,
        total_time=500.0,
    )


def read(path: Path) -> list[GenerationRecord]:
    with closing(open_to_read(path)) as connection:
        return list(stats_queries.pages(connection, Filter()))
