"""What a command does with its standard streams: letters that it lacks, a full disk, a closed pipe, none at all."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest
from support.host_home import COMMAND_TIMEOUT_S, HostHome
from support.host_process import BrowserHost
from support.stats_rows import row

from native_host import runtime
from native_host.stats_database import Database

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX shells and pipes; nothing to install")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's; nothing to install")

ASCII_STREAMS = ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"})


@pytest.fixture
def home() -> Iterator[HostHome]:
    """A home with figures to show."""
    with HostHome() as home:
        with closing(Database(home.data_dir / "stats.sqlite3")) as database:
            database.insert([row(model="mödel", rate=10.0, age_s=100), row(model="mödel", rate=20.0)])
        yield home


def run_in_shell(home: HostHome, arguments: str, redirections: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with its streams redirected."""
    command = f"{shlex.join(home.command(*arguments.split()))} {redirections}"
    return _run(home, ["/bin/sh", "-c", command], subprocess.PIPE)


def _run(home: HostHome, command: list[str], stdout: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        env=home.env,
        cwd=runtime.source_root(),
    )


@pytest.mark.parametrize("environment", ASCII_STREAMS)
def test_letters_that_the_terminal_lacks_are_escaped_by_every_command(environment: dict[str, str]) -> None:
    with BrowserHost() as host:
        assert host.one_shot({"action": "load", "model": "mödel", "backend": "echo"})["status"] == "success"
        assert host.one_shot({"action": "generate", "model": "mödel", "prompt": "a", "stream": False})["text"] == "a"
        host.home.env.update(environment)
        for arguments in (("status",), ("stats",), ("logs",)):
            done = host.home.run(*arguments)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.isascii()
            assert r"m\xf6del" in done.stdout
        assert host.home.run("chat", "--model", "echo", stdin="Grüße").stdout == "Gr\\xfc\\xdfe\n"


@linux_only
@pytest.mark.parametrize("arguments", ["stats", "stats --csv -", "version", "--help"])
def test_a_full_disk_under_stdout_is_one_sentence(home: HostHome, arguments: str) -> None:
    done = run_in_shell(home, arguments, ">/dev/full")
    assert done.returncode == 1
    assert done.stderr == "tabagent-host: The output cannot be written: No space left on device.\n"


@linux_only
def test_a_full_disk_under_an_answer_is_one_sentence(home: HostHome) -> None:
    done = run_in_shell(home, "chat --model echo", ">/dev/full <<-END\none two\nEND\n")
    assert done.returncode == 1
    assert done.stderr == "tabagent-host: The output cannot be written: No space left on device.\n"


@posix_only
@pytest.mark.parametrize("arguments", ["stats", "stats --csv -", "version", "--help"])
def test_a_reader_that_has_left_is_silent_success(home: HostHome, arguments: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = _run(home, home.command(*arguments.split()), writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@posix_only
@pytest.mark.parametrize("arguments", ["stats", "stats --csv -", "version", "--help"])
def test_a_closed_stdout_is_as_good_as_the_null_device(home: HostHome, arguments: str) -> None:
    done = run_in_shell(home, arguments, ">&-")
    assert (done.returncode, done.stderr) == (0, "")


@posix_only
def test_closed_streams_keep_no_command_from_its_exit_code(home: HostHome) -> None:
    assert run_in_shell(home, "status", ">&- 2>&-").returncode == 3
    assert run_in_shell(home, "logs", "<&- >&- 2>&-").returncode == 1
    asked = run_in_shell(home, "chat --model echo", "<&-")
    assert asked.returncode == 1
    assert "There is no question on stdin" in asked.stderr
