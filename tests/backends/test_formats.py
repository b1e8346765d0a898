"""What a path holds is told by its bytes or its layout, never by its name."""

import os
from pathlib import Path

import pytest

from backends.formats import damage_of, is_genai_folder, is_gguf, is_safetensors_folder, never


@pytest.mark.parametrize(
    ("data", "answer"),
    [(b"GGUF\x03\x00\x00\x00", True), (b"GGUF", True), (b"GGU", False), (b"", False), (b"gguf", False)],
)
def test_a_gguf_begins_with_its_magic_whatever_its_name(tmp_path: Path, data: bytes, answer: bool) -> None:
    for name in ("model.gguf", "model.bin", "model"):
        (tmp_path / name).write_bytes(data)
        assert is_gguf(tmp_path / name) is answer


def test_a_folder_a_pipe_and_nothing_are_no_gguf(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", Path("/dev/zero")):
        assert not is_gguf(path)


def test_a_genai_folder_has_its_configuration(tmp_path: Path) -> None:
    assert not is_genai_folder(tmp_path)
    (tmp_path / "genai_config.json").mkdir()
    assert not is_genai_folder(tmp_path)
    (tmp_path / "genai_config.json").rmdir()
    (tmp_path / "genai_config.json").write_text("{}")
    assert is_genai_folder(tmp_path)
    assert not is_genai_folder(tmp_path / "genai_config.json")


def test_a_safetensors_folder_says_its_kind_and_has_no_onnx_files(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    assert not is_safetensors_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    for text in ("", "[]", "{}", '{"model_type": 1}', "{" * 100_000):
        config.write_text(text)
        assert not is_safetensors_folder(tmp_path)
    config.write_text('{"model_type": "llama"}')
    assert is_safetensors_folder(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"")
    assert not is_safetensors_folder(tmp_path)
    assert not is_safetensors_folder(config)


def test_a_damaged_model_is_told_from_what_is_none(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text("{")
    assert damage_of(tmp_path) is None
    (tmp_path / "model.safetensors").write_bytes(b"")
    for text in ("", "{", "[]", "\0", "{" * 100_000):
        config.write_text(text)
        assert "config.json" in (damage_of(tmp_path) or ""), text
    config.write_text('{"model_type": 1}')
    assert damage_of(tmp_path) is None
    (tmp_path / "cut.GGUF").write_bytes(b"GG")
    assert "GGUF" in (damage_of(tmp_path / "cut.GGUF") or "")
    assert damage_of(config) is None


def test_the_echo_takes_no_path(tmp_path: Path) -> None:
    assert not never(tmp_path)
