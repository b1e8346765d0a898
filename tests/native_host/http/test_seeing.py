"""Pictures over HTTP: the shipped vision model describes a drawing, whichever way it came."""

import base64
from typing import Any

import pytest
from openai import OpenAI
from support.browsers.waiting import wait_until
from support.http_host import HttpHost

from tools.demo_vision.held_out import HeldOut, held_out

MODEL = "demo-vision"
REQUEST = "Describe this picture."


@pytest.fixture(scope="module")
def drawing() -> HeldOut:
    return held_out(0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_completion_describes_a_picture(openai: OpenAI, drawing: HeldOut, stream: bool) -> None:
    parts: list[Any] = [
        {"type": "image_url", "image_url": {"url": drawing.data_url}},
        {"type": "text", "text": REQUEST},
    ]
    asked: list[Any] = [{"role": "user", "content": parts}]
    if stream:
        chunks = list(openai.chat.completions.create(model=MODEL, messages=asked, temperature=0, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    else:
        text = str(
            openai.chat.completions.create(model=MODEL, messages=asked, temperature=0).choices[0].message.content
        )
    assert text == drawing.scene.sentence


def test_a_response_describes_a_picture(openai: OpenAI, drawing: HeldOut) -> None:
    parts: list[Any] = [
        {"type": "input_image", "image_url": drawing.data_url},
        {"type": "input_text", "text": REQUEST},
    ]
    answer = openai.responses.create(model=MODEL, input=[{"role": "user", "content": parts}], temperature=0)
    assert answer.output_text == drawing.scene.sentence


def test_a_form_with_a_picture_makes_a_job_that_describes_it(host: HttpHost, drawing: HeldOut) -> None:
    picture = base64.b64decode(drawing.data_url.partition(",")[2])
    form: dict[str, Any] = {
        "prompt": (None, REQUEST),
        "model": (None, MODEL),
        "settings": (None, '{"temperature": 0}'),
        "image": ("drawing.png", picture, "image/png"),
    }
    with host.client(host.token) as client:
        path = f"/api/v1/jobs/{client.post('/api/v1/jobs', files=form).json()['job_id']}"
        wait_until("the description", lambda: client.get(path).json()["state"] == "finished")
        assert client.get(path).json()["text"] == drawing.scene.sentence
