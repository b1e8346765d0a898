"""The figures of one generation, and of all of a model's."""

import time

import pytest

from messages.facts import Aggregate, Figures
from native_host.performance import WINDOW, GenerationMetrics, Outcome, PerformanceTracker, percentiles


class HandClock:
    """A clock that stands still until it is moved, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def tracker(clock: HandClock) -> PerformanceTracker:
    return PerformanceTracker(clock)


def run_one(tracker: PerformanceTracker, clock: HandClock, tokens: int, outcome: Outcome = "success") -> None:
    """A generation with 50 ms of prefill and a token each 10 ms."""
    tracker.start_generation(7)
    clock.move(0.05)
    for index in range(tokens):
        clock.move(0.01 if index else 0.0)
        tracker.increment_output_tokens()
    tracker.complete_generation(outcome=outcome, finish_reason="stop")


def test_nothing_is_known_before_the_first_generation(tracker: PerformanceTracker) -> None:
    assert tracker.get_current_stats() == Figures()
    assert tracker.get_aggregate_stats() == Aggregate()


def test_the_figures_of_a_generation_are_those_of_the_protocol(tracker: PerformanceTracker, clock: HandClock) -> None:
    run_one(tracker, clock, tokens=11)
    figures = tracker.get_current_stats()
    assert figures.time_to_first_token == pytest.approx(50)
    assert figures.tokens_per_second == pytest.approx(100)
    assert figures.total_time == pytest.approx(150)
    assert (figures.input_tokens, figures.output_tokens, figures.finish_reason) == (7, 11, "stop")


def test_time_counts_from_the_arrival_and_not_from_the_start(tracker: PerformanceTracker, clock: HandClock) -> None:
    tracker.start_generation(arrived_at=clock.now - 2)
    tracker.mark_first_token()
    assert tracker.get_current_stats().time_to_first_token == pytest.approx(2000)


def test_the_rate_is_exact_when_tokens_come_in_batches(tracker: PerformanceTracker, clock: HandClock) -> None:
    tracker.start_generation()
    tracker.increment_output_tokens(4)
    for _ in range(3):
        clock.move(0.1)
        tracker.increment_output_tokens(10)
    assert tracker.get_current_stats().tokens_per_second == pytest.approx(100)


def test_the_engines_own_clock_wins_once_it_is_known(tracker: PerformanceTracker, clock: HandClock) -> None:
    tracker.start_generation()
    tracker.increment_output_tokens()
    clock.move(0.5)
    tracker.increment_output_tokens(20)
    assert tracker.get_current_stats().tokens_per_second == pytest.approx(40)
    tracker.complete_generation(decode_s=0.25)
    assert tracker.get_current_stats().tokens_per_second == pytest.approx(80)


def test_one_token_or_one_moment_has_no_rate(tracker: PerformanceTracker) -> None:
    tracker.start_generation()
    tracker.increment_output_tokens()
    assert tracker.get_current_stats().tokens_per_second is None
    tracker.increment_output_tokens()
    assert tracker.get_current_stats().tokens_per_second is None


def test_a_running_generation_is_the_current_one_and_has_no_total_yet(
    tracker: PerformanceTracker, clock: HandClock
) -> None:
    run_one(tracker, clock, tokens=3)
    tracker.start_generation()
    tracker.increment_output_tokens()
    assert tracker.get_current_stats().output_tokens == 1
    assert tracker.get_current_stats().total_time is None


def test_one_that_waits_is_not_the_current_one_while_another_runs(tracker: PerformanceTracker) -> None:
    running = tracker.start_generation(1)
    tracker.mark_queue_left(running)
    waiting = tracker.start_generation(2)
    tracker.increment_output_tokens(3, running)
    assert tracker.get_current_stats().output_tokens == 3
    tracker.complete_generation(running)
    assert tracker.get_current_stats() == waiting.figures()


def test_generations_side_by_side_keep_their_own_figures(tracker: PerformanceTracker, clock: HandClock) -> None:
    first, second = tracker.start_generation(1), tracker.start_generation(2)
    tracker.increment_output_tokens(3, first)
    tracker.increment_output_tokens(5, second)
    tracker.complete_generation(second)
    assert tracker.get_current_stats().input_tokens == 1
    tracker.complete_generation(first)
    assert (first.output_tokens, second.output_tokens) == (3, 5)
    assert tracker.get_aggregate_stats().output_tokens == 8


def test_completing_twice_counts_once(clock: HandClock) -> None:
    completed: list[GenerationMetrics] = []
    tracker = PerformanceTracker(clock, completed.append)
    generation = tracker.start_generation()
    tracker.complete_generation(generation, outcome="cancelled")
    tracker.complete_generation(generation, outcome="success")
    tracker.increment_output_tokens(1, generation)
    assert completed == [generation]
    assert (generation.outcome, generation.output_tokens) == ("cancelled", 0)
    assert tracker.get_aggregate_stats().count == 1


def test_calls_without_any_generation_change_nothing(tracker: PerformanceTracker) -> None:
    tracker.mark_first_token()
    tracker.increment_output_tokens()
    tracker.complete_generation()
    assert tracker.get_aggregate_stats().count == 0


def test_the_engines_own_counts_win(tracker: PerformanceTracker) -> None:
    tracker.start_generation(5)
    tracker.increment_output_tokens(2)
    tracker.complete_generation(input_tokens=6, output_tokens=3, cached_tokens=4)
    figures = tracker.get_current_stats()
    assert (figures.input_tokens, figures.output_tokens, figures.cached_tokens) == (6, 3, 4)


def test_success_error_and_cancel_are_all_recorded(tracker: PerformanceTracker, clock: HandClock) -> None:
    outcomes: tuple[Outcome, ...] = ("success", "success", "error", "cancelled")
    for outcome in outcomes:
        run_one(tracker, clock, tokens=2, outcome=outcome)
    aggregate = tracker.get_aggregate_stats()
    assert (aggregate.count, aggregate.succeeded, aggregate.failed, aggregate.cancelled) == (4, 2, 1, 1)
    assert (aggregate.input_tokens, aggregate.output_tokens) == (28, 8)


def test_sums_are_over_all_and_percentiles_over_the_newest(tracker: PerformanceTracker, clock: HandClock) -> None:
    for index in range(WINDOW + 10):
        tracker.start_generation()
        clock.move(1.0 if index < 10 else 0.001)
        tracker.mark_first_token()
        tracker.complete_generation()
    aggregate = tracker.performance().aggregate
    assert aggregate.count == WINDOW + 10
    assert aggregate.time_to_first_token.p99 == pytest.approx(1)


def test_percentiles_interpolate_between_neighbours() -> None:
    result = percentiles([float(value) for value in range(101)][::-1])
    assert (result.p50, result.p95, result.p99) == (50, 95, 99)
    assert percentiles([1.0, 2.0]).p50 == 1.5
    assert percentiles([3.0]).p99 == 3.0
    assert percentiles([]).p50 is None


def test_counting_a_token_costs_microseconds() -> None:
    tracker = PerformanceTracker()
    generation = tracker.start_generation()
    begin = time.perf_counter()
    for _ in range(10_000):
        tracker.increment_output_tokens(1, generation)
    assert (time.perf_counter() - begin) / 10_000 < 50e-6


def test_queue_time_is_from_the_arrival_until_the_engine_gets_the_request(
    tracker: PerformanceTracker, clock: HandClock
) -> None:
    generation = tracker.start_generation(arrived_at=clock.now - 1)
    assert generation.queue_time is None
    clock.move(0.5)
    tracker.mark_queue_left(generation)
    clock.move(3)
    tracker.complete_generation(generation)
    assert generation.queue_time == pytest.approx(1500)


def test_gaps_between_tokens_are_counted_and_a_batch_shares_the_time_before_it(
    tracker: PerformanceTracker, clock: HandClock
) -> None:
    generation = tracker.start_generation()
    tracker.increment_output_tokens()
    clock.move(0.02)
    tracker.increment_output_tokens()
    clock.move(0.32)
    tracker.increment_output_tokens(64)
    counts = dict(zip((*generation.gaps.bounds, None), generation.gaps.counts, strict=True))
    assert {bound: count for bound, count in counts.items() if count} == {0.025: 1, 0.005: 64}
    assert generation.gaps.total == pytest.approx(0.34)
