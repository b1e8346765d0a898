"""What Chromium and Firefox have in common, so that one test runs in both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class Page(Protocol):
    """A tab that shows an extension's page."""

    def evaluate(self, expression: str) -> Any:
        """Evaluate JavaScript, await a promise it gives, and return its value as JSON would carry it."""

    def peek(self, expression: str) -> Any:
        """Evaluate JavaScript in a tab that stays behind another, as ``evaluate`` does."""

    def call(self, function: str, *arguments: object) -> Any:
        """Call ``window.harness.<function>`` with JSON arguments and return what it resolves to."""

    def wait_for(self, expression: str, timeout_s: float = 20.0) -> None:
        """Wait until the expression is true in the page."""

    def type_text(self, text: str) -> None:
        """Type into what has the focus."""

    def press(self, key: str, shift: bool = False) -> None:
        """Press and release Enter, Escape, Tab, ArrowUp or ArrowDown."""

    def click(self, selector: str) -> None:
        """Click the element."""

    def screenshot(self, path: Path) -> None:
        """Write what the tab shows as PNG."""

    def close(self) -> None:
        """Close the tab."""


class Browser(Protocol):
    """A running browser with a profile of its own."""

    def load_extension(self, folder: Path) -> str:
        """Load an extension for as long as the browser runs, and return its id."""

    def open(self, url: str, ready: str = "true") -> Page:
        """Open ``url`` in a new tab and wait until it is loaded and the expression ``ready`` holds in it."""

    def close(self) -> None:
        """Quit as a user would."""
