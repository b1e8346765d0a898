"""A picture's data URL is refused, or let pass, by its first bytes and its length."""

import base64

import pytest
from pydantic import ValidationError

from messages.content import ImagePart
from messages.data_urls import MAX_PICTURE_BYTES, PICTURE_FORMATS, as_picture_url, format_of, split_picture_url
from messages.errors import HostError
from messages.requests import parse
from messages.validation import describe

NO_DATA_URL = "data: must be a data URL (data:image/png;base64,...); no address is fetched and no file is read"
KINDS = "a picture is one of image/png, image/jpeg, image/webp, image/gif, image/bmp, image/avif"


def problem(url: str) -> str:
    with pytest.raises(ValidationError) as raised:
        ImagePart(type="image", data=url)
    (line,) = describe(raised.value)
    return line


@pytest.mark.parametrize("media_type", PICTURE_FORMATS)
def test_every_media_type_that_is_listed_is_let_pass(media_type: str) -> None:
    assert ImagePart(type="image", data=f"data:{media_type};base64,AAAA").data == f"data:{media_type};base64,AAAA"


@pytest.mark.parametrize("parameters", [";charset=utf-8;base64", ";name=a.png;base64", "; base64"])
def test_a_type_may_have_parameters_before_the_word_base64(parameters: str) -> None:
    sent = split_picture_url(f"data:image/png{parameters},QUJD")
    assert (sent.format, sent.base64) == ("PNG", "QUJD")


def test_types_and_the_word_base64_may_be_written_in_capitals() -> None:
    sent = split_picture_url("DATA:IMAGE/JPEG;BASE64,QUJD")
    assert (sent.format, sent.base64) == ("JPEG", "QUJD")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/cat.png",
        "http://127.0.0.1:8000/cat.png",
        "file:///etc/passwd",
        "/home/cat.png",
        "C:\\cat.png",
        "blob:https://example.org/9115d58c",
        "iVBORw0KGgo=",
        "data:image/png;base64",
        "",
    ],
)
def test_an_address_a_path_and_bare_base64_are_no_data_urls(url: str) -> None:
    assert problem(url) == NO_DATA_URL


@pytest.mark.parametrize("media_type", ["image/svg+xml", "image/tiff", "text/html", "application/pdf", "audio/wav"])
def test_another_type_is_named(media_type: str) -> None:
    assert problem(f"data:{media_type};base64,AAAA") == f"data: is of type {media_type}; {KINDS}"


def test_a_data_url_without_a_type_is_told_the_types_there_are() -> None:
    assert problem("data:;base64,AAAA") == f"data: names no type; {KINDS}"


@pytest.mark.parametrize("url", ["data:image/png,%89PNG", "data:image/png;charset=utf-8,x", "data:image/png;hex,00"])
def test_what_is_not_in_base64_is_refused(url: str) -> None:
    assert problem(url) == "data: must be in base64 (data:image/png;base64,...)"


def test_the_length_alone_tells_that_a_picture_is_too_large() -> None:
    for size in (MAX_PICTURE_BYTES - 1, MAX_PICTURE_BYTES):
        assert ImagePart(type="image", data=as_url(size))
    assert problem(as_url(MAX_PICTURE_BYTES + 1)) == "data: is larger than 20 MB; make the picture smaller"


def as_url(size: int) -> str:
    return "data:image/png;base64," + base64.b64encode(bytes(size)).decode()


def test_fifty_pictures_are_refused_before_one_is_read() -> None:
    picture = {"type": "image", "data": "data:image/png;base64,AAAA"}
    with pytest.raises(HostError) as raised:
        parse({"action": "generate", "messages": [{"role": "user", "content": [picture] * 25}] * 2})
    assert raised.value.details["fields"] == ["messages: has 50 pictures, and a request may have 16"]


def test_a_file_becomes_a_data_url_of_its_own_type_and_what_is_none_does_not() -> None:
    assert as_picture_url(b"GIF89a") == "data:image/gif;base64,R0lGODlh"
    assert format_of(b"RIFF....WEBPVP8 ") == "WEBP"
    assert format_of(b"RIFF....WAVEfmt ") is None
    assert as_picture_url(b"hello") is None
