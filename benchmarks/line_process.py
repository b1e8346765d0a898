"""A reference engine in a process of its own: a JSON request a line on its stdin, a JSON answer a line on its stdout.

Above it: the references, each a class that asks and a program that answers. Below it: nothing of ours but the frames'
types.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from messages.frames import JsonObject

CLOSE_TIMEOUT_S = 30.0

Answer = Callable[[JsonObject], JsonObject]


class LineProcess:
    """The other process, seen from here; what it says on stderr is dropped."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        """Start `command` in `folder`."""
        self._command = command
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, request: JsonObject) -> JsonObject:
        """Send a request and wait for its answer. RuntimeError if the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the reference has gone; to see why: {' '.join(self._command)}")
        answer: JsonObject = json.loads(line)
        return answer

    def close(self) -> None:
        """Let it end by closing its stdin; kill it if it does not."""
        try:
            self._process.communicate(timeout=CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def answer_lines(make: Callable[[], Answer]) -> None:
    """Make the engine and answer requests until stdin ends; stdout is for answers alone, whatever an engine prints."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer = make()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
