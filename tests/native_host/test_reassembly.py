"""Chunks joined back into the message they were cut from."""

from collections.abc import Mapping

import pytest

from messages.frames import FrameDecoder, encode_outbound, parse_object
from native_host.reassembly import Reassembler


def chunks_of(message: Mapping[str, object]) -> list[dict[str, object]]:
    decoder = FrameDecoder()
    for piece in encode_outbound(message, max_bytes=1000):
        decoder.feed(piece)
    parsed = [parse_object(body) for body in decoder.frames() if isinstance(body, bytes)]
    return [message for message in parsed if isinstance(message, dict)]


def test_a_message_cut_into_chunks_comes_out_whole() -> None:
    message: dict[str, object] = {"id": "a", "type": "result", "text": "ä😀\n" * 100_000}
    chunks = chunks_of(message)
    reassembler = Reassembler()
    assert len(chunks) > 3
    assert [reassembler.add(chunk) for chunk in chunks] == [None] * (len(chunks) - 1) + [message]


def test_chunks_of_two_messages_may_mix_with_each_other_and_with_whole_ones() -> None:
    first, second = ({"id": name, "type": "result", "text": name * 200_000} for name in ("a", "b"))
    reassembler = Reassembler()
    plain: dict[str, object] = {"id": "c", "type": "partial"}
    mixed = [chunk for pair in zip(chunks_of(first), chunks_of(second), strict=True) for chunk in (*pair, plain)]
    whole = [message for chunk in mixed if (message := reassembler.add(chunk)) not in (None, plain)]
    assert whole == [first, second]


def test_chunks_that_join_to_no_object_are_refused() -> None:
    with pytest.raises(ValueError):
        Reassembler().add({"id": None, "type": "chunk", "index": 0, "last": True, "data": "[1]"})
