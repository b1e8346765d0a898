#!/usr/bin/env python3
"""Take the dashboard's picture: a real daemon, the demo model and the echo at work, a real Chromium.

``python tools/screenshot_dashboard.py docs/dashboard.png``; ``--seconds`` is how long they work before it is taken.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.browsers.chromium import Chromium, ChromiumPage
from support.browsers.sandbox import Sandbox
from support.host_process import Port
from support.http_host import HttpHost

QUESTIONS = ("What are you?", "Does anything leave my computer?", "How do I load a larger model?", "What can you do?")
CONNECTED = "document.querySelector('#connection-text').textContent === 'Connected'"
BETWEEN_S = 2.0
MODELS = ("demo", "echo")


def main() -> None:
    """Read the command line, let the models work, write the picture."""
    parser = argparse.ArgumentParser(description="Take a picture of the dashboard.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1200, help="of the page, in CSS pixels")
    parser.add_argument("--height", type=int, default=0, help="of the picture; 0: the whole page")
    parser.add_argument("--seconds", type=float, default=240.0, help="of work before the picture")
    arguments = parser.parse_args()
    with HttpHost("--no-token") as host, host.port() as port, Sandbox() as sandbox:
        work(port, arguments.seconds)
        browser = Chromium(sandbox)
        try:
            page = browser.open(
                f"{host.url}/", "document.querySelector('#connection-text').textContent === 'Connected'"
            )
            page.emulate(arguments.width, 900, arguments.dark)
            take(page, port, arguments.out, arguments.height, arguments.width, arguments.dark)
        finally:
            browser.close()


def work(port: Port, seconds: float) -> None:
    """Have both models answer, in turn, for a time."""
    port.call("load", model="demo", timeout=60)
    port.call("load", model="echo", options={"tokens_per_second": 120.0, "prefill_ms": 20})
    end = time.monotonic() + seconds
    for question in itertools.cycle(QUESTIONS):
        for model in MODELS:
            port.call("generate", model=model, messages=[{"role": "user", "content": question}], timeout=60)
        if time.monotonic() > end:
            return
        time.sleep(BETWEEN_S)


def take(page: ChromiumPage, port: Port, out: Path, height: int, width: int, dark: bool) -> None:
    """Begin a long answer, show the last minutes, write the picture."""
    port.ask("generate", model="echo", prompt="word " * 5000)
    page.click("#range input[value='900']")
    page.wait_for("document.querySelector('#jobs .live')?.textContent.includes('tokens/s')")
    page.wait_for("document.querySelectorAll('.chart canvas').length >= 2")
    page.emulate(width, height or int(page.evaluate("document.documentElement.scrollHeight")), dark)
    page.evaluate("new Promise((done) => setTimeout(done, 1500))")
    page.screenshot(out)


if __name__ == "__main__":
    main()
