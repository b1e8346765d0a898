"""A fresh clone, an empty home, one command: text streams, and uninstalling leaves nothing behind."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CACHES = (".cache", ".rustup")


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """The environment of a new user; whatever daemon is started in it is stopped in the end."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "run").mkdir(mode=0o700)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TABAGENT_", "XDG_"))}
    env = {**kept, "HOME": str(home), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    yield env
    python = home / ".local/share/tabagent-native-host/venv/bin/python3"
    if python.exists():
        subprocess.run([str(python), "-I", "-m", "native_host", "stop"], env=env, timeout=30, check=False)


def install(clone: Path, env: Mapping[str, str], *arguments: str) -> str:
    command = [sys.executable, "install.py", *arguments]
    done = subprocess.run(
        command,
        cwd=clone,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_fresh_clone_streams_text_in_three_minutes_and_leaves_nothing(tmp_path: Path, env: Mapping[str, str]) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True, timeout=60)
    begun = time.monotonic()
    said = install(clone, env, "--browser", "chromium", "--browser", "firefox")
    assert time.monotonic() - begun < 180
    assert "What are you?" in said
    assert re.search(r"\d+ tokens at \d+ tokens/s", said), said
    assert "Registered with Chromium" in said
    assert "Next:" in said
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True, timeout=60
    )
    assert status.stdout == ""

    begun = time.monotonic()
    again = install(clone, env, "--browser", "chromium")
    assert time.monotonic() - begun < 20
    assert "The environment is up to date" in again
    assert "Already registered with Chromium" in again
    assert "All is well" in install(clone, env, "check", "--no-prove")

    install(clone, env, "uninstall", "--purge")
    left = [path for path in Path(env["HOME"]).rglob("*") if path.is_file()]
    home = Path(env["HOME"])
    assert [path for path in left if path.relative_to(home).parts[0] not in CACHES] == []
