"""Pictures that are none, or too much, through the real host: one clear error each, and the host goes on."""

from collections.abc import Iterator

import pytest
from PIL import Image
from support.host_process import BrowserHost, Json, Port
from support.picture_files import bomb, data_url, encoded, photo, png_url, two_halves

SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
PNG = encoded(two_halves(400, 300), "PNG")
KINDS = "a picture is one of image/png, image/jpeg, image/webp, image/gif, image/bmp, image/avif"
NO_DATA_URL = "must be a data URL (data:image/png;base64,...); no address is fetched and no file is read"
NOTHING_KNOWN = "says that it is PNG, and its content is no picture of a known format"

BAD = {
    "text that is called a picture": (data_url(b"hello", "png"), NOTHING_KNOWN),
    "nothing at all": (data_url(b"", "png"), NOTHING_KNOWN),
    "an SVG that says so": (data_url(SVG, "svg+xml"), f"is of type image/svg+xml; {KINDS}"),
    "an SVG that says it is a PNG": (data_url(SVG, "png"), NOTHING_KNOWN),
    "a PDF": ("data:application/pdf;base64,JVBERi0=", f"is of type application/pdf; {KINDS}"),
    "a PNG that says it is a JPEG": (data_url(PNG, "jpeg"), "says that it is JPEG, and its content is PNG"),
    "a truncated PNG": (data_url(PNG[:500], "png"), "is a broken or truncated PNG picture: image file is truncated"),
    "100,000 x 100,000 pixels in 2 KB": (
        data_url(bomb(100_000, 100_000), "png"),
        "has far too many pixels, and 50 million are the most; make the picture smaller",
    ),
    "8,000 x 8,000 pixels": (
        data_url(bomb(8_000, 8_000), "png"),
        "has 8000 x 8000 pixels, and 50 million are the most; make the picture smaller",
    ),
    "a line": (png_url(Image.new("RGB", (4000, 4))), "is 4000 x 4 pixels: one side is over 200 times the other"),
    "a remote URL": ("https://example.org/cat.png", NO_DATA_URL),
    "a URL on this computer": ("http://127.0.0.1:8000/cat.png", NO_DATA_URL),
    "a file path": ("/home/cat.png", NO_DATA_URL),
    "a file URL": ("file:///etc/passwd", NO_DATA_URL),
    "a data URL without base64": ("data:image/png,%89PNG", "must be in base64 (data:image/png;base64,...)"),
    "more than 20 MB": (
        "data:image/png;base64," + "AAAA" * 6_700_000,
        "is larger than 20 MB; make the picture smaller",
    ),
}


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost() as made:
        yield made


@pytest.fixture
def port(host: BrowserHost) -> Iterator[Port]:
    with host.port() as opened:
        loaded = opened.call("load", model="seeing", backend="echo", options={"pictures": True})
        assert loaded["model"]["capabilities"]["image"] is True
        yield opened


def ask(port: Port, *urls: str, model: str = "seeing", in_openais_words: bool = False) -> Json:
    """The result of a question whose parts are pictures and then a text."""
    parts: list[Json] = [
        {"type": "image_url", "image_url": {"url": url}} if in_openais_words else {"type": "image", "data": url}
        for url in urls
    ]
    messages = [{"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}]
    return port.call("generate", model=model, messages=messages)


def test_a_good_picture_is_taken_and_its_sizes_are_told(port: Port) -> None:
    answer = ask(port, png_url(two_halves(640, 480)), data_url(photo(1200, 900), "jpeg"))
    assert (answer["status"], answer["text"]) == ("success", "What is it?")
    assert answer["stats"]["pictures"] == [
        {"width": 640, "height": 480, "scaled_width": 644, "scaled_height": 476},
        {"width": 1200, "height": 900, "scaled_width": 1148, "scaled_height": 840},
    ]
    assert port.call("get_stats", model="seeing")["pictures"] == answer["stats"]["pictures"]


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("in_openais_words", [False, True])
def test_a_bad_picture_is_one_error_that_names_its_place(port: Port, case: str, in_openais_words: bool) -> None:
    url, problem = BAD[case]
    worker = port.call("get_state")["models"][0]["pid"]
    answer = ask(port, png_url(two_halves()), url, in_openais_words=in_openais_words)
    field = "messages[0].content[1]." + ("image_url.url" if in_openais_words else "data")
    assert answer["error"]["code"] == "invalid_request"
    assert answer["error"]["details"]["fields"] == [f"{field}: {problem}"]
    assert answer["message"] == f"The request is not valid: {field}: {problem}."
    assert ask(port)["text"] == "What is it?"
    assert port.call("get_state")["models"][0]["pid"] == worker


@pytest.mark.parametrize("text", ["AAA", "AA=A", "A A=", "*AAA", "AAAA===="])
def test_bad_base64_is_named(port: Port, text: str) -> None:
    answer = ask(port, f"data:image/png;base64,{text}")
    assert answer["error"]["code"] == "invalid_request"
    assert answer["error"]["details"]["fields"][0].startswith("messages[0].content[0].data: is not valid base64")


def test_fifty_pictures_are_refused(port: Port) -> None:
    answer = ask(port, *[png_url(two_halves())] * 50)
    assert answer["error"]["code"] == "invalid_request"
    assert answer["error"]["details"]["fields"] == ["messages: has 50 pictures, and a request may have 16"]


def test_a_model_for_text_takes_no_picture_and_does_not_look_at_it(port: Port) -> None:
    port.call("load", model="blind", backend="echo")
    for url in (png_url(two_halves()), data_url(b"hello", "png")):
        answer = ask(port, url, model="blind")
        assert answer["error"]["code"] == "unsupported_option"
        assert answer["error"]["details"]["fields"] == ["messages"]
        assert "cannot do pictures" in answer["message"]


def test_text_alone_is_answered_by_a_model_that_takes_pictures(port: Port) -> None:
    answer = ask(port)
    assert (answer["status"], answer["stats"]["pictures"]) == ("success", [])


def test_pictures_that_were_never_read_are_not_known(port: Port) -> None:
    port.call("load", model="slow", backend="echo", options={"pictures": True, "prefill_ms": 60_000})
    asked = port.ask("generate", model="slow", prompt="in the way")
    parts = [{"type": "image", "data": png_url(two_halves())}, {"type": "text", "text": "What is it?"}]
    waits = port.ask("generate", model="slow", messages=[{"role": "user", "content": parts}])
    port.call("stop_generation", model="slow")
    first, second = port.result(asked)["stats"], port.result(waits)["stats"]
    assert (first["finish_reason"], first["pictures"]) == ("cancelled", [])
    assert (second["finish_reason"], second["pictures"]) == ("cancelled", None)
    assert (second["input_tokens"], second["reasoning_tokens"]) == (None, None)
