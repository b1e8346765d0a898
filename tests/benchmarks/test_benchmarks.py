"""The benchmark command, with a little of everything: its table is there; its figures are no matter of a test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.burst import lags_ms
from benchmarks.command import GROUPS
from benchmarks.line_process import LineProcess
from benchmarks.samples import alternate, median_ratio, quantile
from benchmarks.table import at_least_times, at_most_more, at_most_times, not_measured

REPOSITORY = Path(__file__).resolve().parents[2]
QUICK_TIMEOUT_S = 450
"""It takes a minute on a quiet machine; on one that runs at a third of its speed, and does other things, several."""


@pytest.mark.slow
@pytest.mark.timeout(QUICK_TIMEOUT_S + 30)
def test_the_command_prints_a_row_with_a_comparison_for_every_figure(tmp_path: Path) -> None:
    written = tmp_path / "rows.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(written)]
    finished = subprocess.run(
        command, check=False, cwd=REPOSITORY, capture_output=True, text=True, timeout=QUICK_TIMEOUT_S
    )
    assert finished.returncode == 0, finished.stderr
    rows = json.loads(written.read_text())["rows"]
    assert len(rows) >= len(GROUPS)
    for row in rows:
        assert row["ours"]
        assert f"| {row['figure']} |" in finished.stdout


def test_ours_and_the_reference_run_in_turns() -> None:
    order: list[str] = []
    ours, reference = alternate(
        3, lambda number: order.append(f"ours {number}"), lambda number: order.append(f"reference {number}")
    )
    assert order == ["ours 0", "reference 0", "ours 1", "reference 1", "ours 2", "reference 2"]
    assert len(ours) == len(reference) == 3


def test_the_99th_percentile_is_a_measured_value_that_99_of_100_do_not_exceed() -> None:
    values = [float(value) for value in range(1, 101)]
    assert quantile(values, 0.99) == 99.0
    assert quantile(values[:50], 0.99) == 50.0
    assert quantile([7.0], 0.5) == 7.0


def test_a_ratio_is_taken_round_by_round() -> None:
    assert median_ratio([10.0, 50.0, 30.0], [5.0, 25.0, 10.0]) == 2.0


def test_a_goal_is_met_at_its_limit_and_missed_beyond_it() -> None:
    assert at_most_times("f", "ms", 12.0, 10.0, 1.2).met is True
    assert at_most_times("f", "ms", 12.1, 10.0, 1.2).met is False
    assert at_least_times("f", "tok/s", [94.0], [100.0], 0.95).met is False
    assert at_least_times("f", "tok/s", [94.0], [100.0], None).met is None
    assert at_most_more("f", "ms", 13.0, 10.0, 3.0).met is True
    assert at_most_more("f", "ms", 13.1, 10.0, 3.0).met is False


def test_a_reference_that_cannot_be_had_misses_its_goal_and_says_why() -> None:
    row = not_measured("f", ">= 2 x", "Node.js is not installed")
    assert row.met is False
    assert "Node.js is not installed" in row.compared


def test_a_reference_process_answers_requests_and_says_when_it_has_gone() -> None:
    echo = "import sys; print(sys.stdin.readline(), end='', flush=True)"
    with LineProcess([sys.executable, "-c", echo], REPOSITORY) as reference:
        assert reference.ask({"tokens": 1}) == {"tokens": 1}
        with pytest.raises(RuntimeError, match="the reference has gone"):
            reference.ask({"tokens": 2})


def test_a_token_that_waited_for_others_of_its_partial_is_late_by_that_wait() -> None:
    """At 20,000 tokens/s a token is due every 0.05 ms."""
    lags = lags_ms([(100.0, 1), (100.2, 3)])
    assert lags == pytest.approx([0.0, 0.15, 0.1])
