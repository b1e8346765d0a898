"""Nothing stays behind: no relay when the browser goes, no daemon when nobody needs it."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import pytest
from support.browsers.chromium import Chromium
from support.browsers.echo import load_echo, one_shot, saying, words
from support.browsers.lab import ChromiumLab, FirefoxLab, Lab
from support.browsers.waiting import wait_until

LEAVES_SOON = """
[daemon]
idle_exit_s = 1.0
orphan_grace_s = 0.5
[models]
keep_alive_s = 1.0
"""
GONE_WITHIN_S = 20.0


def quit_browser(lab: Lab) -> None:
    """End the browser as a user does."""
    lab.browser.close()


def kill_browser(lab: Lab) -> None:
    """End the browser as the system does when memory runs out."""
    assert isinstance(lab.browser, Chromium)
    lab.browser.kill()


@pytest.mark.parametrize(
    ("lab_type", "end"),
    [(ChromiumLab, quit_browser), (ChromiumLab, kill_browser), (FirefoxLab, quit_browser)],
    ids=["chromium quits", "chromium is killed", "firefox quits"],
)
def test_the_end_of_a_browser_in_mid_stream_leaves_nothing_behind(
    lab_type: type[Lab], end: Callable[[Lab], None]
) -> None:
    lab = lab_type(LEAVES_SOON)
    try:
        page = lab.open()
        worker = load_echo(page, tokens_per_second=50)["pid"]
        client = page.call("connect")
        page.call("begin", client, saying(words(5000)))
        page.wait_for(f"window.harness.progress({client}).partials >= 1")
        daemon = lab.daemon_pid()
        assert lab.relays()
        end(lab)
        lab.wait_for_no_relay()
        wait_until("worker gone", lambda: not is_alive(worker), GONE_WITHIN_S)
        wait_until("daemon gone", lambda: not is_alive(daemon), GONE_WITHIN_S)
        lab.sandbox.wait_for_none()
    finally:
        lab.close()


def test_an_idle_daemon_leaves_and_the_next_message_starts_another() -> None:
    lab = ChromiumLab(LEAVES_SOON)
    try:
        page = lab.open()
        first = one_shot(page, "ping")["pid"]
        wait_until("idle daemon gone", lambda: not is_alive(first), GONE_WITHIN_S)
        assert not (lab.sandbox.runtime / "daemon.sock").exists()
        assert one_shot(page, "ping")["pid"] != first
    finally:
        lab.close()


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has reaped yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
