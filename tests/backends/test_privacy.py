"""Engines tell nobody anything: they leave no identifier in the user's home when they are started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends.registry import BACKENDS, BackendRow
from native_host.runtime import source_root


@pytest.mark.parametrize("row", [row for row in BACKENDS if row.installed], ids=lambda row: row.name)
def test_an_engine_that_starts_leaves_nothing_in_the_home(row: BackendRow, tmp_path: Path) -> None:
    home, answer = tmp_path / "home", tmp_path / "answer.json"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_", "TABAGENT_"))}
    done = subprocess.run(
        [sys.executable, "-P", "-s", "-m", "backends.probe", row.name, str(answer)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**kept, "HOME": str(home), "PYTHONPATH": source_root()},
    )
    assert done.returncode == 0, done.stderr
    assert answer.exists()
    assert [str(path.relative_to(home)) for path in home.rglob("*")] == []
