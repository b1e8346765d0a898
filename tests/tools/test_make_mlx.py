"""What `tools.make_mlx` writes is whole, the same each time, and says what its script says."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from backends.formats import is_safetensors_folder
from backends.mlx_vlm.checkpoint import read_checkpoint
from tools.make_mlx import PRESETS, write_folder


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(folder.iterdir()))).hexdigest()


@pytest.mark.parametrize("preset", ["text", "vision"])
def test_a_preset_is_whole_and_the_same_everywhere(tmp_path: Path, preset: str) -> None:
    for name in ("one", "other"):
        write_folder(tmp_path / name, PRESETS[preset])
    assert is_safetensors_folder(tmp_path / "one")
    assert read_checkpoint(tmp_path / "one").eos_tokens == {2, 0}
    assert digest(tmp_path / "one") == digest(tmp_path / "other")
    write_folder(tmp_path / "other", replace(PRESETS[preset], seed=1))
    assert digest(tmp_path / "one") != digest(tmp_path / "other")


def test_a_script_must_not_repeat_a_token(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must not repeat"):
        write_folder(tmp_path, replace(PRESETS["text"], script=("one", "two", "one")))
