"""A host that is not running: a port that loads a model hears of it before there is a daemon, in each browser."""

from __future__ import annotations

from support.browsers.lab import Lab
from support.browsers.page import Page

from messages.replies import Progress

SIGN = Progress(id="l", action="load", phase="starting", message="Starting the host.").to_wire()


def test_a_ports_load_is_heard_of_first_and_then_carried_out(page: Page, lab: Lab) -> None:
    assert not (lab.sandbox.runtime / "daemon.json").exists()
    port = page.call("open")
    load = {"id": "l", "action": "load", "model": "demo", "stream": True}
    frames = page.call("exchange", port, load)
    assert frames[0] == SIGN
    assert frames[1]["message"] == "Starting a worker for demo."
    assert [frame["type"] for frame in frames].count("result") == 1
    assert (frames[-1]["status"], frames[-1]["model"]["state"]) == ("success", "ready")
    assert page.call("exchange", port, {"id": "p", "action": "ping"})[-1]["pid"] == lab.daemon_pid()
