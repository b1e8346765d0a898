"""Bytes into characters, and the end at stop strings, however the stream is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.text_stream import StopFilter, Utf8Assembler


def _cut(data: str, sizes: list[int]) -> list[str]:
    pieces, place = [], 0
    for size in sizes:
        pieces.append(data[place : place + size])
        place += size
    return [*pieces, data[place:]]


def _run(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    stop_filter = StopFilter(stops)
    out = "".join(stop_filter.feed(piece) for piece in pieces)
    return out + stop_filter.flush(), stop_filter.stopped


@given(st.binary(max_size=60), st.lists(st.integers(0, 5), max_size=20))
def test_bytes_decode_the_same_wherever_they_are_cut(data: bytes, sizes: list[int]) -> None:
    assembler, place, out = Utf8Assembler(), 0, ""
    for size in sizes:
        out += assembler.feed(data[place : place + size])
        place += size
    assert out + assembler.feed(data[place:]) + assembler.flush() == data.decode("utf-8", "replace")


def test_an_incomplete_character_is_held_back_until_it_is_complete() -> None:
    assembler = Utf8Assembler()
    assert [assembler.feed(bytes([byte])) for byte in "é🙂".encode()] == ["", "é", "", "", "", "🙂"]


def test_a_character_that_never_ends_becomes_a_replacement_character() -> None:
    assembler = Utf8Assembler()
    assert assembler.feed(b"a\xf0\x9f") == "a"
    assert assembler.flush() == "\ufffd"
    assert assembler.flush() == ""


@given(
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=4),
    st.text("abc", max_size=30),
    st.lists(st.integers(0, 4), max_size=20),
)
def test_the_outcome_does_not_depend_on_where_the_text_is_cut(stops: list[str], text: str, sizes: list[int]) -> None:
    assert _run(stops, _cut(text, sizes)) == _run(stops, list(text)) == _run(stops, [text])


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=3), st.text("abc", max_size=20))
def test_exactly_what_may_become_a_stop_string_is_withheld(stops: list[str], text: str) -> None:
    stop_filter, passed = StopFilter(stops), ""
    for seen, character in enumerate(text, start=1):
        passed += stop_filter.feed(character)
        if stop_filter.stopped:
            return
        withheld = text[len(passed) : seen]
        candidates = [text[start:seen] for start in range(seen + 1)]
        longest = next(tail for tail in candidates if not tail or any(stop.startswith(tail) for stop in stops))
        assert withheld == longest


@pytest.mark.parametrize(
    ("stops", "pieces", "expected"),
    [
        (["END"], ["text E", "N", "D more"], "text "),
        (["END"], ["text E", "N", "T"], "text ENT"),
        (["\n", "\n\n"], ["a", "\n", "\nb"], "a"),
        (["bcd", "c"], ["abcd"], "ab"),
        (["aab"], ["aa", "a", "b"], "a"),
        (["é"], ["caf", "é", "!"], "caf"),
        ([""], ["abc"], "abc"),
        ([], ["abc"], "abc"),
    ],
)
def test_text_ends_before_the_first_stop_string(stops: list[str], pieces: list[str], expected: str) -> None:
    assert _run(stops, pieces)[0] == expected


def test_nothing_is_passed_after_a_stop_string() -> None:
    stop_filter = StopFilter(["."])
    assert stop_filter.feed("one. two") == "one"
    assert stop_filter.stopped
    assert stop_filter.feed("three") == ""
    assert stop_filter.flush() == ""
