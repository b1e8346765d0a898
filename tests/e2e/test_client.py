"""client.js: errors that a program can tell apart, and what is left when it is closed."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.browsers.chromium import ChromiumPage
from support.browsers.echo import Json, load_echo, saying, words
from support.browsers.lab import ChromiumLab, Lab
from support.browsers.page import Page
from support.browsers.registration import CHROMIUM_ID
from support.browsers.waiting import wait_until
from support.tiny_embedder import make_embedder


def test_send_gives_a_result_or_throws_the_hosts_error(page: Page) -> None:
    assert page.call("send", "ping", {})["result"]["response"] == "pong"
    error = page.call("send", "load", {"model": "/no/such/file.gguf"})["error"]
    assert error["code"] == "model_not_found"
    assert "/no/such/file.gguf" in error["message"]


def test_send_says_so_when_the_reply_is_too_large_for_one_message(page: Page) -> None:
    load_echo(page)
    fields = saying("x" * 300_000, stream=False)
    assert page.call("send", "generate", fields)["error"]["code"] == "reply_too_large"


def test_embed_gives_a_vector_for_each_text_however_large_the_reply(page: Page, tmp_path: Path) -> None:
    client = page.call("connect")
    model = str(make_embedder(tmp_path))
    assert "result" in page.call("request", client, "load", {"model": model})
    single = page.call("embed", client, {"input": "the sun"})["result"]
    many = page.call("embed", client, {"input": ["the sun", "a cat"] * 600})["result"]
    assert [len(vector) for vector in many["embeddings"]] == [32] * 1200
    assert single["embeddings"][0] == pytest.approx(many["embeddings"][1198], abs=1e-6)
    assert page.call("embed", client, {"input": []})["error"]["code"] == "invalid_request"


def test_an_error_over_a_port_has_the_hosts_code_and_details(page: Page) -> None:
    client = page.call("connect")
    error = page.call("request", client, "generate", {"prompt": "x", "settings": {"temperature": 9}})["error"]
    assert error["code"] == "invalid_request"
    assert error["details"]["fields"][0].startswith("settings.temperature")


def test_closing_ends_the_request_and_the_relay_but_not_the_generation(page: Page, lab: Lab) -> None:
    load_echo(page, tokens_per_second=100)
    client = page.call("connect")
    text = words(150)
    page.call("begin", client, saying(text))
    page.wait_for(f"window.harness.progress({client}).partials >= 2")
    job = page.call("progress", client)["job"]
    page.call("close", client)
    assert page.call("finished", client)["error"]["code"] == "closed"
    lab.wait_for_no_relay()
    attached = page.call("request", page.call("connect"), "attach", {"job_id": job})
    assert attached["result"]["text"] == text


def test_a_closed_client_opens_again_with_the_next_request(page: Page) -> None:
    client = page.call("connect")
    first = page.call("request", client, "ping")["result"]["pid"]
    page.call("close", client)
    assert page.call("request", client, "ping")["result"]["pid"] == first


def test_a_signal_stops_a_generation_that_does_not_stream(page: Page) -> None:
    load_echo(page, tokens_per_second=100)
    client = page.call("connect")
    text = words(4000)
    page.call("begin", client, saying(text, stream=False))
    wait_until("the generation", lambda: page.call("request", client, "get_stats", {})["result"]["output_tokens"])
    page.call("abort", client)
    end = page.call("finished", client)
    assert end["result"]["finish_reason"] == "cancelled"
    assert 0 < len(end["result"]["text"]) < len(text) // 2
    assert (end["text"], end["thinking"]) == ("", [])


@pytest.mark.parametrize("background", [False, True])
def test_a_generation_that_does_not_stream_tells_of_its_job_where_it_is_asked_for(page: Page, background: bool) -> None:
    load_echo(page)
    client = page.call("connect")
    page.call("begin", client, saying("hello", stream=False, background=background))
    end = page.call("finished", client)
    assert end["result"]["text"] == "hello"
    assert (end["text"], end["thinking"]) == ("", [])
    assert (page.call("progress", client)["job"] is not None) is background


def test_handlers_may_be_null(page: Page) -> None:
    load_echo(page)
    for fields in ({"stream": False}, {}):
        assert page.call("generateWithoutHandlers", saying("hello", **fields))["result"]["text"] == "hello"


def test_what_handlers_throw_is_reported_and_holds_nothing_up(page: Page) -> None:
    load_echo(page)
    end = page.call("thrownByHandlers", saying("hello"))
    assert end["result"]["text"] == "hello"
    assert end["heard"] == ["status", "accepted", "partial"]


def test_nothing_of_a_request_stays_with_its_signal(page: Page) -> None:
    load_echo(page)
    assert page.call("listenersLeft", page.call("connect"), saying("hello"), 5) == 0


def test_a_message_that_is_no_json_is_refused_either_way(page: Page) -> None:
    assert [one["error"]["code"] for one in page.call("askWithLoop")] == ["message_refused"] * 2


def test_without_the_permission_the_error_names_it(page: Page) -> None:
    for one in page.call("askWithoutPermission"):
        assert one["error"]["code"] == "host_unreachable"
        assert '"nativeMessaging"' in one["error"]["message"]
        assert (
            "load again what was open before it was granted" in one["error"]["message"]
        )  # Chromium's gets none till then


def asked_host(page: Page, name: str) -> Json:
    """The error that asking this host comes to, over a port and in one message alike."""
    port, message = page.call("askHost", name)
    assert port == message
    error: Json = port["error"]
    return error


def test_a_host_that_is_not_installed_comes_with_the_command_that_installs_it(page: Page, lab: Lab) -> None:
    error = asked_host(page, "com.example.missing")
    assert error["code"] == "host_not_found"
    assert error["message"].startswith("The native host is not installed for this browser")
    assert error["details"] == {"install": f"python3 install.py --extension-id {lab.extension_id}"}
    assert error["message"].endswith(error["details"]["install"])


def test_on_windows_the_command_is_one_that_its_shell_takes(chromium_page: Page) -> None:
    assert isinstance(chromium_page, ChromiumPage)
    windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
    chromium_page.command("Emulation.setUserAgentOverride", {"userAgent": windows})
    install = asked_host(chromium_page, "com.example.missing")["details"]["install"]
    assert install == f"py install.py --extension-id {CHROMIUM_ID}"


def test_a_host_that_does_not_know_the_extension_comes_with_the_command_that_lets_it_in(page: Page, lab: Lab) -> None:
    is_chromium = isinstance(lab, ChromiumLab)
    other = "ponmlkjihgfedcbaponmlkjihgfedcba" if is_chromium else "somebody@example.org"
    lab.register(lab.launcher, other, "com.example.others")
    error = asked_host(page, "com.example.others")
    assert error["code"] == ("host_forbidden" if is_chromium else "host_not_found")
    assert "does not know this extension" in error["message"]
    assert error["message"].endswith(f"python3 install.py --extension-id {lab.extension_id}")


def test_a_host_that_ends_at_once_comes_with_what_to_do(page: Page, lab: Lab, tmp_path: Path) -> None:
    program = tmp_path / "ending"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    lab.register(program, lab.extension_id, "com.example.ending")
    error = asked_host(page, "com.example.ending")
    assert error["code"] == "host_exited"
    assert error["message"].endswith("python3 install.py check")


def test_an_element_called_browser_is_in_nobodys_way(chromium_page: Page) -> None:
    assert chromium_page.call("askBesideAnElementCalledBrowser")["result"]["response"] == "pong"


def test_a_status_is_told_again_after_a_close(page: Page) -> None:
    client = page.call("connect")
    page.call("request", client, "ping", {})
    page.call("close", client)
    page.call("request", client, "ping", {})
    assert page.call("statuses", client) == ["connected", "connected"]
