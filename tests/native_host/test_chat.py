"""The terminal chat on a real terminal: streaming, Ctrl-C, commands, and a daemon that dies under it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest
from support.browsers.waiting import wait_until
from support.host_home import HostHome
from support.scripted_gguf import THINKING, write_scripted

from messages.actions import ActionType
from messages.replies import Loaded
from native_host import runtime
from native_host.client import HostClient

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX; nothing to install")


_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes the pseudo-terminal the one of its new session, so that Ctrl-C reaches it, then becomes a command."""


class Terminal:
    """`tabagent-host chat` on a pseudo-terminal."""

    def __init__(self, home: HostHome, *arguments: str) -> None:
        self._main, side = os.openpty()
        os.set_blocking(self._main, False)
        self._seen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *home.command("chat", *arguments)],
            stdin=side,
            stdout=side,
            stderr=side,
            env={**home.env, "TERM": "xterm"},
            cwd=runtime.source_root(),
            start_new_session=True,
        )
        os.close(side)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._main)

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def expect(self, text: str) -> str:
        """Wait for text, and return everything up to it; the next call looks behind it."""
        wait_until(f"{text!r} on the terminal", lambda: self._read(text), 30)
        before, _, self._seen = self._seen.partition(text)
        return before

    def _read(self, text: str) -> bool:
        try:
            self._seen += os.read(self._main, 65536).decode("utf-8", "replace")
        except (BlockingIOError, OSError):
            return text in self._seen
        return text in self._seen


@pytest.fixture
def home() -> Iterator[HostHome]:
    with HostHome() as home:
        yield home


def load_slow_echo(home: HostHome, monkeypatch: pytest.MonkeyPatch, **options: float) -> None:
    """Load the echo model at a rate that a test can act within; the chat then finds it loaded."""
    for name, value in home.env.items():
        monkeypatch.setenv(name, value)
    with HostClient() as client:
        client.call(ActionType.LOAD, Loaded, model="echo", backend="echo", options=options)


def test_an_answer_is_followed_by_its_figures(home: HostHome) -> None:
    with Terminal(home, "--model", "echo") as terminal:
        terminal.expect("echo on ECHO")
        terminal.expect("> ")
        terminal.type("one two three\r")
        terminal.expect("one two three\r\n")
        terminal.expect("one two three\r\n")
        terminal.expect("[3 tokens, ")
        terminal.expect("tokens/s, first after ")
        terminal.type("/quit\r")
        assert terminal.process.wait(20) == 0


def test_a_model_is_loaded_as_is_configured_and_its_context_is_shown(home: HostHome) -> None:
    home.write_config("[load]\ncontext_length = 512\n")
    with Terminal(home, "--model", "demo") as terminal:
        terminal.expect("demo on ")
        assert ", 512 tokens of context" in terminal.expect("> ")


def test_what_a_model_thinks_is_shown_before_its_answer_and_kept_out_of_a_pipe(home: HostHome, tmp_path: Path) -> None:
    thinker = write_scripted(tmp_path / "m.gguf", "Hm, two.\n</think>\n\nIt is 4.", THINKING)
    with Terminal(home, "--model", str(thinker)) as terminal:
        terminal.expect("> ")
        terminal.type("2 + 2?\r")
        terminal.expect("Hm")
        terminal.expect("It is 4.\r\n")
    asked = home.run("chat", "--model", str(thinker), stdin="2 + 2?")
    assert asked.stdout == "It is 4.\n"
    assert "Hm" not in asked.stderr


def test_ctrl_c_stops_the_answer_and_not_the_program(home: HostHome, monkeypatch: pytest.MonkeyPatch) -> None:
    load_slow_echo(home, monkeypatch, tokens_per_second=5.0)
    with Terminal(home, "--model", "echo") as terminal:
        terminal.expect("> ")
        terminal.type("one two three four five six seven eight nine ten\r")
        terminal.expect("\n")
        terminal.expect("two")
        terminal.type("\x03")
        assert "ten" not in terminal.expect("stopped]")
        terminal.expect("> ")
        terminal.type("\x03")
        terminal.expect("Ctrl-D or /quit leaves.")
        terminal.expect("> ")
        terminal.type("\x04")
        assert terminal.process.wait(20) == 0


def test_a_long_prefill_is_shown(home: HostHome, monkeypatch: pytest.MonkeyPatch) -> None:
    load_slow_echo(home, monkeypatch, tokens_per_second=1000.0, prefill_ms=2500.0)
    with Terminal(home, "--model", "echo") as terminal:
        terminal.expect("> ")
        terminal.type("one two\r")
        terminal.expect("Reading prompt... (")
        terminal.expect("one two\r\n")


def test_a_daemon_killed_under_an_answer_is_told_and_the_next_question_works(
    home: HostHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_slow_echo(home, monkeypatch, tokens_per_second=5.0)
    with Terminal(home, "--model", "echo") as terminal:
        terminal.expect("> ")
        terminal.type("one two three four five six seven eight nine ten\r")
        terminal.expect("\n")
        terminal.expect("two")
        os.kill(home.daemon_pid(), signal.SIGKILL)
        terminal.expect("The host went away")
        terminal.type("again please\r")
        terminal.expect("again please\r\n")
        terminal.expect("again please\r\n")
        terminal.expect("[2 tokens")


def test_commands_change_the_conversation_and_unknown_ones_are_named(home: HostHome) -> None:
    with Terminal(home, "--model", "echo") as terminal:
        for line, answer in (
            ("/help", "Ctrl-C stops an answer"),
            ("/dance", "There is no /dance"),
            ("/system Be brief.", "Instructions set."),
            ("/system", "Instructions removed."),
            ("/clear", "Forgotten."),
            ("/model nope", "No model file at nope"),
            ("/model echo", "echo on ECHO"),
            ("still here", "[2 tokens"),
        ):
            terminal.expect("> ")
            terminal.type(f"{line}\r")
            terminal.expect("\n")
            terminal.expect(answer)


def test_a_home_that_cannot_be_written_does_not_keep_anyone_from_chatting(home: HostHome) -> None:
    home.data_dir.write_bytes(b"")
    home.log_dir.write_bytes(b"")
    done = home.run("chat", "--model", "echo", stdin="one two")
    assert (done.returncode, done.stdout) == (0, "one two\n")


def test_a_configuration_that_keeps_the_daemon_from_starting_is_told_with_its_line(home: HostHome) -> None:
    home.write_config("[worker]\nload_timeout_s = -1\n")
    done = home.run("chat", "--model", "echo", stdin="one two")
    assert (done.returncode, done.stdout) == (1, "")
    assert "line 2: worker.load_timeout_s: must be >= 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_runtime_folder_that_cannot_be_used_is_told(home: HostHome) -> None:
    home.runtime_dir.write_bytes(b"")
    done = home.run("chat", "--model", "echo", stdin="one two")
    assert done.returncode == 1
    assert str(home.runtime_dir) in done.stderr
    assert "tabagent-host doctor" in done.stderr
    assert "Traceback" not in done.stderr
