"""A browser with the extension and the harness page in it, and the host registered, all in one sandbox."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from support.browsers import firefox, registration
from support.browsers.chromium import Chromium, ChromiumPage
from support.browsers.page import Browser, Page
from support.browsers.sandbox import Sandbox
from support.browsers.waiting import wait_until

BUILD = registration.REPOSITORY / "extension" / "build.py"
HARNESS = registration.REPOSITORY / "tests" / "e2e" / "harness"
CHAT_IS_THERE = "document.querySelector('#send') !== null"
LAUNCHER_WORD = "tabagent-launcher"


class Lab:
    """What the browsers' labs share; a subclass starts its browser and knows where its extension's pages are.

    ``config`` is written as config.toml; the daemon is started by the first message, as it always is.
    """

    browser: Browser
    origin: str
    extension_id: str

    def __init__(self, config: str = "") -> None:
        self.sandbox = Sandbox()
        try:
            self._write_config(config)
            self.launcher = registration.write_launcher(self.sandbox)
            self.start_browser()
        except BaseException:
            self.sandbox.close()
            raise

    def start_browser(self) -> None:
        """Start the browser with the host registered and the extension loaded."""
        raise NotImplementedError

    def register(self, program: Path, extension_id: str, name: str) -> None:
        """Register a program with the browser as the host of that name, for one extension."""
        raise NotImplementedError

    def open(self) -> Page:
        """Open the harness page."""
        return self.browser.open(f"{self.origin}harness.html", "typeof window.harness === 'object'")

    def open_chat(self) -> Page:
        """Open the extension's chat page."""
        return self.browser.open(f"{self.origin}chat.html", CHAT_IS_THERE)

    def open_chat_from(self, page: Page) -> Page:
        """Open the chat page as a person does: by the toolbar button, while ``page`` is seen."""
        raise NotImplementedError

    def daemon_pid(self) -> int:
        """The daemon's process id, by its own word."""
        pid: int = json.loads((self.sandbox.runtime / "daemon.json").read_text())["pid"]
        return pid

    def relays(self) -> list[int]:
        """The process ids of the relays that browsers have started."""
        return [process.pid for process in self.sandbox.processes(LAUNCHER_WORD)]

    def wait_for_no_relay(self, timeout_s: float = 5.0) -> None:
        """Wait until no relay is left."""
        wait_until("no relay left", lambda: not self.relays(), timeout_s)

    def close(self) -> None:
        """Quit the browser; kill what is left and remove every file."""
        try:
            self.browser.close()
        finally:
            self.sandbox.close()

    def _write_config(self, text: str) -> None:
        folder = self.sandbox.home / ".config" / "tabagent-native-host"
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(text)

    def build_extension(self, browser: str) -> Path:
        """Build the extension for ``browser`` with the harness beside its own files."""
        out = self.sandbox.root / "extension"
        subprocess.run([sys.executable, str(BUILD), browser, str(out)], check=True, capture_output=True)
        for file in HARNESS.iterdir():
            shutil.copy(file, out)
        return out


class ChromiumLab(Lab):
    """The lab with Chromium. The extension's service worker is the harness's."""

    browser: Chromium
    extension_id = registration.CHROMIUM_ID
    origin = f"chrome-extension://{registration.CHROMIUM_ID}/"

    @property
    def _profile(self) -> Path:
        return self.sandbox.root / "chromium"

    def register(self, program: Path, extension_id: str, name: str) -> None:
        """See ``Lab``."""
        registration.register_chromium(self._profile, program, extension_id, name)

    def open_chat(self) -> ChromiumPage:
        """See ``Lab``."""
        return self.browser.open(f"{self.origin}chat.html", CHAT_IS_THERE)

    def open_chat_from(self, page: Page) -> ChromiumPage:
        """See ``Lab``."""
        assert isinstance(page, ChromiumPage)
        wait_until("the service worker", lambda: self.browser.targets("service_worker", self.origin))
        self.browser.click_action(registration.CHROMIUM_ID, page)
        address = f"{self.origin}chat.html?tab="
        (target,) = wait_until("the chat page", lambda: self.browser.targets("page", address))
        chat = ChromiumPage(self.browser, target["targetId"])
        chat.wait_for(CHAT_IS_THERE)
        return chat

    def start_browser(self) -> None:
        """See ``Lab``."""
        self.register(self.launcher, self.extension_id, registration.HOST_NAME)
        extension = self.build_extension("chromium")
        _use_harness_worker(extension / "manifest.json")
        self.browser = Chromium(self.sandbox, self._profile)
        self.browser.load_extension(extension)


class FirefoxLab(Lab):
    """The lab with Firefox."""

    extension_id = registration.FIREFOX_ID
    browser: firefox.Firefox
    origin = f"moz-extension://{firefox.UUID}/"

    def register(self, program: Path, extension_id: str, name: str) -> None:
        """See ``Lab``."""
        registration.register_firefox(self.sandbox, program, extension_id, name)

    def open_chat_from(self, page: Page) -> firefox.FirefoxPage:
        """See ``Lab``."""
        assert isinstance(page, firefox.FirefoxPage)
        chat = self.browser.click_action(registration.FIREFOX_ID, page)
        chat.wait_for(f"document.readyState === 'complete' && {CHAT_IS_THERE}")
        return chat

    def start_browser(self) -> None:
        """See ``Lab``."""
        self.register(self.launcher, self.extension_id, registration.HOST_NAME)
        extension = self.build_extension("firefox")
        self.browser = firefox.Firefox(self.sandbox, self.extension_id)
        self.browser.load_extension(extension)


def _use_harness_worker(manifest: Path) -> None:
    """Have the extension run ``worker.js``, which may keep its place in session storage."""
    content = json.loads(manifest.read_text())
    content["background"]["service_worker"] = "worker.js"
    content["permissions"].append("storage")
    manifest.write_text(json.dumps(content))
