"""How long the rest of a prompt's reading takes, told from the steps until now."""

from __future__ import annotations

from native_host.prefill_pace import PrefillPace

TOTAL = 1000


def pace_of(*steps: tuple[int, float]) -> PrefillPace:
    pace = PrefillPace()
    for done, now in steps:
        pace.note(done, now)
    return pace


def test_the_rest_is_expected_to_take_as_long_as_what_was_read() -> None:
    assert pace_of((0, 5.0), (250, 6.0)).left_ms(TOTAL, 6.0) == 3000


def test_it_counts_down_between_two_steps_and_is_not_known_once_overdue() -> None:
    pace = pace_of((0, 5.0), (500, 6.0))
    assert [pace.left_ms(TOTAL, now) for now in (6.0, 6.5, 7.0, 7.1)] == [1000, 500, 0, None]


def test_a_step_that_is_told_again_while_the_next_one_takes_long_makes_the_rest_no_longer() -> None:
    """As the encoder of pictures does ten times a second, though one of its operations takes longer."""
    pace = pace_of((0, 5.0), (500, 6.0))
    told = []
    for tenth in range(1, 10):
        now = 6.0 + tenth / 10
        pace.note(500, now)
        told.append(pace.left_ms(TOTAL, now))
    assert told == [900, 800, 700, 600, 500, 400, 300, 200, 100]


def test_what_came_from_the_cache_says_nothing_of_the_speed() -> None:
    assert pace_of((800, 5.0), (900, 6.0)).left_ms(TOTAL, 6.0) == 1000


def test_nothing_is_told_before_enough_is_read() -> None:
    assert PrefillPace().left_ms(TOTAL, 5.0) is None
    assert pace_of((0, 5.0)).left_ms(TOTAL, 5.5) is None
    assert pace_of((0, 5.0), (10, 5.1)).left_ms(TOTAL, 5.1) is None


def test_quick_words_ahead_of_a_slow_picture_are_soon_forgotten() -> None:
    words = [(done, 5.0 + done / 1000) for done in range(0, 501, 50)]
    picture = [(500 + done, 5.5 + done / 50) for done in range(5, 251, 5)]
    pace = pace_of(*words, *picture)
    assert pace.left_ms(TOTAL, 10.5) == 5000


def test_an_engine_that_tells_less_than_before_is_not_believed() -> None:
    pace = pace_of((0, 0.0), (500, 1.0), (400, 9.0), (500, 10.0))
    assert pace.left_ms(TOTAL, 1.0) == 1000
