"""How the command line speaks: one sentence for an error, colours only on a terminal, sizes and times for people."""

import os
import re
import sys
from typing import TextIO

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_STYLES = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}


class CliError(Exception):
    """A command could not do its work; the message is one sentence that says what to do."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


def say_error(message: str) -> None:
    """Print an error to stderr."""
    print(f"{styled('tabagent-host:', 'red', sys.stderr)} {message}", file=sys.stderr)


def styled(text: str, style: str, stream: TextIO) -> str:
    """Text in a style if the stream is a terminal that wants it (https://no-color.org)."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def printable(text: str) -> str:
    """Text of a model or a file without control characters, which could take over the terminal."""
    return _CONTROL.sub("", text)


def size(count: float | None) -> str:
    """Bytes for people: "4.2 MB", in powers of 1000."""
    if count is None:
        return "unknown size"
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds for people: "42 s", "3 min", "2 h 5 min", "4 d 1 h"."""
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
