"""The frame codec: one table of cases drives writing and reading, whole, byte by byte and with a tail."""

import json
import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messages.frames import (
    MAX_OUTBOUND_BYTES,
    MAX_SAFE_INTEGER,
    FrameDecoder,
    FrameError,
    dump,
    encode,
    encode_outbound,
    frame,
    frame_of,
    parse_object,
)

CASES: dict[str, tuple[dict[str, Any], str]] = {
    "an empty object": ({}, "{}"),
    "plain fields": (
        {"id": "r1", "n": 1, "x": 0.5, "t": True, "z": None},
        '{"id":"r1","n":1,"x":0.5,"t":true,"z":null}',
    ),
    "nested values": ({"a": [{"b": []}, {}]}, '{"a":[{"b":[]},{}]}'),
    "text outside ASCII": ({"text": "Grüße, 世界 🙂"}, '{"text":"Grüße, 世界 🙂"}'),
    "characters that need an escape": ({"text": '"\\\n\t\x00\x1f'}, '{"text":"\\"\\\\\\n\\t\\u0000\\u001f"}'),
    "line separators": ({"text": "\u2028\u2029\x7f"}, '{"text":"\u2028\u2029\x7f"}'),
    "the largest safe integers": ({"n": [2**53, -(2**53)]}, f'{{"n":[{2**53},{-(2**53)}]}}'),
}

MENDED: dict[str, tuple[dict[str, Any], str]] = {
    "NaN becomes null": ({"x": float("nan")}, '{"x":null}'),
    "Infinity becomes null": ({"x": [float("inf"), float("-inf")]}, '{"x":[null,null]}'),
    "a lone surrogate becomes U+FFFD": ({"text": "a\ud83d"}, '{"text":"a\ufffd"}'),
    "a lone surrogate in a name becomes U+FFFD": ({"\udc00": 1}, '{"\ufffd":1}'),
    "two halves become their character": ({"text": "\ud83d\ude42"}, '{"text":"🙂"}'),
    "an unsafe integer becomes the nearest double": ({"n": 2**53 + 1}, '{"n":9007199254740992.0}'),
    "an integer beyond all doubles becomes null": ({"n": 10**400}, '{"n":null}'),
    "a tuple becomes an array": ({"t": (1, 2)}, '{"t":[1,2]}'),
    "a name that is no string becomes one": ({1: 2}, '{"1":2}'),  # type: ignore[dict-item]
}

BAD_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "half an object": b'{"a":',
    "an object and more": b"{}{}",
    "a trailing comma": b'{"a":1,}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "a byte-order mark": b"\xef\xbb\xbf{}",
    "bad UTF-8": b'{"a":"\xff"}',
    "a surrogate as UTF-8": b'{"a":"\xed\xa0\x80"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "single quotes": b"{'a':1}",
    "a raw control character": b'{"a":"\x01"}',
    "NUL bytes": b"\x00\x00\x00\x00",
    "an array": b"[1]",
    "a string": b'"ping"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "too deep an array": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "too deep an object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "too deep with half an emoji": b'{"s":"\\ud83d","a":' + b"[" * 800 + b"]" * 800 + b"}",
    "a number of 10,000 digits": b'{"a":' + b"9" * 10_000 + b"}",
}


WHITE_SPACE = b" " * 300_000


def read_all(
    stream: bytes, pieces: list[bytes] | None = None, max_bytes: int = 1 << 20
) -> list[bytes | bytearray | FrameError]:
    decoder = FrameDecoder(max_bytes)
    found: list[bytes | bytearray | FrameError] = []
    for piece in pieces if pieces is not None else [stream]:
        decoder.feed(piece)
        found.extend(decoder.frames())
    return found


