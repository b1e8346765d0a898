"""What an extension may send by mistake: each answered with its code, on a port that goes on working."""

from __future__ import annotations

import pytest
from support.browsers.page import Page


def code_of_answer(page: Page, port: int) -> str:
    """The error code of the next frame on the port."""
    frame = page.call("next", port)
    assert frame.get("status") == "error", frame
    assert "Traceback" not in frame["message"]
    code: str = frame["error"]["code"]
    return code


def assert_alive(page: Page, port: int) -> None:
    """The port still answers."""
    assert page.call("exchange", port, {"id": "after", "action": "ping"})[-1]["response"] == "pong"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ([1, 2, 3], "invalid_json"),
        ("a string", "invalid_json"),
        (17, "invalid_json"),
        (None, "invalid_json"),
        ({}, "invalid_request"),
        ({"action": "make_coffee"}, "unknown_action"),
        ({"action": 5}, "invalid_request"),
        ({"action": "ping", "colour": "red"}, "invalid_request"),
        ({"action": "ping", "id": {"a": 1}}, "invalid_request"),
        ({"action": "load"}, "invalid_request"),
        ({"action": "load", "model": 5}, "invalid_request"),
        ({"action": "generate", "messages": []}, "invalid_request"),
        ({"action": "generate", "prompt": "x", "settings": {"temperature": 3}}, "invalid_request"),
        ({"action": "load", "model": "/no/such/file.gguf"}, "model_not_found"),
        ({"action": "attach", "job_id": "no such job"}, "job_not_found"),
    ],
    ids=str,
)
def test_a_wrong_message_gets_its_code_and_the_port_lives(page: Page, message: object, code: str) -> None:
    port = page.call("open")
    page.call("post", port, message)
    assert code_of_answer(page, port) == code
    assert_alive(page, port)


def test_the_names_of_unknown_fields_come_back(page: Page) -> None:
    port = page.call("open")
    frame = page.call("exchange", port, {"id": 1, "action": "ping", "colour": "red"})[-1]
    assert frame["id"] == 1
    assert any(field.startswith("colour") for field in frame["error"]["details"]["fields"])


def test_the_names_of_all_actions_come_back(page: Page) -> None:
    port = page.call("open")
    frame = page.call("exchange", port, {"id": 1, "action": "make_coffee"})[-1]
    assert {"ping", "load", "generate"} <= set(frame["error"]["details"]["known_actions"])


def test_undefined_gets_an_error_and_the_port_lives(page: Page) -> None:
    port = page.call("open")
    page.call("postUndefined", port)
    assert code_of_answer(page, port) == "invalid_json"
    assert_alive(page, port)


def test_half_an_emoji_is_answered(page: Page) -> None:
    port = page.call("open")
    frame = page.evaluate(
        f"window.harness.exchange({port}, {{id: 'half \\ud83d', action: 'ping'}}).then((frames) => frames[0])"
    )
    assert frame["type"] == "result"
    assert_alive(page, port)


def test_a_hundred_wrong_messages_in_a_row_get_a_hundred_answers(page: Page) -> None:
    port = page.call("open")
    for number in range(100):
        page.call("post", port, {"id": number, "action": "no"})
    ids = [page.call("next", port)["id"] for _ in range(100)]
    assert ids == list(range(100))
    assert_alive(page, port)
