"""The commands of `tabagent-host`, each run as a person runs it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest
from support.browsers.waiting import wait_until
from support.host_home import HostHome
from support.host_process import BrowserHost

from native_host import runtime
from native_host.cli.lifecycle import NOT_RUNNING
from native_host.cli.running import say_leave
from native_host.cli.terminal import duration, printable, size
from native_host.config_toml import render_default_toml

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and files; nothing to install")


@pytest.fixture
def home() -> Iterator[HostHome]:
    with HostHome() as home:
        yield home


def test_help_names_every_command(home: HostHome) -> None:
    text = home.run("--help").stdout
    for command in ("chat", "status", "stats", "stop", "serve", "logs", "config", "doctor", "version"):
        assert f"\n    {command} " in text
        assert home.run(command, "--help").returncode == 0


def test_the_version_is_printed(home: HostHome) -> None:
    assert home.run("version").stdout == f"tabagent-host {runtime.VERSION}\n"


def test_status_of_no_daemon_says_so_with_its_own_exit_code_and_starts_none(home: HostHome) -> None:
    done = home.run("status")
    assert done.returncode == NOT_RUNNING
    assert "not running" in done.stdout
    assert not home.runtime_dir.exists()


def test_stop_without_a_daemon_is_success(home: HostHome) -> None:
    done = home.run("stop")
    assert done.returncode == 0
    assert "nothing to stop" in done.stdout


def test_chat_answers_what_is_piped_in_on_stdout_alone(home: HostHome) -> None:
    done = home.run("chat", "--model", "echo", stdin="Grüße an alle\n")
    assert (done.returncode, done.stdout) == (0, "Grüße an alle\n")
    assert "[3 tokens" in done.stderr


def test_one_token_is_told_as_one(home: HostHome) -> None:
    assert "[1 token," in home.run("chat", "--model", "echo", stdin="one\n").stderr
    text = home.run("stats").stdout
    assert "1 token read, 0 of them from the cache, 1 written" in text
    assert ": 1 token in, 1 out" in text


def test_chat_takes_its_model_from_the_configuration(home: HostHome) -> None:
    home.write_config('[models]\ndefault = "echo"\n')
    assert home.run("chat", stdin="hello").stdout == "hello\n"


def test_chat_says_what_is_wrong_in_one_sentence(home: HostHome) -> None:
    for arguments, stdin, expected in (
        (["--model", "nope"], "hello", "No model file at nope"),
        (["--model", "echo"], " \n", "no question"),
    ):
        done = home.run("chat", *arguments, stdin=stdin)
        assert (done.returncode, done.stdout) == (1, "")
        assert expected in done.stderr
        assert "Traceback" not in done.stderr


def test_chat_reads_stdin_that_is_not_utf_8(home: HostHome) -> None:
    assert home.run("chat", "--model", "echo", stdin=b"caf\xe9").stdout == "caf\N{REPLACEMENT CHARACTER}\n"


def test_status_shows_models_and_stop_ends_the_daemon(home: HostHome) -> None:
    home.run("chat", "--model", "echo", stdin="one two")
    pid = home.daemon_pid()
    status = home.run("status")
    assert status.returncode == 0
    assert f"pid {pid}, version {runtime.VERSION}" in status.stdout
    assert "echo: ready" in status.stdout
    stopped = home.run("stop")
    assert f"Stopped the daemon (pid {pid})" in stopped.stdout
    assert home.run("status").returncode == NOT_RUNNING


def test_a_daemon_leaves_in_good_order_by_a_word_of_its_user(home: HostHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home.run("chat", "--model", "echo", stdin="one")
    log = home.log_dir / "daemon.log"
    monkeypatch.setenv(runtime.RUNTIME_DIR_VARIABLE, str(home.runtime_dir))
    assert say_leave()
    wait_until("the daemon's end", lambda: home.run("status").returncode == NOT_RUNNING)
    assert "tabagent.daemon: leaving" in log.read_text(encoding="utf-8")
    assert not say_leave()


def test_a_line_break_in_a_models_name_makes_no_line_of_its_own(home: HostHome) -> None:
    name = "a\nmodel   forged: ready"
    with BrowserHost() as host:
        assert host.one_shot({"action": "load", "model": name, "backend": "echo"})["status"] == "success"
        (line,) = [line for line in host.home.run("status").stdout.splitlines() if "forged" in line]
        assert line.startswith(r"model   a\nmodel   forged: ready: ready")
        assert not any(line.startswith("model") for line in host.log.splitlines())
        assert r"loaded a\nmodel   forged: ready with ECHO" in host.log


@posix_only
def test_a_daemon_that_does_not_leave_is_killed_only_with_force(home: HostHome) -> None:
    home.run("chat", "--model", "echo", stdin="one")
    pid = home.daemon_pid()
    os.kill(pid, signal.SIGSTOP)
    done = home.run("stop", "--force")
    assert done.returncode == 0
    assert f"Killed the daemon (pid {pid})" in done.stdout


@posix_only
def test_serve_runs_in_the_foreground_with_its_log_and_leaves_on_ctrl_c(home: HostHome) -> None:
    process = subprocess.Popen(
        home.command("serve"), env=home.env, cwd=runtime.source_root(), stderr=subprocess.PIPE, text=True
    )
    wait_until("the daemon to listen", (home.runtime_dir / runtime.DAEMON_FACTS).exists)
    second = home.run("serve")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "serving in" in errors
    assert second.returncode == 1
    assert f"A daemon runs already (pid {process.pid})" in second.stderr


def test_serve_with_a_bad_configuration_says_what_to_mend(home: HostHome) -> None:
    home.write_config("[daemon]\nidle_exit = 1\n")
    done = home.run("serve")
    assert done.returncode != 0
    assert "line 2: daemon.idle_exit: is not a known field" in done.stderr
    assert "Traceback" not in done.stderr


def test_logs_shows_the_end_and_says_if_there_is_none(home: HostHome) -> None:
    none = home.run("logs")
    assert none.returncode == 1
    assert "no log yet" in none.stderr
    home.run("chat", "--model", "echo", stdin="one")
    done = home.run("logs", "-n", "1")
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert home.run("logs", "-n", "x").returncode == 2


@posix_only
def test_logs_follows_over_a_rotation_until_ctrl_c(home: HostHome) -> None:
    home.log_dir.mkdir()
    file, shown = home.log_dir / "daemon.log", home.folder / "shown"
    file.write_text("old\n" * 50, encoding="utf-8")

    def expect(text: str) -> None:
        wait_until(repr(text), lambda: shown.read_text(encoding="utf-8") == text)

    with shown.open("w") as output:
        command = home.command("logs", "-f", "-n", "1")
        process = subprocess.Popen(command, env=home.env, cwd=runtime.source_root(), stdout=output)
    expect("old\n")
    with file.open("a", encoding="utf-8") as stream:
        stream.write("added\n")
    expect("old\nadded\n")
    file.rename(file.with_name("daemon.log.1"))
    file.write_text("rotated\n", encoding="utf-8")
    expect("old\nadded\nrotated\n")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130


def test_config_prints_and_writes_every_default_once(home: HostHome) -> None:
    assert home.run("config").stdout == render_default_toml()
    assert home.run("config", "--path").stdout.strip() == str(home.config_dir / "config.toml")
    assert home.run("config", "--write").returncode == 0
    assert (home.config_dir / "config.toml").read_text(encoding="utf-8") == render_default_toml()
    again = home.run("config", "--write")
    assert again.returncode == 1
    assert "is there already" in again.stderr


def test_config_replaces_no_link_that_leads_nowhere(home: HostHome) -> None:
    file = home.config_dir / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.symlink_to(home.config_dir / "elsewhere.toml")
    done = home.run("config", "--write")
    assert done.returncode == 1
    assert "is there already" in done.stderr
    assert file.is_symlink()
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]


def test_config_that_cannot_be_written_is_one_sentence(home: HostHome) -> None:
    home.config_dir.write_bytes(b"")
    done = home.run("config", "--write")
    assert done.returncode == 1
    assert "Cannot write" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_command_is_refused_with_the_list(home: HostHome) -> None:
    done = home.run("dance")
    assert done.returncode == 2
    assert "doctor" in done.stderr


def test_no_process_is_left_after_stop(home: HostHome) -> None:
    home.run("chat", "--model", "echo", stdin="one")
    process = psutil.Process(home.daemon_pid())
    family = [process, *process.children(recursive=True)]
    home.run("stop")
    for member in family:
        wait_until("it to be gone", lambda: not _is_alive(member))  # noqa: B023 - called in this turn of the loop


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_sizes_and_times_are_for_people() -> None:
    assert [size(count) for count in (None, 999, 4_200_000, 5e12)] == ["unknown size", "999 bytes", "4.2 MB", "5.0 TB"]
    assert [duration(seconds) for seconds in (-1, 59.9, 200, 7500, 90_000)] == [
        "0 s",
        "59 s",
        "3 min",
        "2 h 5 min",
        "1 d 1 h",
    ]


def test_text_of_a_model_cannot_take_over_the_terminal() -> None:
    assert printable("a\x1b]0;title\x07b\r\x9b2Jc\n\td") == "a]0;titleb2Jc\n\td"