def single_bytes(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


@pytest.mark.parametrize("case", CASES)
def test_a_message_is_written_as_a_length_and_strict_json(case: str) -> None:
    message, text = CASES[case]
    body = text.encode()
    assert encode(message) == struct.pack("=I", len(body)) + body


@pytest.mark.parametrize("case", CASES)
def test_what_was_written_is_read_back_whole(case: str) -> None:
    message, text = CASES[case]
    assert read_all(encode(message)) == [text.encode()]
    assert parse_object(text.encode()) == message


@pytest.mark.parametrize("case", CASES)
def test_what_comes_byte_by_byte_is_read_the_same(case: str) -> None:
    stream = encode(CASES[case][0])
    assert read_all(stream, single_bytes(stream)) == read_all(stream)


@pytest.mark.parametrize("case", CASES)
def test_the_beginning_of_the_next_message_waits_for_its_rest(case: str) -> None:
    decoder = FrameDecoder()
    stream = encode(CASES[case][0])
    decoder.feed(stream + stream[:3])
    assert list(decoder.frames()) == [CASES[case][1].encode()]
    assert decoder.truncated
    decoder.feed(stream[3:])
    assert list(decoder.frames()) == [CASES[case][1].encode()]
    assert not decoder.truncated


@pytest.mark.parametrize("case", MENDED)
def test_what_json_has_no_place_for_is_mended_on_the_way_out(case: str) -> None:
    message, text = MENDED[case]
    assert dump(message) == text
    json.loads(text.encode(), parse_constant=pytest.fail)


def test_a_value_of_another_kind_is_a_bug_and_is_raised() -> None:
    with pytest.raises(TypeError, match="bytes has no place in a message"):
        dump({"a": b"x"})


def test_a_number_of_too_many_digits_is_told_in_the_words_of_json() -> None:
    error = parse_object(b'{"id":' + b"9" * 5000 + b"}")
    assert isinstance(error, FrameError)
    assert error.message == "The message has a number of too many digits."


@pytest.mark.parametrize("case", BAD_BODIES)
def test_a_bad_body_is_an_error_that_leaves_the_stream_usable(case: str) -> None:
    error = parse_object(BAD_BODIES[case])
    assert isinstance(error, FrameError)
    assert error.code == "invalid_json"
    assert not error.fatal
    assert error.message.endswith(".")
    assert len(error.message) < 300


@pytest.mark.parametrize("case", BAD_BODIES)
def test_a_good_message_is_read_behind_a_bad_one(case: str) -> None:
    assert read_all(frame(BAD_BODIES[case]) + encode({"id": 1})) == [BAD_BODIES[case], b'{"id":1}']


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":"\\ud83d"}', {"a": "\ufffd"}),
        (b'{"a":"x\\uDE42y"}', {"a": "x\ufffdy"}),
        (b'{"a":"\\ud83d\\ude42"}', {"a": "🙂"}),
        (b'{"\\ud83d":["\\ud83d",1.5,null]}', {"\ufffd": ["\ufffd", 1.5, None]}),
        (b'{"a":"\\\\ud83d"}', {"a": "\\ud83d"}),
        (b'{"a":"\\ud83d","n":1e400}', {"a": "\ufffd", "n": float("inf")}),
        (b'{"a":"\\ud83d","n":9007199254740993}', {"a": "\ufffd", "n": 2**53 + 1}),
    ],
)
def test_half_an_emoji_is_mended_on_the_way_in_and_nothing_else_is(body: bytes, value: dict[str, Any]) -> None:
    assert parse_object(body) == value


@pytest.mark.parametrize("case", CASES)
def test_a_large_message_is_read_as_a_small_one(case: str) -> None:
    message, text = CASES[case]
    assert parse_object(text.encode() + WHITE_SPACE) == message
    assert parse_object(bytearray(text.encode() + WHITE_SPACE)) == message


@pytest.mark.parametrize("case", BAD_BODIES)
def test_a_large_bad_body_is_the_same_error_as_a_small_one(case: str) -> None:
    large = parse_object(BAD_BODIES[case] + WHITE_SPACE)
    assert isinstance(large, FrameError)
    assert large.code == "invalid_json"


def test_large_frames_are_cut_as_small_ones_are_whatever_follows() -> None:
    body = b'{"a":"' + b"x" * 300_000 + b'"}'
    stream = b"".join(frame_of([body]))
    assert stream == frame(body)
    assert b"".join(frame_of([body[:5], body[5:], b""])) == stream
    assert read_all(stream) == [body]
    assert read_all(stream * 3) == [body] * 3
    assert read_all(stream * 2, [stream[:-1], stream[-1:] + stream]) == [body] * 2
    assert read_all(stream * 2, [stream, stream]) == [body] * 2


