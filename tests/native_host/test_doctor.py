"""`doctor` on installations that are sound and on ones that are broken in each way it knows."""

import json
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import tiny_gguf
from support.browsers.waiting import wait_until
from support.host_home import HostHome
from support.stats_rows import row

from native_host import runtime
from native_host.cli.check_runtime import check_daemon, check_folder
from native_host.cli.findings import Level
from native_host.cli.terminal import size
from native_host.stats_rows import Filter
from native_host.stats_store import StatsStore

EXTENSION = "chrome-extension://abcdefghijklmnopabcdefghijklmnop/"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="manifests are in the registry there")


@pytest.fixture
def home() -> Iterator[HostHome]:
    with HostHome() as home:
        home.env["XDG_CONFIG_HOME"] = str(home.folder / "xdg")
        yield home


def manifest_of(home: HostHome) -> Path:
    return home.folder / "xdg" / "chromium" / "NativeMessagingHosts" / "com.tabagent.native_host.json"


def register(home: HostHome, **changes: object) -> Path:
    """Register a launcher of this checkout with Chromium; returns the launcher."""
    launcher = home.folder / "launcher"
    root = runtime.source_root()
    launcher.write_text(
        f"#!{sys.executable} -ISE\nimport sys\nsys.path.insert(0, {root!r})\n"
        "from native_host.relay import main\nmain()\n",
        encoding="utf-8",
    )
    launcher.chmod(0o755)
    manifest = {
        "name": "com.tabagent.native_host",
        "description": "test",
        "path": str(launcher),
        "type": "stdio",
        "allowed_origins": [EXTENSION],
        **changes,
    }
    manifest_of(home).parent.mkdir(parents=True)
    manifest_of(home).write_text(json.dumps(manifest), encoding="utf-8")
    return launcher


def lines_of(home: HostHome, *levels: Level) -> list[str]:
    """The doctor's lines of some levels, each with its remedy; nothing it says is ever a traceback."""
    done = home.run("doctor")
    assert "Traceback" not in done.stdout + done.stderr
    assert (done.returncode == 1) == ("\nFAIL" in done.stdout)
    joined = done.stdout.replace("\n" + " " * 22 + "->", " ->")
    return [line for line in joined.splitlines() if line.startswith(levels)]


def one_line(home: HostHome, level: Level, text: str) -> str:
    found = [line for line in lines_of(home, level) if text in line]
    assert len(found) == 1, home.run("doctor").stdout
    return found[0]


def test_a_registered_launcher_is_started_as_the_browser_does_and_answers(home: HostHome) -> None:
    register(home)
    good = lines_of(home, Level.OK)
    assert any("registered in" in line and "1 extension" in line for line in good)
    assert any(f"launcher {home.folder / 'launcher'} answered in" in line for line in good)
    for subject in ("python", "packages", "configuration", "data folder", "log folder", "disk", "runtime folder"):
        assert any(line[6:22].strip() == subject for line in good), subject


def test_without_any_registration_the_own_relay_is_tried(home: HostHome) -> None:
    good = lines_of(home, Level.OK)
    assert any("the relay of this installation answered" in line for line in good)


def test_a_launcher_that_is_gone_is_a_failure_with_the_remedy(home: HostHome) -> None:
    register(home).unlink()
    assert "-> Run python3 install.py." in one_line(home, Level.FAIL, "The launcher")


def test_a_launcher_that_does_not_talk_is_a_failure(home: HostHome) -> None:
    register(home).write_text("#!/bin/sh\necho 'cannot find my files' >&2\nexit 3\n", encoding="utf-8")
    line = one_line(home, Level.FAIL, "does not answer")
    assert "cannot find my files" in line
    assert "tabagent-host logs" in line


def test_a_manifest_that_no_browser_takes_is_a_failure(home: HostHome) -> None:
    register(home, type="http")
    assert one_line(home, Level.FAIL, str(manifest_of(home)))


def test_an_extension_that_the_configuration_blocks_is_a_warning(home: HostHome) -> None:
    register(home)
    home.write_config(f'[origins]\nblocked = ["{EXTENSION}"]\n')
    assert "origins.blocked" in one_line(home, Level.WARN, "forbids it")


def test_a_bad_configuration_is_a_failure_with_its_line(home: HostHome) -> None:
    home.write_config("[daemon]\nidle_exit = 3\n")
    assert "line 2" in one_line(home, Level.FAIL, "configuration ")


