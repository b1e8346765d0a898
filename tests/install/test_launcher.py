"""The launcher: its text on each system, and that what is written here really starts."""

import os
import struct
import subprocess
import sys
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import pytest
from support.install_machine import write_stub_host

from installer import launcher
from installer.platforms import Platform
from installer.prove import HostProcess

LINUX = Platform("linux", PurePosixPath("/home/ada"), {})
ORIGIN = "chrome-extension://" + "a" * 32 + "/"


def text(file: launcher.LauncherFile) -> str:
    return file.content.decode()


def test_the_launcher_is_a_python_stub_with_an_isolated_interpreter() -> None:
    prefix = PurePosixPath("/home/ada/p")
    (file,) = launcher.render(LINUX, prefix, prefix / "venv/bin/python3", prefix / "venv/lib/site-packages")
    assert str(file.path) == "/home/ada/p/tabagent-native-host"
    assert file.mode == 0o755
    assert text(file).startswith("#!/home/ada/p/venv/bin/python3 -ISE\n")
    assert "sys.path.insert(0, '/home/ada/p/venv/lib/site-packages')" in text(file)


@pytest.mark.parametrize("folder", ["/Users/ada/Library/Application Support/x", "/" + "long/" * 30])
def test_where_a_first_line_cannot_name_the_interpreter_a_shell_script_does(folder: str) -> None:
    prefix = PurePosixPath(folder)
    script, stub = launcher.render(LINUX, prefix, prefix / "venv/bin/python3", prefix / "lib")
    assert text(script).startswith("#!/bin/sh\nexec ")
    assert "-I -S -E" in text(script)
    assert stub.path.name == launcher.STUB_NAME


def test_on_windows_it_is_a_batch_file_with_no_path_in_it() -> None:
    prefix = PureWindowsPath("C:\\Users\\Zoë 100%\\AppData\\Local\\tabagent-native-host")
    platform = Platform("windows", PureWindowsPath("C:\\Users\\Zoë 100%"), {})
    python = prefix / "venv" / "Scripts" / "python.exe"
    batch, stub = launcher.render(platform, prefix, python, prefix / "venv" / "Lib" / "site-packages")
    assert batch.path.name == "tabagent-native-host.bat"
    assert text(batch) == (
        '@echo off\r\n"%~dp0venv\\Scripts\\python.exe" -I -S -E "%~dp0tabagent-native-host-stub.py" %*\r\n'
    )
    assert "'C:\\\\Users\\\\Zoë 100%\\\\" in text(stub)
    compile(text(stub), "stub", "exec")


def write(prefix: Path) -> Path:
    """Write a launcher that starts the stub host with this Python, linked into a folder like an environment's."""
    prefix.mkdir(parents=True)
    write_stub_host(prefix / "site-packages")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(prefix / "venv")], check=True, timeout=60)
    files = launcher.render(LINUX, prefix, prefix / "venv/bin/python3", prefix / "site-packages")
    for file in files:
        Path(file.path).write_bytes(file.content)
        Path(file.path).chmod(file.mode)
    return Path(files[0].path)


@pytest.mark.parametrize("folder", ["plain", "with spaces and 'quotes' and $x", "é" * 70])
def test_a_browser_can_start_it_wherever_it_is(tmp_path: Path, folder: str) -> None:
    path = write(tmp_path / folder)
    with HostProcess(path, ORIGIN) as host:
        (pong,) = host.call({"id": 1, "action": "ping"})
    assert pong["version"] == "stub"


def test_the_users_python_settings_do_not_reach_it(tmp_path: Path) -> None:
    path = write(tmp_path / "p")
    trap = tmp_path / "trap"
    write_stub_host(trap)
    (trap / "native_host" / "relay.py").write_text("raise SystemExit('trapped')")
    (trap / "json.py").write_text("raise SystemExit('trapped')")
    env = {**os.environ, "PYTHONPATH": str(trap), "PYTHONHOME": "/nowhere", "PYTHONSTARTUP": "/nowhere"}
    body = b'{"id": 1, "action": "ping"}'
    done = subprocess.run(
        [str(path), ORIGIN],
        input=struct.pack("=I", len(body)) + body,
        capture_output=True,
        env=env,
        cwd=trap,
        timeout=30,
        check=True,
    )
    assert b'"version": "stub"' in done.stdout


def test_no_launcher_holds_an_unprintable_first_line() -> None:
    prefix: PurePath = PurePosixPath("/p")
    (file,) = launcher.render(LINUX, prefix, prefix / "python3", prefix)
    assert len(text(file).splitlines()[0]) <= launcher.SHEBANG_LIMIT
