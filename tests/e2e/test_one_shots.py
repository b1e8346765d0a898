"""sendNativeMessage: a new process for each call, and one daemon behind them all."""

from __future__ import annotations

from support.browsers.echo import ECHO, load_echo, one_shot, saying, words
from support.browsers.lab import Lab
from support.browsers.page import Page
from support.browsers.waiting import wait_until


def test_separate_calls_reach_one_daemon(page: Page) -> None:
    pids = {one_shot(page, "ping")["pid"] for _ in range(3)}
    assert len(pids) == 1


def test_a_model_loaded_by_one_call_answers_the_next(page: Page) -> None:
    load_echo(page)
    reply = one_shot(page, "generate", stream=False, **saying("Grüße from a tab 😀"))
    assert reply["status"] == "success"
    assert reply["text"] == "Grüße from a tab 😀"
    assert reply["finish_reason"] == "stop"


def test_get_stats_tells_of_the_generation_of_an_earlier_call(page: Page) -> None:
    load_echo(page)
    one_shot(page, "generate", stream=False, **saying("one two three"))
    stats = one_shot(page, "get_stats", model=ECHO)
    assert (stats["input_tokens"], stats["output_tokens"]) == (3, 3)
    assert stats["time_to_first_token"] > 0
    assert stats["total_time"] >= stats["time_to_first_token"]


def test_update_settings_holds_for_a_later_call(page: Page) -> None:
    load_echo(page)
    updated = one_shot(page, "update_settings", settings={"max_tokens": 2})
    assert updated["settings"]["max_tokens"] == 2
    reply = one_shot(page, "generate", stream=False, **saying("one two three"))
    one_shot(page, "update_settings", settings={"max_tokens": 2048})
    assert (reply["text"], reply["finish_reason"]) == ("one two", "length")


def test_stop_generation_stops_what_another_call_began(page: Page) -> None:
    load_echo(page, tokens_per_second=20)
    job = one_shot(page, "generate", stream=True, **saying(words(2000)))["job_id"]
    read = one_shot(page, "read_job", job_id=job, wait_ms=5000)
    assert read["text"].startswith("word0")
    stopped = one_shot(page, "stop_generation", job_id=job)
    assert stopped["stopped_jobs"] == [job]
    assert stopped["stopped_backends"] == ["ECHO"]
    wait_until("job cancelled", lambda: one_shot(page, "read_job", job_id=job)["state"] == "cancelled")


def test_stop_generation_with_nothing_running_is_a_success_that_says_so(page: Page) -> None:
    load_echo(page)
    reply = one_shot(page, "stop_generation")
    assert reply["status"] == "success"
    assert (reply["stopped_jobs"], reply["stopped_backends"]) == ([], [])
    assert reply["message"]


def test_read_job_gives_the_whole_text_piece_by_piece(page: Page) -> None:
    load_echo(page, tokens_per_second=400)
    text = words(200)
    job = one_shot(page, "generate", stream=True, **saying(text))["job_id"]
    pieces: list[str] = []
    cursor, state = 0, "queued"
    while state not in ("finished", "failed"):
        read = one_shot(page, "read_job", job_id=job, cursor=cursor, wait_ms=5000)
        assert read["cursor"] >= cursor
        pieces.append(read["text"])
        cursor, state = read["cursor"], read["state"]
    assert "".join(pieces) == text


def test_no_relay_outlives_its_call(page: Page, lab: Lab) -> None:
    one_shot(page, "ping")
    lab.wait_for_no_relay()


def test_a_load_in_the_background_is_accepted_and_read_to_its_end(page: Page) -> None:
    accepted = one_shot(page, "load", model="demo", background=True)
    assert accepted["type"] == "accepted"
    read = one_shot(page, "read_job", job_id=accepted["job_id"])
    while read["state"] == "queued":
        read = one_shot(page, "read_job", job_id=accepted["job_id"], cursor=read["cursor"], wait_ms=30_000)
    assert (read["state"], read["model"]["model"], read["model"]["state"]) == ("finished", "demo", "ready")
    one_shot(page, "unload", model="demo")