def test_options_for_loading_are_told_and_those_of_no_model_or_that_it_cannot_have_are_warnings(
    home: HostHome,
) -> None:
    models = home.data_dir / "models"
    models.mkdir(parents=True)
    for name in ("a.gguf", "long.gguf", "adapted.gguf", "typed.gguf"):
        tiny_gguf.write_tiny(models / name, context=128)
    home.write_config(
        "[load]\ncontext_length = 16384\n[load.models.'a.gguf']\nthreads = 1\nkeep_alive_s = inf\n"
        f"[load.models.'{models}/a.gguf']\nthreads = 2\n[load.models.'b.gguf']\n"
        "[load.models.'long.gguf']\ncontext_length = 129\n[load.models.'adapted.gguf']\nlora = '/none.gguf'\n"
        "[load.models.'typed.gguf']\ndtype = \"q4\"\n"
    )
    lines = [line[6:] for line in lines_of(home, Level.OK, Level.WARN) if line[6:].startswith("load options")]
    begins = (
        "load options    all models: context_length 16384",
        "load options    a.gguf: threads 1, keep_alive_s inf",
        f"load options    [load.models.'{models}/a.gguf'] is of the same model as [load.models.'a.gguf'] -> Move",
        f"load options    [load.models.'b.gguf']: No model file at b.gguf in {models}. Give a name",
        "load options    [load.models.'long.gguf']: The model was trained on contexts of up to 128 tokens; 129 is more",
        "load options    [load.models.'adapted.gguf']: there is no /none.gguf -> Mend the path",
        "load options    [load.models.'typed.gguf']: The llamacpp backend cannot do dtype; leave it out. -> Until it",
    )
    assert len(lines) == len(begins)
    assert [line for line, begin in zip(lines, begins, strict=True) if not line.startswith(begin)] == []


def test_corrupt_statistics_are_a_warning_and_are_left_alone(home: HostHome) -> None:
    home.data_dir.mkdir()
    file = home.data_dir / "stats.sqlite3"
    file.write_bytes(b"no database" * 1000)
    assert "Nothing to do" in one_line(home, Level.WARN, "is corrupt")


def test_the_size_of_the_statistics_has_the_rows_that_are_beside_their_file(home: HostHome) -> None:
    home.data_dir.mkdir()
    file = home.data_dir / "stats.sqlite3"
    store = StatsStore(file)
    try:
        for _ in range(500):
            store.record(row())
        wait_until("the rows", lambda: len(store.page(Filter(), 0)[0]) == 500)
        assert file.with_name(file.name + "-wal").stat().st_size > file.stat().st_size
        told = size(sum(part.stat().st_size for part in home.data_dir.iterdir()))
        assert one_line(home, Level.OK, "statistics").endswith(f", {told}")
    finally:
        store.close()


def test_a_folder_that_cannot_be_made_is_a_warning(home: HostHome) -> None:
    home.log_dir.write_bytes(b"")
    assert "TABAGENT_LOG_DIR" in one_line(home, Level.WARN, "log folder")


def test_a_runtime_folder_open_to_others_is_a_warning(home: HostHome) -> None:
    home.runtime_dir.mkdir()
    home.runtime_dir.chmod(0o755)
    assert f"chmod 700 '{home.runtime_dir}'" in one_line(home, Level.WARN, "can be read by others")


def test_a_socket_of_a_killed_daemon_is_a_warning_and_does_not_matter(home: HostHome) -> None:
    home.runtime_dir.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(home.runtime_dir / runtime.SOCKET))
    assert "takes its place" in one_line(home, Level.WARN, "left from a daemon")
    assert stat.S_ISSOCK((home.runtime_dir / runtime.SOCKET).stat().st_mode)
    assert not lines_of(home, Level.WARN) or all("socket" not in line for line in lines_of(home, Level.WARN))


def test_a_runtime_path_too_long_for_a_socket_is_a_failure(home: HostHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(runtime.RUNTIME_DIR_VARIABLE, str(home.folder / ("x" * 100)))
    (finding,) = check_folder()
    assert finding.level is Level.FAIL
    assert "longer than" in finding.text


def test_a_runtime_folder_that_is_a_file_is_a_failure(home: HostHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home.runtime_dir.write_bytes(b"")
    monkeypatch.setenv(runtime.RUNTIME_DIR_VARIABLE, str(home.runtime_dir))
    assert [finding.level for finding in check_folder()] == [Level.FAIL]


def test_a_daemon_of_another_version_is_a_warning(home: HostHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home.run("chat", "--model", "echo", stdin="one")
    facts = home.runtime_dir / runtime.DAEMON_FACTS
    facts.write_text(facts.read_text().replace(runtime.VERSION, "0.0.1"))
    monkeypatch.setenv(runtime.RUNTIME_DIR_VARIABLE, str(home.runtime_dir))
    (finding,) = check_daemon()
    assert finding.level is Level.WARN
    assert finding.remedy == "Restart it: tabagent-host stop"


@pytest.mark.parametrize("package", ["psutil", "pydantic", "platformdirs"])
def test_a_missing_package_is_a_failure_and_not_a_crash(home: HostHome, package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from native_host.cli import main; sys.exit(main(['doctor']))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=home.env,
        cwd=runtime.source_root(),
    )
    assert done.returncode == 1
    assert f"FAIL  packages        {package} is missing" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_doctor_registers_and_mends_nothing(home: HostHome) -> None:
    register(home).chmod(0o644)
    before = manifest_of(home).read_bytes()
    assert "chmod +x" in one_line(home, Level.FAIL, "may not be run")
    assert manifest_of(home).read_bytes() == before
    assert not (home.config_dir / "config.toml").exists()
