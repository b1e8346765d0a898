"""Each engine is asked in a process of its own, whatever it prints there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backends.registry import BACKENDS, BackendRow
from native_host.runtime import source_root


@pytest.mark.parametrize("one", [one for one in BACKENDS if one.installed], ids=lambda one: one.name)
def test_an_engine_tells_its_version_and_devices(one: BackendRow, tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    command = [sys.executable, "-m", "backends.probe", one.name, str(answer)]
    subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=source_root())
    told = json.loads(answer.read_text())
    assert isinstance(told["version"], str)
    assert any("cpu" in device.lower() for device in told["devices"])


def test_an_engine_that_there_is_not_is_an_error_and_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "backends.probe", "ghost", str(tmp_path / "answer.json")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=source_root())
    assert done.returncode != 0
    assert "There is no backend 'ghost'" in done.stderr
    assert list(tmp_path.iterdir()) == []
