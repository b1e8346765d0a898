"""What goes wrong while driving a browser."""

from __future__ import annotations


class BrowserError(Exception):
    """The browser answered a command with an error, or a script in it threw."""


class BrowserGone(BrowserError):
    """The browser's end of the connection is closed."""