def test_a_length_over_the_limit_is_one_fatal_error_however_much_follows() -> None:
    decoder = FrameDecoder(max_bytes=10)
    decoder.feed(struct.pack("=I", 11))
    errors = list(decoder.frames())
    decoder.feed(b"x" * 1000 + encode({}))
    assert [type(error) for error in errors] == [FrameError]
    assert isinstance(errors[0], FrameError)
    assert (errors[0].code, errors[0].fatal) == ("frame_too_large", True)
    assert "11 bytes" in errors[0].message
    assert "10" in errors[0].message
    assert list(decoder.frames()) == []
    assert not decoder.truncated


def test_a_body_of_exactly_the_limit_is_read() -> None:
    assert read_all(frame(b"x" * 10), max_bytes=10) == [b"x" * 10]


def test_a_body_of_no_bytes_is_a_frame() -> None:
    assert read_all(frame(b"") + encode({})) == [b"", b"{}"]


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_any_bytes_cut_anywhere_give_the_same_frames_and_errors(stream: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(places)]
    whole = read_all(stream, max_bytes=64)
    assert read_all(stream, pieces, max_bytes=64) == whole
    for item in whole:
        parsed = item if isinstance(item, FrameError) else parse_object(item)
        assert isinstance(parsed, dict) or parsed.code in ("invalid_json", "frame_too_large")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.text("\ud83d\ude42a\x00"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)
MESSAGES = st.dictionaries(st.text(max_size=8), JSON_VALUES, max_size=6)


@settings(deadline=None, max_examples=60)
@given(st.lists(MESSAGES, max_size=4), st.integers(1, 50))
def test_any_messages_cut_into_equal_pieces_are_read_as_they_were_written(
    messages: list[dict[str, Any]], size: int
) -> None:
    stream = b"".join(encode(message) for message in messages)
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert read_all(stream, pieces) == [dump(message).encode() for message in messages]


@settings(deadline=None, max_examples=60)
@given(MESSAGES)
def test_whatever_is_written_is_json_that_browsers_take(message: dict[str, Any]) -> None:
    def no_constant(name: str) -> None:
        raise AssertionError(name)

    def check(value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                check(key)
                check(item)
        elif isinstance(value, list):
            for item in value:
                check(item)
        elif isinstance(value, str):
            value.encode()
        elif isinstance(value, int):
            assert abs(value) <= MAX_SAFE_INTEGER

    check(json.loads(dump(message).encode("utf-8"), parse_constant=no_constant))


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=80) | MESSAGES.map(lambda message: json.dumps(message).encode()))
def test_any_body_is_an_object_or_an_error(body: bytes) -> None:
    parsed = parse_object(body)
    if isinstance(parsed, dict):
        dump(parsed)
    else:
        assert parsed.code == "invalid_json"


LARGE_TEXTS = {
    "ASCII": "a" * 400_000,
    "emoji": "🙂" * 100_000,
    "quotes and backslashes": '"\\' * 200_000,
    "control characters": "\x00\x1f\n" * 100_000,
    "DEL and umlauts": "\x7fäöü" * 100_000,
    "an emoji over the border of two chunks": "x" * 59_900 + "🙂" * 60_000,
}


@pytest.mark.parametrize("case", LARGE_TEXTS)
@pytest.mark.parametrize("request_id", ["r1", "\x01" * 1024, None, 2**53])
def test_a_large_message_goes_out_in_chunks_whose_data_joined_is_the_message(
    case: str, request_id: str | int | None
) -> None:
    message = {"id": request_id, "type": "result", "text": LARGE_TEXTS[case]}
    frames = list(encode_outbound(message))
    chunks = [json.loads(part[4:]) for part in frames]
    assert all(len(part) <= MAX_OUTBOUND_BYTES for part in frames)
    assert [chunk["index"] for chunk in chunks] == list(range(len(chunks)))
    assert [chunk["last"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert all((chunk["id"], chunk["type"]) == (request_id, "chunk") for chunk in chunks)
    assert "".join(chunk["data"] for chunk in chunks) == dump(message)
    assert json.loads("".join(chunk["data"] for chunk in chunks)) == message


def test_a_message_of_exactly_the_limit_goes_out_whole() -> None:
    spare = len(dump({"id": 1, "text": ""}).encode())
    fits = {"id": 1, "text": "a" * (MAX_OUTBOUND_BYTES - spare)}
    over = {"id": 1, "text": "a" * (MAX_OUTBOUND_BYTES - spare + 1)}
    assert list(encode_outbound(fits)) == [encode(fits)]
    assert len(list(encode_outbound(over))) > 1
