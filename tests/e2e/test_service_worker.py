"""A service worker that the browser stops in mid-stream comes back and goes on where it was."""

from __future__ import annotations

from support.browsers.echo import Json, load_echo, one_shot, saying, words
from support.browsers.lab import ChromiumLab
from support.browsers.page import Page
from support.browsers.registration import CHROMIUM_ID
from support.browsers.waiting import wait_until


def ask_worker(page: Page, action: str, **fields: object) -> Json:
    """Send the worker a message, which starts it if it is stopped, and return its answer."""
    reply: Json = page.call("worker", {"action": action, **fields})
    assert "failed" not in reply, reply
    return reply


def stop_in_mid_stream(chromium: ChromiumLab, page: Page, text: str) -> str:
    """Have the worker stream ``text``, stop it when some has come, and return the job's id."""
    job: str = ask_worker(page, "start", fields=saying(text))["job_id"]
    wait_until("text in the worker", lambda: ask_worker(page, "progress").get("cursor", 0) >= 5)
    chromium.browser.stop_service_worker(CHROMIUM_ID)
    chromium.wait_for_no_relay()
    return job


def test_a_stopped_worker_resumes_its_stream_with_nothing_lost_or_doubled(
    chromium: ChromiumLab, chromium_page: Page
) -> None:
    load_echo(chromium_page, tokens_per_second=100)
    text = words(300)
    stop_in_mid_stream(chromium, chromium_page, text)
    end = ask_worker(chromium_page, "resume")
    assert end["resumedAt"] >= 5
    assert end["result"]["text"] == text
    assert end["text"] == text


def test_a_stream_that_ended_while_the_worker_was_stopped_can_still_be_read(
    chromium: ChromiumLab, chromium_page: Page
) -> None:
    load_echo(chromium_page, tokens_per_second=200)
    text = words(150)
    job = stop_in_mid_stream(chromium, chromium_page, text)
    wait_until("job over", lambda: one_shot(chromium_page, "read_job", job_id=job)["state"] == "finished")
    end = ask_worker(chromium_page, "resume")
    assert end["text"] == text


def test_a_worker_stopped_twice_still_loses_nothing(chromium: ChromiumLab, chromium_page: Page) -> None:
    load_echo(chromium_page, tokens_per_second=100)
    text = words(400)
    stop_in_mid_stream(chromium, chromium_page, text)
    before = ask_worker(chromium_page, "progress")["cursor"]
    chromium_page.evaluate("void window.harness.worker({action: 'resume'}).catch(() => {})")
    wait_until("more text", lambda: ask_worker(chromium_page, "progress")["cursor"] > before + 5)
    chromium.browser.stop_service_worker(CHROMIUM_ID)
    assert ask_worker(chromium_page, "resume")["text"] == text
