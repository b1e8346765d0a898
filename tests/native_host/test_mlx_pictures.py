"""The vision model that ships with the host, as an MLX folder, through the real relay: drawings are described."""

from collections.abc import Iterator

import pytest
from support.host_process import BrowserHost, Json, Port

from tools.demo_vision.engines import MLX_FOLDER
from tools.demo_vision.held_out import HeldOut, held_out_pictures

SAMPLE = 10
LEAST_RIGHT = 8


@pytest.fixture(scope="module")
def port() -> Iterator[Port]:
    with BrowserHost() as host, host.port() as opened:
        opened.call("load", model=str(MLX_FOLDER))
        yield opened


def seen(item: HeldOut, text: str) -> Json:
    return {"role": "user", "content": [{"type": "image", "data": item.data_url}, {"type": "text", "text": text}]}


def ask(port: Port, *messages: Json) -> Json:
    return port.call("generate", messages=list(messages), settings={"temperature": 0})


def drawings() -> list[HeldOut]:
    return list(held_out_pictures(SAMPLE))


def test_drawings_are_described_as_they_are(port: Port) -> None:
    right = [ask(port, seen(item, "Describe this picture."))["text"] == item.scene.sentence for item in drawings()]
    assert sum(right) >= LEAST_RIGHT


def test_a_second_question_about_a_drawing_reads_only_what_is_new(port: Port) -> None:
    item = drawings()[0]
    first = ask(port, seen(item, "Describe this picture."))
    again = {"role": "user", "content": "And again?"}
    second = ask(port, seen(item, "Describe this picture."), {"role": "assistant", "content": first["text"]}, again)
    assert second["stats"]["cached_tokens"] > first["stats"]["input_tokens"]
    assert second["stats"]["pictures"] == first["stats"]["pictures"]
