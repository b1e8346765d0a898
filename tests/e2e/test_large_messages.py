"""Messages near and over the browsers' limits."""

from __future__ import annotations

from support.browsers.echo import ECHO, load_echo, one_shot, saying
from support.browsers.lab import ChromiumLab
from support.browsers.page import Page

BROWSER_LIMIT = 1_048_576
OUR_LIMIT = 256 * 1024
REQUEST_BYTES = 32 * 1024 * 1024


def test_a_reply_over_the_browsers_limit_arrives_in_chunks(page: Page) -> None:
    load_echo(page)
    port = page.call("open")
    seen = page.call("echoBig", port, ECHO, BROWSER_LIMIT + 200_000)
    assert seen["status"] == "success", seen
    assert seen["equal"]
    assert seen["inOrder"]
    assert seen["chunks"] > 4
    assert seen["largest"] <= OUR_LIMIT


def test_the_client_joins_the_chunks(page: Page) -> None:
    load_echo(page)
    client = page.call("connect")
    seen = page.call("echoClientBig", client, ECHO, BROWSER_LIMIT + 200_000)
    assert seen == {"equal": True, "length": BROWSER_LIMIT + 200_000}


def test_a_request_of_32_mib_is_read_whole(chromium_page: Page) -> None:
    load_echo(chromium_page)
    port = chromium_page.call("open")
    reply = chromium_page.call("sendBig", port, ECHO, REQUEST_BYTES)
    assert (reply["text"], reply["finish_reason"]) == ("first words", "length")


def test_a_large_request_does_not_hold_up_another_port(chromium: ChromiumLab, chromium_page: Page) -> None:
    load_echo(chromium_page, tokens_per_second=200)
    other = chromium.open()
    client = other.call("connect")
    other.call("begin", client, saying("a short answer"))
    port = chromium_page.call("open")
    chromium_page.call("sendBig", port, ECHO, REQUEST_BYTES // 4)
    assert other.call("finished", client)["text"] == "a short answer"
    assert one_shot(other, "ping")["response"] == "pong"
    other.close()
