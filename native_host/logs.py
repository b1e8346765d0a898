"""Log files that rotate, and that never get in the way: a full disk or a folder that cannot be written is one warning.

Above it: the daemon's start, `tabagent-host logs`. Nothing is ever written to file descriptor 1. What is logged holds
no prompt and no answer unless `log.log_prompts` is on; the dispatcher sees to that.
"""

import logging
import sys
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType

from native_host.config_sections import LogConfig
from native_host.one_line import one_line

FORMAT = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"
_INDENT = "    "

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class RecordFormatter(logging.Formatter):
    """One line for each record, and below it the indented traceback if there is one: no text can pass for a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record's line."""
        return one_line(super().formatMessage(record).rstrip())

    def formatException(self, ei: _Raised) -> str:
        """The traceback's lines, the exception's own text among them."""
        return "\n".join(_INDENT + line for line in super().formatException(ei).splitlines())


class QuietRotatingFileHandler(RotatingFileHandler):
    """A rotating file that warns once on stderr when it cannot be written, and goes on without it."""

    def __init__(self, path: Path, max_bytes: int, backups: int) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8", errors="backslashreplace")
        self._warned = False

    def handleError(self, record: logging.LogRecord) -> None:
        """A record could not be written: the full disk's case (OSError), or a wrong log call, which is a bug."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            _warn(f"A log record could not be written: {error!r} in {record.pathname}:{record.lineno}.")
        elif not self._warned:
            self._warned = True
            _warn(f"Cannot write the log {self.baseFilename}: {error.strerror}. Free disk space; the host goes on.")

    def close(self) -> None:
        """Close the file; what a full disk no longer takes is lost."""
        try:
            super().close()
        except OSError as error:
            if not self._warned:
                _warn(f"Cannot write the log {self.baseFilename}: {error.strerror}.")


def configure_logging(file: Path, config: LogConfig, *, to_stderr: bool = False) -> bool:
    """Send this process's log to a file, and with `to_stderr` to the terminal too, for a daemon in the foreground.

    Returns False if the file cannot be opened; then there is one warning on stderr, and the log goes there.
    """
    handler = _open(file, config)
    handlers: list[logging.Handler] = [handler] if handler else []
    if to_stderr or handler is None:
        handlers.append(logging.StreamHandler(sys.stderr))
    for one in handlers:
        one.setFormatter(RecordFormatter(FORMAT))
    logging.basicConfig(level=config.level, handlers=handlers, force=True)
    logging.captureWarnings(True)
    return handler is not None


def tail(file: Path, lines: int) -> list[str]:
    """The last lines of a log, oldest first, out of the rotated file too if the newest is short; none if missing."""
    newest = _last_lines(file, lines)
    if len(newest) >= lines:
        return newest
    return _last_lines(file.with_name(file.name + ".1"), lines - len(newest)) + newest


def _open(file: Path, config: LogConfig) -> QuietRotatingFileHandler | None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return QuietRotatingFileHandler(file, config.max_bytes, config.backups)
    except OSError as error:
        _warn(f"Cannot write the log {file}: {error.strerror}. Make its folder writable; the host goes on without.")
        return None


def _last_lines(file: Path, lines: int) -> list[str]:
    if lines <= 0 or not file.is_file():
        return []
    with file.open(encoding="utf-8", errors="replace") as stream:
        return [line.rstrip("\n") for line in deque(stream, maxlen=lines)]


def _warn(message: str) -> None:
    try:
        sys.stderr.write(message + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return
