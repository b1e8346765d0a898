"""docs/extensions.md, followed word for word in each browser: its files are the extension that is loaded."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.browsers import firefox
from support.browsers.chromium import Chromium
from support.browsers.page import Browser, Page
from support.browsers.registration import REPOSITORY, register_chromium, register_firefox, write_launcher
from support.browsers.sandbox import Sandbox

DOCUMENT = (REPOSITORY / "docs" / "extensions.md").read_text()
FILES = ("manifest.json", "panel.html", "panel.js", "background.js", "content.js")
GECKO_ID = "mine@example.org"
TEXT = "document.querySelector('pre').textContent"
COMMAND = re.compile(r"python3 install\.py --extension-id (\S+)$")


class Trial:
    """A browser with the page's extension, and no host until ``register``."""

    def __init__(self, browser: str) -> None:
        self.sandbox = Sandbox()
        self.program = write_launcher(self.sandbox)
        self.browser: Browser
        if browser == "chromium":
            self.browser = Chromium(self.sandbox)
        else:
            self.browser = firefox.Firefox(self.sandbox, GECKO_ID)
        self.id = self.browser.load_extension(write_extension(self.sandbox.root / "mine"))
        self.origin = f"moz-extension://{firefox.UUID}/" if browser == "firefox" else f"chrome-extension://{self.id}/"

    def register(self, extension_id: str) -> None:
        """Let the extension in, as the command does that the panel tells."""
        if isinstance(self.browser, Chromium):
            register_chromium(self.browser.profile, self.program, extension_id)
        else:
            register_firefox(self.sandbox, self.program, extension_id)

    def close(self) -> None:
        try:
            self.browser.close()
        finally:
            self.sandbox.close()


def write_extension(folder: Path) -> Path:
    """Write the files that the page shows, with what it adds to the manifest, and the client beside them."""
    folder.mkdir()
    shutil.copy(REPOSITORY / "extension" / "client.js", folder)
    for name in FILES:
        (folder / name).write_text(block_after(f"`{name}`"))
    added = json.loads(block_after("## Content scripts"))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **added}))
    return folder


def block_after(words: str) -> str:
    """The first block of code behind the first place of these words."""
    found = re.search(r"```\w+\n(.*?)```", DOCUMENT.partition(words)[2], re.DOTALL)
    assert found, words
    return found[1]


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def trial(request: pytest.FixtureRequest) -> Iterator[Trial]:
    made = Trial(request.param)
    yield made
    made.close()


@pytest.fixture
def website() -> Iterator[str]:
    """The address of a page that knows nothing of extensions."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>A website</title><p>Chromium</p>")

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def ask(page: Page, question: str) -> None:
    page.evaluate(
        f"document.querySelector('pre').replaceChildren(), document.querySelector('input').value = {question!r}"
    )
    page.click("form button")


def test_the_panel_tells_the_command_that_lets_it_in_and_then_answers(trial: Trial) -> None:
    page = trial.browser.open(f"{trial.origin}panel.html", "document.querySelector('form')?.onsubmit")
    ask(page, "What are you?")
    page.wait_for(f"{TEXT}.includes('install.py')")
    command = COMMAND.search(page.evaluate(TEXT))
    assert command
    assert command[1] == trial.id
    trial.register(command[1])
    ask(page, "What are you?")
    page.wait_for(f"{TEXT}.includes('TabAgent')")
    page.wait_for("!document.querySelector('form button').disabled")
    page.close()


def test_the_panels_stop_amid_a_load_ends_the_question_and_another_can_be_asked(trial: Trial) -> None:
    trial.register(trial.id)
    page = trial.browser.open(f"{trial.origin}panel.html", "document.querySelector('form')?.onsubmit")
    page.evaluate("void addEventListener('unhandledrejection', () => (document.title = 'unhandled'))")
    ask(page, "What are you?")
    page.click("[type=button]")
    page.wait_for("!document.querySelector('form button').disabled")
    ask(page, "What are you?")
    page.wait_for(f"{TEXT}.includes('TabAgent')")
    assert page.evaluate("document.title") != "unhandled"
    page.close()


def test_a_content_script_gets_its_answer_through_the_service_worker(trial: Trial, website: str) -> None:
    trial.register(trial.id)
    page = trial.browser.open(website)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('p'))")
    page.evaluate("void document.dispatchEvent(new Event('dblclick'))")
    page.wait_for(f"document.querySelector('pre') && {TEXT}.includes('Vivaldi')")
    page.close()
