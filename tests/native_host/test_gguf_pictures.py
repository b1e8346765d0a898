"""Pictures and sounds for a GGUF model, through a host as a browser starts it: answers, stops, and every bad input."""

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.host_process import BrowserHost, Json, Port
from support.looking import picture, sound
from support.picture_files import bomb, data_url
from support.tiny_gguf import write_tiny

from tools.make_gguf import write_model
from tools.make_mmproj import MODEL_SHAPE, ProjectorShape, write_projector, write_vision_model


def picture_bytes() -> bytes:
    return b64decode(picture(1).partition(",")[2])


TEXT = {"type": "text", "text": "What is this?"}


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost() as made:
        yield made


@pytest.fixture(scope="module")
def port(host: BrowserHost) -> Iterator[Port]:
    with host.port() as opened:
        yield opened
        opened.call("unload", all=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(port: Port, folder: Path) -> str:
    """A loaded model that sees and hears."""
    path = str(write_vision_model(folder / "vl", audio=True))
    state = port.call("load", model=path)["model"]
    assert (state["capabilities"]["image"], state["capabilities"]["audio"]) == (True, True)
    return path


def image(url: str) -> Json:
    return {"type": "image", "data": url}


def ask(port: Port, model: str, *parts: Json) -> Json:
    settings = {"temperature": 0, "max_tokens": 24}
    messages = [{"role": "user", "content": [*parts, TEXT]}]
    return port.call("generate", model=model, messages=messages, settings=settings)


def test_pictures_are_answered_and_told_in_the_figures(port: Port, model: str) -> None:
    first = ask(port, model, image(picture(1)), image(picture(2, 90, 60)))
    assert first["status"] == "success", first
    assert [one["scaled_width"] for one in first["stats"]["pictures"]] == [196, 112]
    spelled = {"type": "image_url", "image_url": {"url": picture(1)}}
    again = ask(port, model, spelled, image(picture(2, 90, 60)))
    assert again["text"] == first["text"]
    assert again["stats"]["cached_tokens"] == again["stats"]["input_tokens"] - 1


def test_text_alone_is_answered_too(port: Port, model: str) -> None:
    assert ask(port, model)["status"] == "success"


def test_sounds_are_answered(port: Port, model: str) -> None:
    assert ask(port, model, {"type": "audio", "data": sound()})["status"] == "success"


def test_tokens_are_counted_with_pictures(port: Port, model: str) -> None:
    messages = [{"role": "user", "content": [image(picture(1)), TEXT]}]
    counted = port.call("count_tokens", model=model, messages=messages)
    assert counted["tokens"] == ask(port, model, image(picture(1)))["stats"]["input_tokens"]


def test_what_a_model_cannot_do_is_said_alike_while_it_loads_and_after(port: Port, folder: Path) -> None:
    path = str(write_tiny(folder / "blind.gguf"))
    parts = [{"role": "user", "content": [image(picture(1)), TEXT]}]
    asked = [("generate", {"stream": False}), ("count_tokens", {})]
    loading = port.ask("load", model=path)
    early = [port.ask(action, model=path, messages=parts, **fields) for action, fields in asked]
    assert port.result(loading)["status"] == "success"
    for request, (action, fields) in zip(early, asked, strict=True):
        late = port.call(action, model=path, messages=parts, **fields)
        assert late["error"] == {"code": "unsupported_option", "details": {"fields": ["messages"]}}
        assert (port.result(request)["error"], port.result(request)["message"]) == (late["error"], late["message"])
    port.call("unload", model=path)


BAD = {
    "no picture": data_url(b"this is no picture at all", "png"),
    "truncated": data_url(picture_bytes()[:300], "png"),
    "a bomb": data_url(bomb(100_000, 100_000), "png"),
    "a remote URL": "https://example.com/cat.png",
    "a file path": "/etc/passwd",
    "an SVG": data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg+xml"),
    "another type": picture(1).replace("image/png", "image/jpeg"),
    "bad base64": "data:image/png;base64,????",
}


@pytest.mark.parametrize("url", BAD.values(), ids=BAD.keys())
def test_a_bad_picture_is_one_clear_error_and_the_model_goes_on(port: Port, model: str, url: str) -> None:
    error = ask(port, model, image(url))["error"]
    assert error["code"] == "invalid_request"
    assert "messages" in str(error["details"]["fields"])
    assert ask(port, model)["status"] == "success"


def test_fifty_pictures_are_too_many(port: Port, model: str) -> None:
    error = ask(port, model, *[image(picture(1, 56, 56))] * 50)["error"]
    assert error["code"] == "invalid_request"


def test_pictures_beyond_the_context_are_counted_before_they_are_read(port: Port, model: str) -> None:
    error = ask(port, model, *[image(picture(seed, 700, 700)) for seed in range(6)])["error"]
    assert error["code"] == "context_overflow"
    assert error["details"]["prompt_tokens"] > 2048


def test_a_bad_sound_is_one_clear_error(port: Port, model: str) -> None:
    cut = sound().partition(",")[2][:40]
    for data in (f"data:audio/wav;base64,{cut}", "data:audio/wav;base64,????", sound().replace(",", ",AAAA")):
        assert ask(port, model, {"type": "audio", "data": data})["error"]["code"] == "invalid_request"


def test_a_picture_for_a_text_model_is_unsupported(port: Port, folder: Path) -> None:
    text_model = str(write_tiny(folder / "text" / "tiny.gguf"))
    port.call("load", model=text_model)
    assert ask(port, text_model, image(picture(1)))["error"]["code"] == "unsupported_option"
    port.call("unload", model=text_model)


def test_a_projector_of_another_model_is_refused_at_the_load(port: Port, folder: Path) -> None:
    write_model(folder / "alone" / "model.gguf", MODEL_SHAPE)
    write_projector(folder / "other" / "mmproj.gguf", ProjectorShape(text_width=128))
    wanted = {"projector_path": str(folder / "other" / "mmproj.gguf")}
    error = port.call("load", model=str(folder / "alone" / "model.gguf"), options=wanted)["error"]
    assert error["code"] == "model_invalid"


def test_a_stop_is_heard_while_a_picture_is_read(port: Port, folder: Path) -> None:
    slow = folder / "slow" / "slow.gguf"
    write_model(slow, replace(MODEL_SHAPE, context=4096))
    write_projector(slow.with_name("mmproj.gguf"), ProjectorShape(width=256, layers=16, heads=4, feed_forward=1024))
    port.call("load", model=str(slow), options={"threads": 1})
    messages = [{"role": "user", "content": [image(picture(1, 900, 900)), TEXT]}]
    request = port.ask("generate", model=str(slow), messages=messages, thinking_update_interval=0.1)
    job = port.accepted(request)
    port.wait(lambda message: message.get("job_id") == job and "of" in str(message.get("thinking")))
    assert port.call("stop_generation", job_id=job)["stopped_jobs"] == [job]
    result = port.result(request)
    assert result["finish_reason"] == "cancelled"
    assert result["stats"]["output_tokens"] == 0
    assert ask(port, str(slow), image(picture(1)))["status"] == "success"
    port.call("unload", model=str(slow))
