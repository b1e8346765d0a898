"""POST /api/v1/jobs with a form: a prompt, a picture, settings."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.browsers.waiting import wait_until
from support.http_host import HttpHost
from support.picture_files import encoded, two_halves

Form = dict[str, tuple[str | None, str | bytes] | tuple[str, bytes, str]]
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000" + "1f15c4890000000a49444154789c6360000002000100"
)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with HttpHost("--no-token") as host, host.client() as made:
        made.post("/api/v1/load", json={"model": "echo", "options": {"tokens_per_second": 100_000}}).raise_for_status()
        yield made


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], str(error["details"].get("fields", [""])[0])


def test_a_form_with_a_prompt_and_settings_begins_a_job(client: httpx.Client) -> None:
    form = {"prompt": (None, "a b c d"), "settings": (None, '{"max_tokens": 3}'), "model": (None, "echo")}
    form["chat_template_kwargs"] = (None, '{"enable_thinking": false}')
    begun = client.post("/api/v1/jobs", files=form)
    assert begun.status_code == 202, begun.text
    path = f"/api/v1/jobs/{begun.json()['job_id']}"
    wait_until("the end", lambda: client.get(path).json()["state"] == "finished")
    assert client.get(path).json()["text"].split() == ["a", "b", "c"]


def test_a_picture_reaches_the_model_which_refuses_it_if_it_sees_none(client: httpx.Client) -> None:
    form: Form = {"prompt": (None, "What is this?"), "image": ("cat.png", PNG, "image/png")}
    assert refusal(client.post("/api/v1/jobs", files=form)) == (400, "unsupported_option", "messages")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF"])
def test_a_picture_of_any_format_is_taken_whatever_its_file_is_called(client: httpx.Client, kind: str) -> None:
    load = {"model": "seeing", "backend": "echo", "options": {"pictures": True}}
    assert client.post("/api/v1/load", json=load).status_code == 200
    picture = ("picture", encoded(two_halves(), kind), "application/octet-stream")
    form: Form = {"prompt": (None, "What is this?"), "image": picture, "model": (None, "seeing")}
    path = f"/api/v1/jobs/{client.post('/api/v1/jobs', files=form).json()['job_id']}"
    wait_until("the end", lambda: client.get(path).json()["state"] == "finished")
    assert client.get(path).json()["stats"]["pictures"] == [
        {"width": 80, "height": 40, "scaled_width": 84, "scaled_height": 56}
    ]


def test_a_file_that_is_no_picture_is_refused_whatever_it_calls_itself(client: httpx.Client) -> None:
    form: Form = {"prompt": (None, "?"), "image": ("cat.png", b"MZ...", "image/png")}
    status, code, field = refusal(client.post("/api/v1/jobs", files=form))
    assert (status, code) == (400, "invalid_request")
    assert field.startswith("image: is no PNG")


@pytest.mark.parametrize(
    "form",
    [
        {"prompt": (None, "a"), "colour": (None, "red")},
        {"prompt": (None, "a"), "image": (None, "not a file")},
        {"prompt": (None, "a"), "settings": (None, "[]")},
        {"prompt": (None, "a"), "settings": (None, "no JSON")},
        {"prompt": (None, "a"), "thinking_update_interval": (None, "-1")},
        {"prompt": (None, "a"), "thinking_update_interval": (None, "soon")},
        {"prompt": (None, "a"), "chat_template_kwargs": (None, '{"messages": []}')},
    ],
)
def test_a_wrong_field_of_a_form_is_named(client: httpx.Client, form: Form) -> None:
    status, code, field = refusal(client.post("/api/v1/jobs", files=form))
    assert (status, code) == (400, "invalid_request")
    wrong = {"colour", "image", "settings", "thinking_update_interval", "chat_template_kwargs"}
    assert field.partition(":")[0] in wrong & form.keys()


def test_a_field_that_is_given_twice_is_refused(client: httpx.Client) -> None:
    answer = client.post("/api/v1/jobs", files=[("prompt", (None, "a")), ("prompt", (None, "b"))])
    assert refusal(answer) == (400, "invalid_request", "prompt: is given twice; give it once")


@pytest.mark.parametrize("name", ["prompt", "system", "settings"])
def test_text_of_a_form_that_is_not_utf_8_is_refused_by_name(client: httpx.Client, name: str) -> None:
    form: Form = {"prompt": (None, "a"), name: (None, b"caf\xe9 \xff")}
    assert refusal(client.post("/api/v1/jobs", files=form)) == (400, "invalid_request", f"{name}: is no utf-8 text")


def test_text_of_a_form_may_be_in_the_charset_that_it_names(client: httpx.Client) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\ncaf\xe9\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x; charset=iso-8859-1"}
    begun = client.post("/api/v1/jobs", content=body, headers=headers)
    path = f"/api/v1/jobs/{begun.json()['job_id']}"
    wait_until("the end", lambda: client.get(path).json()["state"] == "finished")
    assert client.get(path).json()["text"] == "café"


@pytest.mark.parametrize("charset", ["utf-99", "undefined", "hex"])
def test_a_form_in_a_charset_that_is_not_known_is_refused(client: httpx.Client, charset: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\ncaf\xc3\xa9\r\n--x--\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    answer = client.post("/api/v1/jobs", content=body, headers=headers)
    assert answer.status_code == 400
    assert f"Its charset, {charset}, is not known; send UTF-8." in answer.json()["message"]


def test_a_name_in_a_form_that_is_not_in_its_charset_is_refused(client: httpx.Client) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="xn--a-"\r\n\r\na\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x; charset=idna"}
    answer = client.post("/api/v1/jobs", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


def test_a_form_that_breaks_off_is_refused(client: httpx.Client) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (b"--x\r\nContent-Disposition: form-data", b"nothing", b""):
        answer = client.post("/api/v1/jobs", content=body, headers=headers)
        assert answer.status_code == 400, body


def test_a_long_prompt_is_taken_in_a_form_as_it_is_in_json(client: httpx.Client) -> None:
    words = "word " * 300_000
    long = {"prompt": (None, words), "model": (None, "long"), "settings": (None, '{"max_tokens": 1}')}
    load = {"model": "long", "backend": "echo", "options": {"context_length": 1_000_000}}
    assert client.post("/api/v1/load", json=load).status_code == 200
    assert client.post("/api/v1/jobs", files=long).status_code == 202


def test_more_pictures_than_a_request_may_have_are_counted(client: httpx.Client) -> None:
    form: list[tuple[str, Any]] = [("prompt", (None, "?")), *[("image", ("cat.png", PNG, "image/png"))] * 20]
    expected = (400, "invalid_request", "image: 20 pictures are sent, and a request may have 16")
    assert refusal(client.post("/api/v1/jobs", files=form)) == expected


def test_a_job_has_no_stream_that_is_no_truth_value(client: httpx.Client) -> None:
    status, code, field = refusal(client.post("/api/v1/jobs", json={"prompt": "x", "stream": 3}))
    assert (status, code, field.partition(":")[0]) == (400, "invalid_request", "stream")
    assert client.post("/api/v1/jobs", json={"prompt": "x", "stream": True}).status_code == 202
