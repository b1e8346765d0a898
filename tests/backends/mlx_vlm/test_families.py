"""Models of several families: one piece after another and turn after turn, all say what mlx-vlm's own loop says."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from mlx_vlm.models.fastvlm.config import VisionConfig
from PIL import Image
from support.mlx_families import CONFIGS, GEMMA4, GLM4V, write_family, write_fastvlm, write_lively, write_paligemma
from support.tiny_mlx import Json, assistant, bare_text, chat, load, picture, prompt, run, user

from backends.mlx_vlm import devices
from backends.mlx_vlm.backend import MlxVlmBackend
from messages.errors import ErrorCode, HostError

MARKER = "<|vision_start|><|image_pad|><|vision_end|>"
LONG = "The quick brown fox jumps over the lazy dog. " * 2
RED, GREEN = picture(), picture((9, 200, 30), (140, 84))


def check(
    backend: MlxVlmBackend,
    folder: Path,
    turns: Sequence[tuple[str, str]],
    *pictures: Image.Image,
    marker: str = MARKER,
) -> int:
    """Ask, hold the answer against mlx-vlm's, and return how many tokens were cached."""
    left = list(pictures)
    asked: list[Json] = []
    for role, text in turns:
        count = text.count("<picture>")
        said = text.replace("<picture>", "")
        asked.append(user(said, *left[:count]) if role == "user" else assistant(said))
        left = left[count:]
    outcome = run(backend, asked, max_tokens=12)
    assert outcome.text == bare_text(folder, chat(*turns).replace(MARKER, marker), pictures, max_tokens=12)
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


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")
@pytest.mark.parametrize("step", [7, 2048])
def test_a_rest_s_vectors_for_each_layer_are_those_of_its_own_tokens(
    tmp_path: Path, vision_folder: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(devices, "CPU_STEP", step)
    folder = write_lively(tmp_path / "model", vision_folder, "gemma4", GEMMA4, 0.05)
    backend = load(folder, device="cpu")
    turns = [("user", LONG)]
    check(backend, folder, turns)
    for asked in ("And then?", LONG):
        turns = [*turns, ("assistant", "Yes."), ("user", asked)]
        assert check(backend, folder, turns) > 50
    backend.close()


def test_a_network_in_which_words_see_later_ones_goes_on_from_no_other_prompt(
    tmp_path: Path, vision_folder: Path
) -> None:
    folder = write_paligemma(tmp_path / "model", vision_folder)
    backend = load(folder)
    answer = ("assistant", "Yes.")
    first, seen, second = ("user", LONG), ("user", f"<picture>{LONG}"), ("user", "And then?")
    for turns in ([first], [first, answer, second], [first, answer, seen], [first, answer, second], [first]):
        pictures = [RED] * (seen in turns)
        assert check(backend, folder, turns, *pictures, marker="<image>") == 0
    backend.close()


@pytest.mark.parametrize("step", [16, 2048])
def test_a_network_that_tells_no_positions_reads_each_prompt_whole(
    tmp_path: Path, vision_folder: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(devices, "CPU_STEP", step)
    folder = write_lively(tmp_path / "model", vision_folder, "glm4v", GLM4V, 1, 3)
    backend = load(folder, device="cpu")
    answer, words, seen = ("assistant", "Yes."), ("user", LONG), ("user", f"<picture>{LONG}")
    assert check(backend, folder, [words]) == 0
    assert check(backend, folder, [words, answer, words]) == 0
    assert check(backend, folder, [words, answer, seen], RED) == 0
    assert check(backend, folder, [seen], GREEN) == 0
    assert check(backend, folder, [seen, answer, words], GREEN) == 0
    assert check(backend, folder, [seen, answer, seen], GREEN, RED) == 0
    backend.close()


def test_four_bit_weights_run(tmp_path: Path, vision_folder: Path) -> None:
    folder = write_family(tmp_path / "model", vision_folder, "qwen2_5_vl", four_bit=True)
    backend = load(folder)
    check(backend, folder, [("user", f"<picture>{LONG}")], RED)
    backend.close()


def test_a_network_that_puts_a_picture_in_the_place_of_one_token_sees_all_of_it(
    tmp_path: Path, vision_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VisionConfig, "layers", [1] * 5)
    monkeypatch.setattr(VisionConfig, "embed_dims", [16, 32, 32, 64, 64])
    folder = write_fastvlm(tmp_path / "model", vision_folder)
    backend = load(folder, context_length=400)
    question = ("user", "<picture>What is it?")
    for turns in ([question], [question, ("assistant", "Yes."), ("user", "And then?")]):
        talk = [user("What is it?", RED), *(said(*turn) for turn in turns[1:])]
        outcome = run(backend, talk, max_tokens=12, repeat_penalty=1.1)
        assert outcome.end.input_tokens == backend.count_tokens(prompt(talk)) > 256
        outcome = run(backend, talk, max_tokens=12)
        assert outcome.text == bare_text(folder, chat(*turns).replace(MARKER, "<image>\n"), [RED], max_tokens=12)
        done = [event.done for event in outcome.prefills]
        assert done == sorted(done)
    with pytest.raises(HostError) as caught:
        run(backend, [user("What is it?", RED), user("And this?", GREEN)])
    assert caught.value.code is ErrorCode.CONTEXT_OVERFLOW
    backend.close()


def said(role: str, text: str) -> Json:
    """A turn of words."""
    return user(text) if role == "user" else assistant(text)
