"""A fresh clone, an empty home, one command: text streams, in real browsers too, and uninstalling leaves nothing."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browsers.chromium import Chromium
from support.browsers.firefox import UUID, Firefox
from support.browsers.page import Page
from support.browsers.sandbox import Sandbox

from installer import manifest

ROOT = Path(__file__).parents[2]
LIMIT_S = 180
FOR_PIP = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT", "REQUESTS_CA")
CACHES = (".cache", ".rustup")
ADD_ON = manifest.template("firefox").allowed[0]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A new user, with this machine's way to a package index."""
    with Sandbox({name: value for name, value in os.environ.items() if name.upper().startswith(FOR_PIP)}) as made:
        yield made


@pytest.fixture
def clone(sandbox: Sandbox) -> Path:
    """A fresh clone of this repository."""
    folder = sandbox.root / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True, timeout=60)
    return folder


def run(clone: Path, sandbox: Sandbox, *command: str) -> str:
    """Run Python in the clone as the new user; what it says."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=clone,
        env=sandbox.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def chat(page: Page) -> str:
    """Ask the extension's chat page what its model is."""
    page.wait_for("!document.querySelector('#send').disabled || !document.querySelector('#problem').hidden", 60)
    problem = page.evaluate("document.querySelector('#problem').hidden || document.querySelector('#problem').innerText")
    assert problem is True, problem
    page.click("#input")
    page.type_text("What are you?")
    page.press("Enter")
    page.wait_for("document.querySelector('.turn.assistant:not(.waiting)')?.innerText.length > 10", 60)
    return str(page.evaluate("document.querySelector('.turn.assistant').innerText"))


def chat_in_chromium(clone: Path, sandbox: Sandbox, profile: Path) -> str:
    """Load the clone's extension as it is, and chat."""
    browser = Chromium(sandbox, profile)
    try:
        identifier = browser.load_extension(clone / "extension")
        return chat(browser.open(f"chrome-extension://{identifier}/chat.html"))
    finally:
        browser.close()


def chat_in_firefox(clone: Path, sandbox: Sandbox) -> str:
    """Build the clone's extension as the installer tells to, and chat."""
    built = sandbox.root / "built"
    run(clone, sandbox, "extension/build.py", "firefox", str(built))
    browser = Firefox(sandbox, ADD_ON)
    try:
        browser.load_extension(built)
        return chat(browser.open(f"moz-extension://{UUID}/chat.html"))
    finally:
        browser.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_fresh_clone_chats_within_three_minutes_and_goes_without_a_trace(clone: Path, sandbox: Sandbox) -> None:
    profile = sandbox.root / "chromium"
    places = ("--browser", "firefox", "--user-data-dir", str(profile))
    begun = time.monotonic()
    said = run(clone, sandbox, "install.py", *places)
    assert time.monotonic() - begun < LIMIT_S
    assert re.search(r"\d+ tokens at \d+ tokens/s", said), said
    assert "Registered with Firefox" in said
    assert "Next:" in said
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True, timeout=60
    )
    assert changed.stdout == ""

    assert len(chat_in_chromium(clone, sandbox, profile).split()) > 2
    assert len(chat_in_firefox(clone, sandbox).split()) > 2

    begun = time.monotonic()
    again = run(clone, sandbox, "install.py", *places)
    assert time.monotonic() - begun < 20
    assert "The environment is up to date" in again
    assert "Already registered with Firefox" in again

    run(clone, sandbox, "install.py", "uninstall", "--purge")
    sandbox.wait_for_none("native_host")
    left = [path.relative_to(sandbox.home) for path in sandbox.home.rglob("*tabagent*")]
    assert [path for path in left if path.parts[0] not in CACHES] == []
    assert list(profile.glob("NativeMessagingHosts/*")) == []
