"""Drives a real headless Firefox: add-ons and their pages.

Below it is ``marionette.py``; above it are the end-to-end tests. The browser runs with a profile and a home of its
own in a ``Sandbox`` and reads native-messaging manifests from that home. Its pages forbid ``eval``, so scripts run
in Marionette's own sandbox and call what the page has put on ``window``.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from support.browsers.errors import BrowserError, BrowserGone
from support.browsers.marionette import Marionette
from support.browsers.sandbox import Sandbox
from support.browsers.waiting import wait_until

CANDIDATES = ("firefox-esr", "firefox")
UUID = "11111111-2222-4333-8444-555555555555"
PREFERENCES: dict[str, object] = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage": "about:blank",
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "marionette.port": 0,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}
CLICK_ACTION = """
    const {extension} = WebExtensionPolicy.getByID(arguments[0]);
    const window = Services.wm.getMostRecentWindow("navigator:browser");
    extension.apiManager.global.browserActionFor(extension).triggerAction(window);
"""
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Tab": "\ue004", "ArrowUp": "\ue013", "ArrowDown": "\ue015"}
SHIFT = "\ue008"
START_S = 60.0
CLOSE_S = 20.0
SCRIPT_MS = 60_000


def find_firefox() -> str:
    """Return the path of the first Firefox on this machine, or raise ``FileNotFoundError``."""
    for candidate in CANDIDATES:
        path = shutil.which(candidate)
        if path:
            return path
    raise FileNotFoundError("no Firefox here; on Debian: apt-get install firefox-esr")


class Firefox:
    """A running browser; ``close`` ends it as a user would."""

    def __init__(self, sandbox: Sandbox, addon_id: str) -> None:
        """Start Firefox and give the add-on ``addon_id`` a known place: ``moz-extension://<UUID>/``."""
        self.sandbox = sandbox
        self.profile = sandbox.root / "firefox"
        self.profile.mkdir(exist_ok=True)
        self._write_preferences(addon_id)
        self.process = self._start()
        self._connection = Marionette(self._wait_for_port())
        self.command("WebDriver:NewSession", {"capabilities": {}})
        self.command("WebDriver:SetTimeouts", {"script": SCRIPT_MS})
        self._first_tab = self.command("WebDriver:GetWindowHandle")["value"]

    def _write_preferences(self, addon_id: str) -> None:
        preferences = {**PREFERENCES, "extensions.webextensions.uuids": json.dumps({addon_id: UUID})}
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in preferences.items()]
        (self.profile / "user.js").write_text("\n".join(lines))

    def _start(self) -> subprocess.Popen[bytes]:
        command = [find_firefox(), "--headless", "--marionette", "--remote-allow-system-access", "--no-remote"]
        with (self.sandbox.root / "firefox.log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--profile", str(self.profile), "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.sandbox.env, "MOZ_CRASHREPORTER_DISABLE": "1"},
                start_new_session=True,
            )

    def _wait_for_port(self) -> int:
        file = self.profile / "MarionetteActivePort"
        return int(wait_until("Marionette's port", lambda: file.exists() and file.read_text(), START_S))

    def command(self, name: str, params: dict[str, object] | None = None) -> Any:
        """Send one Marionette command and return its result; raises as ``Marionette.command`` does."""
        return self._connection.command(name, params)

    def load_extension(self, folder: Path) -> str:
        """Install an add-on for as long as the browser runs, and return its id."""
        identifier: str = self.command("Addon:Install", {"path": str(folder), "temporary": True})["value"]
        return identifier

    def open(self, url: str, ready: str = "true") -> FirefoxPage:
        """Open ``url`` in a new tab and wait until it is loaded and the expression ``ready`` holds in it."""
        self.command("WebDriver:SwitchToWindow", {"handle": self._first_tab, "focus": False})
        handle = self.command("WebDriver:NewWindow", {"type": "tab", "focus": True})["handle"]
        page = FirefoxPage(self, handle)
        page.command("WebDriver:Navigate", {"url": url})
        page.wait_for(f"document.readyState === 'complete' && ({ready})")
        return page

    def click_action(self, addon_id: str, page: FirefoxPage) -> FirefoxPage:
        """Click the add-on's toolbar button while ``page`` is seen, and return the tab that it opens."""
        before = set(page.command("WebDriver:GetWindowHandles"))
        self.command("Marionette:SetContext", {"value": "chrome"})
        try:
            self.command("WebDriver:ExecuteScript", {"script": CLICK_ACTION, "args": [addon_id]})
        finally:
            self.command("Marionette:SetContext", {"value": "content"})
        opened: set[str] = wait_until("a new tab", lambda: set(self.command("WebDriver:GetWindowHandles")) - before)
        return FirefoxPage(self, opened.pop())

    def close(self) -> None:
        """Quit; a browser that has not gone after 20 s is killed."""
        if self.process.poll() is None:
            try:
                self.command("Marionette:Quit", {"flags": ["eForceQuit"]})
                self.process.wait(CLOSE_S)
            except (BrowserError, TimeoutError, subprocess.TimeoutExpired):
                self.process.kill()
        self.process.wait(CLOSE_S)
        self._connection.close()


