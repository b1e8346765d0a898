"""install.py as a user types it."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from installer import cli

ROOT = Path(__file__).parents[2]


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = ("TABAGENT_DATA_DIR", "TABAGENT_CONFIG_DIR", "TABAGENT_LOG_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
    env = {name: value for name, value in os.environ.items() if name not in kept}
    return subprocess.run(
        [sys.executable, "install.py", *arguments],
        cwd=ROOT,
        env={**env, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_python_3_8_can_read_it_and_is_told_what_to_do() -> None:
    source = (ROOT / "install.py").read_text()
    ast.parse(source, feature_version=(3, 8))
    script = (
        "import sys; sys.version_info = (3, 8, 0, 'final', 0); sys.argv = ['install.py']\n"
        "import runpy; runpy.run_path('install.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "apt install python3" in done.stderr


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_that_cannot_make_environments_is_told_the_package(module: str) -> None:
    script = (
        "import importlib.util, sys; found = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name: None if name == {module!r} else found(name)\n"
        "sys.argv = ['install.py']; import runpy; runpy.run_path('install.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "sudo apt install python3-venv" in done.stderr


def test_help_names_every_command_and_exit_status(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("install", "check", "status", "uninstall", "exit status"))


def test_a_dry_run_in_an_empty_home_writes_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "--dry-run", "--browser", "chromium", "--extension-id", "a" * 32)
    assert done.returncode == 0, done.stderr
    assert "a" * 32 in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--extension-id", "nonsense"), "is not an extension id"),
        (("--browser", "netscape"), "Known: chrome,"),
        (("--host-name", "Bad-Name"), "is not a host name"),
        (("--engines", "cuda"), "is not an engine"),
        (("check",), "Nothing is installed"),
        (("--dry-run", "--prefix", "caf\udce9"), "is not UTF-8"),
    ],
)
def test_a_mistake_is_one_message_without_a_traceback(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("uninstall", "--browser", "firefox"), "--browser is an option of install, not of uninstall"),
        (("uninstall", "--extension-id", "a" * 32), "--extension-id is an option of install"),
        (("install", "--purge"), "--purge is an option of uninstall"),
        (("check", "--dry-run"), "--dry-run is an option of install and uninstall, not of check"),
        (("--dry-run", "--prefix", ""), "it is empty"),
    ],
)
def test_an_option_that_would_not_be_heeded_is_refused(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_every_option_says_which_commands_heed_it() -> None:
    everywhere = {"help", "command", "prefix", "system", "host_name", "prove_model", "prove_backend"}
    assert {action.dest for action in cli._parser()._actions} == everywhere | set(cli.OPTIONS_OF)
    assert {command for commands in cli.OPTIONS_OF.values() for command in commands} <= set(cli.COMMANDS)


def test_a_tilde_that_the_shell_left_means_the_home(tmp_path: Path) -> None:
    done = run(tmp_path, "--dry-run", "--prefix=~/here", "--user-data-dir=~/a profile")
    assert done.returncode == 0, done.stderr
    assert f"launcher     {tmp_path}/here/" in done.stdout
    assert f"{tmp_path}/a profile/NativeMessagingHosts/" in done.stdout


def test_a_user_without_a_home_is_told_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert cli.main(["status"]) == 1
    assert "Set HOME" in capsys.readouterr().err


def test_a_reader_that_leaves_and_a_poor_encoding_do_not_stop_the_work(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "install.py", "--dry-run", "--prefix", str(tmp_path / "Zoë")],
        cwd=ROOT,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONIOENCODING": "ascii"},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_status_of_an_empty_home_says_how_to_install(tmp_path: Path) -> None:
    done = run(tmp_path, "status")
    assert done.returncode == 1
    assert "python3 install.py" in done.stdout


def test_a_home_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file where the home should be")
    done = run(home, "--browser", "chromium")
    assert done.returncode == 1
    assert "You may not write" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_checkout_with_a_part_missing_is_one_message(tmp_path: Path) -> None:
    part = tmp_path / "part"
    for name in ("installer", "manifests"):
        shutil.copytree(ROOT / name, part / name)
    for name in ("install.py", "pyproject.toml"):
        shutil.copy(ROOT / name, part)
    done = subprocess.run(
        [sys.executable, "install.py", "--prefix", str(tmp_path / "p"), "--user-data-dir", str(tmp_path / "q")],
        cwd=part,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "The checkout is not whole" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_installer_needs_the_standard_library_alone(tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import installer.cli, pathlib\n"
        "files = [getattr(module, '__file__', None) or '' for module in list(sys.modules.values())]\n"
        "print([file for file in files if 'site-packages' in file])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
