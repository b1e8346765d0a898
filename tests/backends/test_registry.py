"""The table of backends: complete rows, detection by content, missing told apart from broken."""

import ast
import importlib.metadata
import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import backends.demo
from backends.registry import BACKENDS, BackendRow, detect, row
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions
from messages.settings import InferenceSettings, SettingsPatch

ECHO = row("echo")


def error_of(call: object) -> HostError:
    with pytest.raises(HostError) as caught:
        call()  # type: ignore[operator]
    return caught.value


def test_names_are_unique_and_every_backend_has_what_a_reader_needs() -> None:
    assert len({one.name for one in BACKENDS}) == len(BACKENDS)
    for one in BACKENDS:
        assert one.formats
        assert (one.extra is None) == (one.modules == ()), one.name


@pytest.mark.parametrize("one", BACKENDS, ids=lambda one: one.name)
def test_what_a_row_names_is_there(one: BackendRow) -> None:
    for target in (one.target, one.describe, one.probe):
        if target is not None:
            module, _, attribute = target.partition(":")
            spec = importlib.util.find_spec(module)
            assert spec is not None
            assert spec.origin is not None
            source = Path(spec.origin).read_text(encoding="utf-8")
            assert f"class {attribute}" in source or f"def {attribute}" in source


@pytest.mark.parametrize("one", [one for one in BACKENDS if one.installed], ids=lambda one: one.name)
def test_a_backend_says_what_it_cannot_do_in_names_that_there_are(one: BackendRow) -> None:
    script = (
        f"from backends.registry import row; backend = row({one.name!r}).create(); "
        "print(sorted(backend.unsupported_settings), sorted(backend.response_formats))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    unsupported, formats = (set(part) for part in _lists(done.stdout))
    assert one.load_options <= set(LoadOptions.model_fields)
    assert unsupported <= set(InferenceSettings.model_fields) == set(SettingsPatch.model_fields)
    assert formats <= {"json_object", "json_schema", "grammar", "regex"}
    assert bool(formats & {"json_schema"}) == one.capabilities.json_schema


def _lists(text: str) -> list[list[str]]:
    return [ast.literal_eval(part + "]") for part in text.strip().split("]")[:-1]]


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    error = error_of(lambda: row("nothing"))
    assert error.code is ErrorCode.INVALID_REQUEST
    assert all(one.name in error.message for one in BACKENDS)


def test_a_path_is_taken_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"GGUF....")
    assert detect(tmp_path / "weights.bin").name == "llamacpp"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "folder" / "model.safetensors").write_bytes(b"")
    assert detect(tmp_path / "folder").name == "mlx_vlm"
    (tmp_path / "folder" / "genai_config.json").write_text("{}")
    assert detect(tmp_path / "folder").name == "onnx"


def test_a_gguf_by_name_alone_is_damaged_and_anything_else_unknown(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"<html>")
    assert error_of(lambda: detect(tmp_path / "model.gguf")).code is ErrorCode.MODEL_INVALID
    (tmp_path / "model.txt").write_bytes(b"hello")
    unknown = error_of(lambda: detect(tmp_path / "model.txt"))
    assert unknown.code is ErrorCode.UNKNOWN_FORMAT
    assert "GGUF" in unknown.message
    assert error_of(lambda: detect(tmp_path)).code is ErrorCode.UNKNOWN_FORMAT


def test_an_engine_that_is_not_there_is_missing_and_says_how_to_install_it() -> None:
    missing = replace(ECHO, name="ghost", modules=("ghost_engine",), extra="onnx", distribution="ghost-engine")
    assert not missing.installed
    assert missing.version is None
    error = error_of(missing.create)
    assert error.code is ErrorCode.ENGINE_MISSING
    assert missing.install_command is not None
    assert error.details["install"] == missing.install_command
    assert missing.install_command.startswith(sys.executable)


def test_a_requirement_of_some_systems_alone_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        'mlx-vlm>=0.7.10; extra == "mlx"',
        'mlx[cpu]>=0.32.4; sys_platform == "linux" and extra == "mlx"',
        'other; extra == "onnx"',
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda distribution: lines)
    command = replace(ECHO, extra="mlx", modules=("mlx",)).install_command
    assert command is not None
    assert command.endswith(""""mlx-vlm>=0.7.10" "mlx[cpu]>=0.32.4; sys_platform == 'linux'\"""")


@pytest.mark.parametrize("line", ["raise ImportError('no libghost.so')", "import ctypes; ctypes.CDLL('libghost.so')"])
def test_an_engine_that_does_not_import_is_broken_and_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    (tmp_path / "broken_engine.py").write_text(f"{line}\n")
    monkeypatch.syspath_prepend(tmp_path)
    broken = replace(ECHO, name="ghost", modules=("broken_engine",), target="broken_engine:Backend", extra="onnx")
    assert broken.installed
    error = error_of(broken.create)
    assert error.code is ErrorCode.ENGINE_BROKEN
    assert "libghost.so" in error.message


def test_a_row_may_set_its_engines_environment_before_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHOST_TELEMETRY", "1")
    (tmp_path / "polite_engine.py").write_text(
        "import os\nassert os.environ['GHOST_TELEMETRY'] == '0'\nclass Backend: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    polite = replace(
        ECHO, modules=("polite_engine",), target="polite_engine:Backend", environment=(("GHOST_TELEMETRY", "0"),)
    )
    assert type(polite.create()).__name__ == "Backend"


def test_a_backend_without_an_engine_has_our_version_and_nothing_to_install() -> None:
    assert (ECHO.installed, ECHO.install_command) == (True, None)
    assert ECHO.read_probe().devices == ("cpu",)
    assert ECHO.read_description(Path("echo"), LoadOptions()).needed_bytes is None


def test_a_model_whose_engine_is_for_other_systems_is_told_so_and_not_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path(backends.demo.__file__).parent / "vision" / "mlx"
    monkeypatch.setattr(sys, "platform", "win32")
    found = detect(folder)
    error = error_of(found.require_installed)
    assert found.name == "mlx_vlm"
    assert error.code is ErrorCode.ENGINE_MISSING
    assert error.message == "The mlx_vlm engine runs on macOS and Linux alone; choose a model of another format."
    assert error.details == {"backend": "mlx_vlm"}
    assert found.install_command is None
