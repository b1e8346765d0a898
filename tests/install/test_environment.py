"""The environment and what pip's output becomes on the way to the terminal."""

import io
from pathlib import Path

import pytest
from support.install_machine import make_environment

from installer import engines
from installer.environment import Environment, PipError, clean_env, describe
from installer.errors import InstallError
from installer.terminal import Output, Step, Terminal


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An environment whose pip is a script that the test writes."""
    make_environment(tmp_path / "venv")
    return Environment(tmp_path / "venv", tmp_path / "install.log")


def write_pip(environment: Environment, script: str) -> None:
    (environment.site_packages() / "pip" / "__main__.py").write_text(script)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Collecting pydantic>=2.7 (from tabagent-native-host==0.1.0)", "looking for pydantic"),
        ("  Downloading onnxruntime-1.31.1-cp311-cp311-linux_x86_64.whl (17.1 MB)", "fetching onnxruntime 17.1 MB"),
        ("  Using cached numpy-2.4.0-cp311-cp311-linux_x86_64.whl", "fetching numpy"),
        ("  Building wheel for llama-cpp-python (pyproject.toml): started", "building llama-cpp-python"),
        ("Installing collected packages: a, b, c", "unpacking 3 packages"),
        ("Requirement already satisfied: numpy", None),
        ("", None),
    ],
)
def test_pips_lines_become_what_a_user_wants_to_know(line: str, told: str | None) -> None:
    assert describe(line) == told


def test_a_pip_that_fails_is_reported_with_its_last_lines_and_the_log(environment: Environment) -> None:
    write_pip(environment, "print('ERROR: No matching distribution found for x'); raise SystemExit(1)")
    with pytest.raises(PipError) as raised:
        environment.pip_install(["x"], Step(Output(io.StringIO()), "x"))
    assert raised.value.tail == ("ERROR: No matching distribution found for x",)
    assert "Python 3." in raised.value.remedy
    assert "No matching distribution" in environment.log.read_text()


def test_a_pip_that_hangs_is_stopped_in_time(environment: Environment) -> None:
    write_pip(environment, "import time; time.sleep(60)")
    with pytest.raises(PipError, match="took longer than 0 s"):
        environment.pip_install(["x"], Step(Output(io.StringIO()), "x"), timeout_s=0.3)


def test_a_pip_that_is_stopped_leaves_no_temporary_files(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    write_pip(environment, "import tempfile, time; print('MADE', tempfile.mkdtemp(), flush=True); time.sleep(60)")
    with pytest.raises(PipError, match="took longer"):
        environment.pip_install(["x"], Step(Output(io.StringIO()), "x"), timeout_s=3)
    made = [line.split()[1] for line in environment.log.read_text().splitlines() if line.startswith("MADE")]
    assert made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["install.log", "venv"]


def test_an_interrupted_pip_may_remove_its_temporary_files(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A terminal tells pip of Ctrl-C as well: it is not killed before it has tidied up."""
    tidied = tmp_path / "tidied"
    write_pip(environment, f"import sys, time; print('begun', flush=True); time.sleep(0.3); open({str(tidied)!r}, 'w')")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("installer.environment._follow", interrupt)
    monkeypatch.setattr("installer.environment.PIP_LEAVES_S", 60)  # a busy machine may take seconds to start it
    with pytest.raises(KeyboardInterrupt):
        environment.pip_install(["x"], Step(Output(io.StringIO()), "x"))
    assert tidied.exists()


def test_a_user_installation_and_other_pythons_are_not_passed_on(environment: Environment) -> None:
    write_pip(environment, "import os; print('PIP_USER', os.environ['PIP_USER'])")
    environment.pip_install(["x"], Step(Output(io.StringIO()), "x"))
    assert "PIP_USER 0" in environment.log.read_text()
    assert clean_env({"PYTHONPATH": "/x", "PIP_TARGET": "/y", "HTTPS_PROXY": "p"}) == {"HTTPS_PROXY": "p"}


def test_an_environment_whose_python_is_gone_does_not_work(environment: Environment) -> None:
    assert environment.works()
    environment.python.unlink()
    assert not environment.works()


def test_all_engines_are_those_that_make_sense_here_and_any_can_be_named() -> None:
    assert engines.expand([]) == ["onnx"]
    assert engines.expand(["mlx", "llamacpp"]) == ["onnx", "llamacpp", "mlx"]
    assert [name for name in engines.expand(["all"]) if name != "mlx"] == ["onnx", "llamacpp"]
    assert engines.expand(["mediapipe"]) == ["onnx", "mediapipe"]
    with pytest.raises(InstallError, match="not an engine"):
        engines.expand(["tensorrt"])


def test_a_step_that_takes_long_is_never_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("installer.terminal.PLAIN_INTERVAL_S", 0.01)
    out = Recorder(5)
    with Terminal(out).step("Working", "Worked") as step:
        step.update("fetching x")
        assert out.full.wait(10)
    assert "still fetching x" in out.getvalue()
    assert "Worked (" in out.getvalue()


def test_a_step_that_fails_says_so() -> None:
    out = io.StringIO()
    with pytest.raises(ValueError, match="x"), Terminal(out).step("Working"):
        raise ValueError("x")
    assert "Working: failed" in out.getvalue()


def test_on_a_terminal_a_step_is_one_line_that_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("installer.terminal.TTY_INTERVAL_S", 0.01)
    out = Recorder(3, tty=True)
    with Terminal(out).step("Working") as step:
        step.update("fetching x")
        assert out.full.wait(10)
    assert out.getvalue().count("\n") == 1


class Recorder(io.StringIO):
    """A stream that tells when it has been written to so many times."""

    def __init__(self, writes: int, *, tty: bool = False) -> None:
        import threading

        super().__init__()
        self.full, self._left, self._tty = threading.Event(), writes, tty

    def isatty(self) -> bool:
        return self._tty

    def write(self, text: str) -> int:
        self._left -= 1
        if self._left <= 0:
            self.full.set()
        return super().write(text)
