"""The hello: read from anything, judged by secret, origin and version."""

from typing import Any

import pytest

from native_host import runtime
from native_host.hello import Hello, HelloAnswer, judge, version_key

SECRET = "s3cret"


def hello(**changes: Any) -> Hello:
    return Hello.read(
        {"type": "hello", "origin": "cli", "pid": 7, "version": runtime.VERSION, "secret": SECRET, **changes}
    )


def test_a_hello_is_read() -> None:
    assert hello() == Hello(origin="cli", pid=7, version=runtime.VERSION, secret=SECRET)


@pytest.mark.parametrize("message", [{}, {"origin": 5, "pid": "x", "version": None, "secret": []}])
def test_what_is_no_hello_is_read_as_empty_and_refused(message: dict[str, Any]) -> None:
    assert Hello.read(message) == Hello("", 0, "", "")
    assert judge(Hello.read(message), SECRET).status == "refused"


@pytest.mark.parametrize(
    ("offered", "read"),
    [([0, 3], (0, 3)), (None, None), ([0], None), ([0, 3, 4], None), ([0, "3"], None), ("03", None), ({}, None)],
)
def test_pipes_that_are_offered_are_two_numbers_or_none(offered: object, read: tuple[int, int] | None) -> None:
    assert hello(pipes=offered).pipes == read


@pytest.mark.parametrize(("said", "read"), [(7, 7), (0, 0), (None, 0), (-1, 0), (True, 0), ("7", 0), (7.0, 0)])
def test_what_was_read_ahead_is_a_number_of_bytes_or_nothing(said: object, read: int) -> None:
    assert hello(ahead=said).ahead == read
    assert hello().ahead == 0


def test_the_right_secret_from_an_extension_of_the_same_version_is_ok() -> None:
    assert judge(hello(), SECRET) == HelloAnswer("ok")


@pytest.mark.parametrize("changes", [{"secret": ""}, {"secret": "s3creT"}, {"secret": "ü"}, {"origin": "https://x"}])
def test_a_wrong_secret_or_origin_is_refused_with_a_reason(changes: dict[str, Any]) -> None:
    answer = judge(hello(**changes), SECRET)
    assert answer.status == "refused"
    assert answer.message.endswith(".")
    assert SECRET not in answer.message


def test_an_empty_secret_never_opens_a_daemon_that_has_none() -> None:
    assert judge(hello(secret=""), "").status == "refused"


@pytest.mark.parametrize(
    ("version", "status"),
    [("0.0.9", "ok"), ("", "ok"), ("0.1", "ok"), ("0.1.0", "ok"), ("0.1.1", "draining"), ("0.10.0", "draining")],
)
def test_a_newer_relay_asks_the_daemon_to_make_room(version: str, status: str) -> None:
    assert judge(hello(version=version), SECRET).status == status


def test_versions_compare_by_their_numbers() -> None:
    assert version_key("0.10.0") > version_key("0.9.9")
    assert version_key("1.0") > version_key("0.99.99")
    assert version_key("1.0.0rc1") == (1, 0, 0)
    assert version_key("²") == (0,)


def test_an_answer_is_written_with_its_status() -> None:
    assert HelloAnswer("refused", "No.").to_wire()["status"] == "refused"
