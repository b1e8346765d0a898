"""Drives a real headless Chromium: extensions, their pages and their service workers.

Below it is ``cdp.py``; above it are the end-to-end tests. The browser runs with a profile and a home of its own
in a ``Sandbox`` and reads native-messaging manifests from ``<profile>/NativeMessagingHosts`` only.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from support.browsers.cdp import CdpPipe, Json
from support.browsers.errors import BrowserError, BrowserGone
from support.browsers.sandbox import Sandbox
from support.browsers.waiting import wait_until

CANDIDATES = ("/usr/lib/chromium/chromium", "chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-gpu",
    "--disable-breakpad",
    "--mute-audio",
    "--password-store=basic",
    "--use-mock-keychain",
    "--remote-debugging-pipe",
    "--enable-unsafe-extension-debugging",
)
KEY_CODES = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}
CLOSE_S = 15.0


def find_chromium() -> str:
    """Return the path of the first Chromium on this machine, or raise ``FileNotFoundError``."""
    for candidate in CANDIDATES:
        path = shutil.which(candidate)
        if path:
            return path
    raise FileNotFoundError("no Chromium here; on Debian: apt-get install chromium")


class Chromium:
    """A running browser; ``close`` ends it as a user would, ``kill`` with SIGKILL."""

    def __init__(self, sandbox: Sandbox, profile: Path | None = None) -> None:
        self.sandbox = sandbox
        self.profile = profile or sandbox.root / "chromium"
        self.profile.mkdir(exist_ok=True)
        self.process, self._pipe = self._start()
        self.version: str = self.command("Browser.getVersion", timeout_s=60.0)["product"]
        self.command("Target.setDiscoverTargets", {"discover": True})

    def _start(self) -> tuple[subprocess.Popen[bytes], CdpPipe]:
        """Start the browser with the debugging pipes on its file descriptors 3 (in) and 4 (out)."""
        their_in, our_out = os.pipe()
        our_in, their_out = os.pipe()
        moves = f'exec 3<&{their_in} 4>&{their_out}; exec "$@"'
        command = [find_chromium(), *FLAGS, f"--user-data-dir={self.profile}", "about:blank"]
        with (self.sandbox.root / "chromium.log").open("ab") as log:
            process = subprocess.Popen(
                ["/bin/bash", "-c", moves, "bash", *command],
                pass_fds=(their_in, their_out),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.sandbox.env,
                start_new_session=True,
            )
        os.close(their_in)
        os.close(their_out)
        return process, CdpPipe(our_in, our_out)

    def command(
        self, method: str, params: Json | None = None, session: str | None = None, timeout_s: float = 30.0
    ) -> Json:
        """Send one DevTools command and return its result; raises as ``CdpPipe.command`` does."""
        return self._pipe.command(method, params, session, timeout_s)

    def load_extension(self, folder: Path) -> str:
        """Load an unpacked extension and return its id."""
        identifier: str = self.command("Extensions.loadUnpacked", {"path": str(folder)})["id"]
        return identifier

    def targets(self, kind: str, prefix: str) -> list[Json]:
        """The targets of a ``kind`` ("page", "service_worker") whose URL begins with ``prefix``."""
        infos: list[Json] = self.command("Target.getTargets", {"filter": [{}]})["targetInfos"]
        return [info for info in infos if info["type"] == kind and info["url"].startswith(prefix)]

    def open(self, url: str, ready: str = "true") -> ChromiumPage:
        """Open ``url`` in a new tab and wait until it is loaded and the expression ``ready`` holds in it."""
        target = self.command("Target.createTarget", {"url": url})["targetId"]
        page = ChromiumPage(self, target)
        page.wait_for(f"document.readyState === 'complete' && location.href !== 'about:blank' && ({ready})")
        return page

    def click_action(self, extension_id: str, page: ChromiumPage) -> None:
        """Click the extension's toolbar button while ``page`` is seen."""
        (url,) = [info["url"] for info in self.targets("page", "") if info["targetId"] == page.target]
        tabs = [info for info in self.targets("tab", url) if info["embedderData"]["tabActive"]]
        self.command("Extensions.triggerAction", {"id": extension_id, "targetId": tabs[0]["targetId"]})

    def stop_service_worker(self, extension_id: str) -> None:
        """Stop the extension's service worker as the browser does when it has idled, and wait for its end."""
        prefix = f"chrome-extension://{extension_id}/"
        for target in self.targets("service_worker", prefix):
            self.command("Target.closeTarget", {"targetId": target["targetId"]})
        wait_until("service worker stopped", lambda: not self.targets("service_worker", prefix))

    def close(self) -> None:
        """Quit; a browser that has not gone after 15 s is killed."""
        if self.process.poll() is None:
            try:
                self.command("Browser.close", timeout_s=5.0)
                self.process.wait(CLOSE_S)
            except (BrowserError, TimeoutError, subprocess.TimeoutExpired):
                self.process.kill()
        self._finish()

    def kill(self) -> None:
        """SIGKILL the browser's main process, as the system does when memory runs out."""
        self.process.send_signal(signal.SIGKILL)
        self._finish()

    def _finish(self) -> None:
        self.process.wait(CLOSE_S)
        self._pipe.close()


