"""What the statistics answer, from real files."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.stats_rows import row

from native_host.stats_rows import Filter, MemorySample
from native_host.stats_store import StatsStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StatsStore]:
    store = StatsStore(tmp_path / "stats.sqlite3")
    yield store
    store.close()


def test_groups_are_per_backend_model_or_origin_with_percentiles(store: StatsStore) -> None:
    for rate in (10.0, 20.0, 30.0):
        store.record(row(model="a", origin="x", rate=rate))
    store.record(row(model="b", origin="y", rate=100.0))
    by_model = store.grouped("model")
    assert (by_model["a"].tokens_per_second.p50, by_model["b"].tokens_per_second.p99) == (20.0, 100.0)
    assert {name: found.count for name, found in store.grouped("origin", Filter(model="a")).items()} == {"x": 3}
    assert list(store.grouped("backend")) == ["ECHO"]


def test_history_has_percentiles_of_each_part_of_time_for_each_backend(store: StatsStore) -> None:
    for age, rate in ((95.0, 10.0), (94.0, 30.0), (5.0, 50.0)):
        store.record(row(age_s=age, rate=rate))
    store.record(row(backend="ONNX_CPU", age_s=50.0, rate=70.0))
    now = time.time()
    history = store.history(Filter(since=now - 100, until=now), parts=10)
    assert [(point.count, point.tokens_per_second.p50) for point in history["ECHO"]] == [(2, 20.0), (1, 50.0)]
    assert history["ECHO"][0].time == pytest.approx(now - 100)
    assert history["ONNX_CPU"][0].time == pytest.approx(now - 50, abs=10)
    assert history["ONNX_CPU"][0].time_to_first_token.p99 == 30.0


def test_history_of_nothing_and_of_one_moment_is_no_error(store: StatsStore) -> None:
    assert store.history(Filter(), parts=10) == {}
    store.record(row())
    assert [point.count for point in store.history(Filter(), parts=10)["ECHO"]] == [1]


def test_memory_over_time_is_the_most_of_each_part_for_each_model(store: StatsStore) -> None:
    now = time.time()
    for age, size in ((95, 100), (94, 300), (5, 0)):
        store.record(MemorySample(now - age, "ECHO", "a", size))
    store.record(MemorySample(now - 50, "ONNX_CPU", "b", 700))
    memory = store.memory(Filter(since=now - 100, until=now), parts=10)
    assert [point.resident_bytes for point in memory["a"]] == [300, 0]
    assert [point.resident_bytes for point in memory["b"]] == [700]
    assert store.memory(Filter(model="b"), parts=3).keys() == {"b"}
    assert store.memory(Filter(model="c"), parts=3) == {}


def test_memory_says_when_a_model_was_unloaded_also_in_a_part_that_has_more(store: StatsStore) -> None:
    now = time.time()
    for age, size in ((95, 100), (94, 300), (93, 0), (45, 0), (25, 200), (24, 0), (23, 400), (15, 500)):
        store.record(MemorySample(now - age, "ECHO", "a", size))
    points = store.memory(Filter(since=now - 100, until=now), parts=10)["a"]
    assert [(round(now - point.time, 3), point.resident_bytes) for point in points] == [
        (100, 300),
        (93, 0),
        (45, 0),
        (30, 400),
        (20, 500),
    ]


def test_memory_of_a_daemon_that_was_killed_does_not_stand_until_the_next_one(store: StatsStore) -> None:
    """Samples come every five minutes at least while a model is loaded; nobody tells of a daemon's own end."""
    now = time.time()
    for age in (9000, 8700, 3100, 2800):
        store.record(MemorySample(now - age, "ECHO", "a", 100))
    store.record(MemorySample(now - 200, "ECHO", "b", 100))
    memory = store.memory(Filter(since=now - 10_000, until=now), parts=10)
    told = {
        name: [(round(now - point.time), point.resident_bytes) for point in points] for name, points in memory.items()
    }
    assert told == {"a": [(9000, 100), (8400, 0), (4000, 100), (3000, 100), (2500, 0)], "b": [(1000, 100)]}


def test_pages_give_every_row_once_and_in_order(store: StatsStore) -> None:
    for number in range(7):
        store.record(row(rate=float(number), model="odd" if number % 2 else "even"))
    rates, last = [], 0
    while True:
        records, last = store.page(Filter(), last, limit=3)
        rates += [record.tokens_per_second for record in records]
        if not records:
            break
    assert rates == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert [record.tokens_per_second for record in store.page(Filter(model="odd"), 0)[0]] == [1.0, 3.0, 5.0]
