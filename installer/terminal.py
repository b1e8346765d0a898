"""What the user sees: numbered steps with the time they take, and never more than a few seconds of silence."""

import contextlib
import io
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

TTY_INTERVAL_S = 0.2
PLAIN_INTERVAL_S = 3.0


class Output:
    """A stream whose reader may leave (as `| head` does) and whose encoding may lack characters; the work goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
        self.is_terminal = stream.isatty()

    def write(self, text: str) -> None:
        """Write it out at once."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


class Step:
    """A piece of work under way; `update` says what it is busy with right now."""

    def __init__(self, out: Output, title: str) -> None:
        self._out, self._title = out, title
        self._tty = out.is_terminal
        self._detail = ""
        self._said = ""
        self._started = time.monotonic()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._started

    def update(self, detail: str) -> None:
        """Say what is being done; shown at once on a terminal, else within three seconds."""
        with self._lock:
            self._detail = detail

    def _tick(self) -> None:
        while not self._over.wait(TTY_INTERVAL_S if self._tty else PLAIN_INTERVAL_S):
            with self._lock:
                self._show()

    def _show(self) -> None:
        text = f"{self._title}: {self._detail}" if self._detail else self._title
        if self._tty:
            width = shutil.get_terminal_size().columns - 12
            self._out.write(f"\r\x1b[K  {text[:width]} ({self.elapsed_s:.0f} s)")
        else:
            again = "still " if self._detail == self._said and self._said else ""
            self._out.write(f"    {again}{self._detail or 'working'} ({self.elapsed_s:.0f} s)\n")
            self._said = self._detail

    def start(self) -> None:
        """Show the title and begin to count."""
        if not self._tty:
            self._out.write(f"  {self._title} ...\n")
        self._thread.start()

    def finish(self, outcome: str) -> None:
        """Replace the running line by its outcome."""
        self._over.set()
        self._thread.join()
        clear = "\r\x1b[K" if self._tty else ""
        self._out.write(f"{clear}  {outcome} ({self.elapsed_s:.1f} s)\n")


class Terminal:
    """Lines on a stream, by default standard output."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._out = Output(stream or sys.stdout)

    def say(self, text: str = "") -> None:
        """One line, or several."""
        self._out.write(text + "\n")

    def stream(self, text: str) -> None:
        """Text as it arrives, with no line break added."""
        self._out.write(text)

    @contextlib.contextmanager
    def step(self, title: str, done: str = "") -> Iterator[Step]:
        """Run a piece of work under a title; `done` is what stands there afterwards."""
        step = Step(self._out, title)
        step.start()
        try:
            yield step
        except BaseException:
            step.finish(f"{title}: failed")
            raise
        step.finish(done or f"{title}: done")