class FirefoxPage:
    """A tab."""

    def __init__(self, browser: Firefox, handle: str) -> None:
        self._browser = browser
        self._handle = handle

    def command(self, name: str, params: dict[str, object] | None = None, focus: bool = True) -> Any:
        """Send a Marionette command to this tab, which comes to the front with ``focus``."""
        self._browser.command("WebDriver:SwitchToWindow", {"handle": self._handle, "focus": focus})
        return self._browser.command(name, params)

    def evaluate(self, expression: str) -> Any:
        """Evaluate JavaScript, await a promise it gives, and return its value as JSON would carry it."""
        return self._evaluate(expression, focus=True)

    def peek(self, expression: str) -> Any:
        """See ``Page``."""
        return self._evaluate(expression, focus=False)

    def _evaluate(self, expression: str, focus: bool) -> Any:
        body = f"return Promise.resolve({expression}).then((value) => JSON.stringify(value ?? null))"
        text = self.command("WebDriver:ExecuteScript", {"script": body, "args": []}, focus)["value"]
        if text is None:  # every script gives a text, unless its page went away under it
            raise BrowserError(f"the page was replaced while it evaluated {expression[:100]}")
        return json.loads(text)

    def call(self, function: str, *arguments: object) -> Any:
        """Call ``window.harness.<function>`` with JSON arguments and return what it resolves to."""
        text = json.dumps(json.dumps(arguments))
        return self.evaluate(f"window.harness.{function}(...window.JSON.parse({text}))")

    def wait_for(self, expression: str, timeout_s: float = 20.0) -> None:
        """Wait until the expression is true in the page."""

        def probe() -> bool:
            try:
                return bool(self.evaluate(f"Boolean({expression})"))
            except BrowserGone:
                raise
            except BrowserError:  # the page is still on its way, and its context was replaced under the call
                return False

        wait_until(expression, probe, timeout_s)

    def type_text(self, text: str) -> None:
        """Type into what has the focus."""
        element = self.command("WebDriver:GetActiveElement")["value"]
        identifier = next(iter(element.values()))
        self.command("WebDriver:ElementSendKeys", {"id": identifier, "text": text})

    def press(self, key: str, shift: bool = False) -> None:
        """Press and release one of the keys in ``KEYS``."""
        self.type_text((SHIFT if shift else "") + KEYS[key])

    def click(self, selector: str) -> None:
        """Click the element with the mouse."""
        element = self.command("WebDriver:FindElement", {"using": "css selector", "value": selector})["value"]
        self.command("WebDriver:ElementClick", {"id": next(iter(element.values()))})

    def screenshot(self, path: Path) -> None:
        """Write what the tab shows as PNG."""
        path.write_bytes(base64.b64decode(self.command("WebDriver:TakeScreenshot", {"full": False})["value"]))

    def close(self) -> None:
        """Close the tab."""
        self.command("WebDriver:CloseWindow")