class ChromiumPage:
    """A tab with a DevTools session."""

    def __init__(self, browser: Chromium, target: str) -> None:
        self._browser = browser
        self.target = target
        attached = browser.command("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session: str = attached["sessionId"]

    def command(self, method: str, params: Json | None = None, timeout_s: float = 30.0) -> Json:
        """Send a DevTools command to this tab."""
        return self._browser.command(method, params, self._session, timeout_s)

    def evaluate(self, expression: str, timeout_s: float = 60.0) -> Any:
        """Evaluate JavaScript, await a promise it gives, and return its value as JSON would carry it."""
        params = {"expression": expression, "awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = self.command("Runtime.evaluate", params, timeout_s)
        if "exceptionDetails" in answer:
            thrown = answer["exceptionDetails"]
            raise BrowserError(thrown.get("exception", {}).get("description") or thrown["text"])
        return answer["result"].get("value")

    def peek(self, expression: str) -> Any:
        """See ``Page``: here no look brings a tab to the front."""
        return self.evaluate(expression)

    def call(self, function: str, *arguments: object, timeout_s: float = 60.0) -> Any:
        """Call ``window.harness.<function>`` with JSON arguments and return what it resolves to."""
        text = ", ".join(json.dumps(argument) for argument in arguments)
        return self.evaluate(f"harness.{function}({text})", timeout_s)

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
        self.command("Input.insertText", {"text": text})

    def press(self, key: str, shift: bool = False, alt: bool = False) -> None:
        """Press and release one of the keys in ``KEY_CODES``."""
        code = KEY_CODES[key]
        event: Json = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 * shift + alt}
        down: Json = {"type": "keyDown", **event, **({"text": "\r"} if key == "Enter" else {})}
        self.command("Input.dispatchKeyEvent", down)
        self.command("Input.dispatchKeyEvent", {"type": "keyUp", **event})

    def hold_enter(self, seconds: float) -> None:
        """Hold Enter, which then comes again and again as a keyboard repeats it, and release it."""
        event: Json = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        down: Json = {"type": "keyDown", **event, "text": "\r"}
        self.command("Input.dispatchKeyEvent", down)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.command("Input.dispatchKeyEvent", {**down, "autoRepeat": True})
            time.sleep(0.03)
        self.command("Input.dispatchKeyEvent", {"type": "keyUp", **event})

    def click(self, selector: str) -> None:
        """Click the element, with the user gesture that a real click has."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def emulate(self, width: int, height: int, dark: bool = False, scale: float = 1.0) -> None:
        """Set the viewport (CSS pixels) and the preferred colour scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", {"features": [scheme]})

    def screenshot(self, path: Path) -> None:
        """Write what the tab shows as PNG."""
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        """Close the tab and wait until it is gone."""
        self._browser.command("Target.closeTarget", {"targetId": self.target})
        wait_until("tab closed", lambda: not self._is_open())

    def _is_open(self) -> bool:
        return any(info["targetId"] == self.target for info in self._browser.targets("page", ""))
