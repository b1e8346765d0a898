"""Proving a host that does not work: each way of failing is named."""

from pathlib import Path

import pytest

from installer.errors import InstallError
from installer.prove import HostProcess, Watcher, prove

ORIGIN = "chrome-extension://" + "a" * 32 + "/"


def host(folder: Path, script: str) -> Path:
    path = folder / "host"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def silent_watcher() -> Watcher:
    return Watcher(lambda _: None, lambda _: None)


def test_a_host_that_ends_at_once_is_reported_with_what_it_wrote(tmp_path: Path) -> None:
    launcher = host(tmp_path, "head -c 4 >/dev/null; echo 'no module named native_host' >&2; exit 1")
    with pytest.raises(InstallError, match="no module named native_host"):
        prove(launcher, ORIGIN, silent_watcher())


def test_a_host_that_prints_to_its_pipe_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=r"not a frame|closed its pipe"):
        prove(host(tmp_path, "echo hello; echo world"), ORIGIN, silent_watcher())


def test_a_host_that_cannot_be_started_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="does not start"):
        HostProcess(tmp_path / "missing", ORIGIN)


def test_a_silent_host_is_reported_and_killed(tmp_path: Path) -> None:
    with HostProcess(host(tmp_path, "cat >&2; :"), ORIGIN) as process:
        process.send({"id": 1, "action": "ping"})
        with pytest.raises(InstallError, match="said nothing"):
            process.receive(timeout_s=0.2)


def test_an_error_reply_is_reported_with_its_code(tmp_path: Path) -> None:
    body = '{"id": 1, "type": "result", "status": "error", "message": "No.", "error": {"code": "daemon_unavailable"}}'
    script = f"printf '\\\\{len(body):03o}\\\\000\\\\000\\\\000%s' '{body}'; cat >/dev/null"
    with pytest.raises(InstallError, match="daemon_unavailable: No"):
        prove(host(tmp_path, script.replace("\\\\", "\\")), ORIGIN, silent_watcher())
