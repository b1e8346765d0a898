"""The vision model that ships with the host, as a page meets it: held-out drawings through the relay, streamed."""

from collections.abc import Iterator

import pytest
from support.host_process import BrowserHost, Json, Port

from tools.demo_vision.held_out import HeldOut, held_out_pictures

DRAWINGS = 12
RIGHT = 11
ASK = {"type": "text", "text": "Describe this picture."}


@pytest.fixture(scope="module")
def drawings() -> list[HeldOut]:
    return list(held_out_pictures(DRAWINGS))


@pytest.fixture(scope="module")
def port() -> Iterator[Port]:
    """A port to a host that has demo-vision loaded, in llama.cpp."""
    with BrowserHost() as host, host.port() as opened:
        loaded = opened.call("load", model="demo-vision", backend="llamacpp")
        assert loaded["model"]["capabilities"]["image"] is True
        yield opened


def shown(drawing: HeldOut) -> Json:
    return {"role": "user", "content": [{"type": "image", "data": drawing.data_url}, ASK]}


def generate(port: Port, messages: list[Json]) -> Json:
    return port.call("generate", model="demo-vision", messages=messages, settings={"temperature": 0})


def test_drawings_are_described_right(port: Port, drawings: list[HeldOut]) -> None:
    answers = [generate(port, [shown(drawing)]) for drawing in drawings]
    right = [answer["text"] == drawing.scene.sentence for answer, drawing in zip(answers, drawings, strict=True)]
    assert sum(right) >= RIGHT


def test_a_description_streams_word_by_word_and_is_the_same(port: Port, drawings: list[HeldOut]) -> None:
    request = port.ask(
        "generate", model="demo-vision", messages=[shown(drawings[0])], settings={"temperature": 0}, stream=True
    )
    result = port.result(request)
    partials = port.of(request, "partial")
    assert "".join(partial["text"] for partial in partials) == result["text"]
    assert result["text"] == generate(port, [shown(drawings[0])])["text"]


def test_a_talk_about_a_drawing_reads_the_drawing_once(port: Port, drawings: list[HeldOut]) -> None:
    messages = [shown(drawings[1])]
    first = generate(port, messages)
    messages += [{"role": "assistant", "content": first["text"]}, {"role": "user", "content": "Once more, please."}]
    second = generate(port, messages)
    assert second["status"] == "success"
    assert second["stats"]["cached_tokens"] >= first["stats"]["input_tokens"]
    assert second["stats"]["pictures"] == first["stats"]["pictures"]
