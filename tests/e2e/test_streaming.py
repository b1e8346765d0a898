"""connectNative: text that arrives while it is made, stopped in mid-stream, from two tabs at once."""

from __future__ import annotations

from support.browsers.echo import load_echo, saying, words
from support.browsers.lab import Lab
from support.browsers.page import Page

PACED = 200.0


def test_a_stream_arrives_piece_by_piece_complete_and_in_order(page: Page) -> None:
    load_echo(page, tokens_per_second=PACED)
    client = page.call("connect")
    text = words(200)
    page.call("begin", client, saying(text))
    page.wait_for(f"window.harness.progress({client}).partials >= 3")
    assert not page.call("progress", client)["over"]
    end = page.call("finished", client)
    assert end["text"] == end["result"]["text"] == text
    assert end["seqs"] == list(range(len(end["seqs"])))
    assert end["result"]["stats"]["output_tokens"] == 200


def test_a_raw_port_sees_accepted_then_partials_then_one_result(page: Page) -> None:
    load_echo(page)
    port = page.call("open")
    frames = page.call("exchange", port, {"id": 7, "action": "generate", **saying("one two three")})
    kinds = [frame["type"] for frame in frames]
    assert kinds[0] == "accepted"
    assert kinds[-1] == "result"
    assert set(kinds[1:-1]) == {"partial"}
    assert {frame["id"] for frame in frames} == {7}
    assert "".join(frame["text"] for frame in frames[1:-1]) == "one two three"


def test_stop_in_mid_stream_ends_the_stream_with_what_was_said(page: Page) -> None:
    load_echo(page, tokens_per_second=PACED)
    client = page.call("connect")
    text = words(4000)
    page.call("begin", client, saying(text))
    page.wait_for(f"window.harness.progress({client}).partials >= 3")
    page.call("abort", client)
    end = page.call("finished", client)
    assert end["result"]["finish_reason"] == "cancelled"
    assert text.startswith(end["text"])
    assert end["result"]["text"] == end["text"]
    assert 0 < len(end["text"]) < len(text) // 2


def test_other_requests_are_answered_while_a_stream_runs(page: Page) -> None:
    load_echo(page, tokens_per_second=PACED)
    client = page.call("connect")
    page.call("begin", client, saying(words(2000)))
    page.wait_for(f"window.harness.progress({client}).partials >= 1")
    assert page.call("request", client, "ping")["result"]["response"] == "pong"
    assert not page.call("progress", client)["over"]
    page.call("abort", client)
    page.call("finished", client)


def test_a_long_prefill_is_not_silent(page: Page) -> None:
    load_echo(page, prefill_ms=700)
    client = page.call("connect")
    page.call("begin", client, saying("hello", thinking_update_interval=0.2))
    end = page.call("finished", client)
    assert end["text"] == "hello"
    assert end["thinking"]
    assert end["thinking"][0].startswith("Reading prompt... (")


def test_two_tabs_stream_at_once_and_do_not_hear_each_other(page: Page, lab: Lab) -> None:
    load_echo(page, tokens_per_second=PACED)
    other = lab.open()
    clients = {page: page.call("connect"), other: other.call("connect")}
    texts = {page: words(150), other: words(150).replace("word", "other")}
    for tab, client in clients.items():
        tab.call("begin", client, saying(texts[tab]))
    for tab, client in clients.items():
        end = tab.call("finished", client)
        assert end["text"] == end["result"]["text"] == texts[tab]
    other.close()


def test_closing_a_tab_in_mid_stream_leaves_no_relay(page: Page, lab: Lab) -> None:
    load_echo(page, tokens_per_second=PACED)
    tab = lab.open()
    client = tab.call("connect")
    tab.call("begin", client, saying(words(2000)))
    tab.wait_for(f"window.harness.progress({client}).partials >= 1")
    tab.close()
    lab.wait_for_no_relay()
