"""Models of several families: one piece after another and turn after turn, all say what mlx-vlm's own loop says."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from support.mlx_families import CONFIGS, write_family
from support.tiny_mlx import Json, assistant, bare_text, chat, load, picture, run, user

from backends.mlx_vlm.backend import MlxVlmBackend

LONG = "The quick brown fox jumps over the lazy dog. " * 2
RED, GREEN = picture(), picture((9, 200, 30), (140, 84))


def check(backend: MlxVlmBackend, folder: Path, turns: Sequence[tuple[str, str]], *pictures: Image.Image) -> int:
    """Ask, hold the answer against mlx-vlm's, and return how many tokens were cached."""
    left = list(pictures)
    asked: list[Json] = []
    for role, text in turns:
        count = text.count("<picture>")
        said = text.replace("<picture>", "")
        asked.append(user(said, *left[:count]) if role == "user" else assistant(said))
        left = left[count:]
    outcome = run(backend, asked, max_tokens=12)
    assert outcome.text == bare_text(folder, chat(*turns), pictures, max_tokens=12)
    return outcome.end.cached_tokens


@pytest.mark.parametrize("family", CONFIGS)
def test_a_family_s_turns_are_those_of_mlx_vlm(
    tmp_path: Path, vision_folder: Path, text_folder: Path, family: str
) -> None:
    sees = "vision_config" in CONFIGS[family]
    folder = write_family(tmp_path / "model", vision_folder if sees else text_folder, family)
    backend = load(folder)
    check(backend, folder, [("user", LONG)])
    check(backend, folder, [("user", LONG), ("assistant", "Yes."), ("user", "And then?")])
    if sees:
        seen = ("user", f"<picture>{LONG}")
        check(backend, folder, [seen], RED)
        assert check(backend, folder, [seen, ("assistant", "Yes."), ("user", LONG)], RED) > 100
        more = [seen, ("assistant", "Yes."), ("user", f"<picture>{LONG}")]
        assert check(backend, folder, more, RED, GREEN) > 100
        check(backend, folder, [("user", f"<picture><picture>{LONG}")], RED, GREEN)
        check(backend, folder, [("user", LONG)])
    backend.close()


def test_four_bit_weights_run(tmp_path: Path, vision_folder: Path) -> None:
    folder = write_family(tmp_path / "model", vision_folder, "qwen2_5_vl", four_bit=True)
    backend = load(folder)
    check(backend, folder, [("user", f"<picture>{LONG}")], RED)
    backend.close()
