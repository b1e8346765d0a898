"""Every kind of network with pictures says what mlx-vlm's own loop says: cold, turn after turn, and after a stop."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.mlx_kind import HALF, TEXT, TOWER, Kind
from support.mlx_kind_folders import TOP, Reference, painting, shrink_fastvit, shrink_mobilenet, write_kind
from support.mlx_kinds import KINDS
from support.tiny_mlx import Json, assistant, load, prompt, request, run, user

from backends.base import CancelToken, GenerationEnd, Prefill, TokenChunk
from backends.mlx_vlm.backend import MlxVlmBackend
from messages.errors import ErrorCode, HostError

TOKENS = 6
NOISE = 1e-3
"""How far log-probabilities may be apart: sums of floats in another order were 5e-5, no picture's effect below 1e-2."""

WORDS = "The quick brown fox jumps over the lazy dog."
ONE, OTHER, LARGE = painting((112, 84), 1), painting((112, 84), 2), painting((300, 170), 3)
Turns = list[tuple[str, str]]
SEEN: Turns = [("user", f"<picture>{WORDS}")]
AGAIN: Turns = [*SEEN, ("assistant", "Yes."), ("user", WORDS)]
TALKS: dict[str, tuple[Turns, list[Image.Image]]] = {
    "words": ([("user", WORDS)], []),
    "a picture": (SEEN, [ONE]),
    "the same picture in a second turn": (AGAIN, [ONE]),
    "another picture": (SEEN, [OTHER]),
    "a second picture in a second turn": ([*SEEN, ("assistant", "Yes."), *SEEN], [OTHER, LARGE]),
    "two pictures": ([("user", f"<picture><picture>{WORDS}")], [LARGE, ONE]),
    "words in a third turn": ([*AGAIN, ("assistant", "No."), ("user", "So?")], [ONE]),
}


def asked(turns: Turns, pictures: list[Image.Image]) -> list[Json]:
    left, messages = list(pictures), []
    for role, text in turns:
        count, said = text.count("<picture>"), text.replace("<picture>", "")
        messages.append(user(said, *left[:count]) if role == "user" else assistant(said))
        left = left[count:]
    return messages


def answer(backend: MlxVlmBackend, turns: Turns, pictures: list[Image.Image]) -> tuple[int, list[float]]:
    """Tokens of the prompt, and the log-probabilities of the likeliest tokens at each place of the answer."""
    wanted = request(asked(turns, pictures), top_logprobs=TOP, max_tokens=TOKENS)
    events = list(backend.generate(wanted, CancelToken()))
    assert isinstance(events[-1], GenerationEnd)
    chunks = [event for event in events if isinstance(event, TokenChunk)]
    return events[-1].input_tokens, [one.logprob for chunk in chunks for told in chunk.logprobs for one in told.top]


def check(reference: Reference, backend: MlxVlmBackend, turns: Turns, pictures: list[Image.Image], title: str) -> None:
    """Hold an answer against mlx-vlm's."""
    tokens, scores = reference.answer(turns, pictures, TOKENS)
    ours, ours_scores = answer(backend, turns, pictures)
    assert ours == tokens or (reference.makes_more and ours > tokens), title
    assert ours_scores == pytest.approx(scores, abs=NOISE), title


def check_own_words(reference: Reference, backend: MlxVlmBackend) -> None:
    """Send an answer back, whose own tokens are in the cache, and hold the next one against mlx-vlm's to the same."""
    turns = list(SEEN)
    for _ in range(2):
        said = run(backend, asked(turns, [ONE]), max_tokens=TOKENS).text
        turns += [("assistant", said), ("user", WORDS)]
        assert backend._loaded is not None
        encoded = backend._loaded.encoder.encode(prompt(asked(turns, [ONE])))
        tokens, scores = reference.answer_to(encoded, TOKENS)
        ours, ours_scores = answer(backend, turns, [ONE])
        assert ours == tokens or (reference.makes_more and ours > tokens)
        assert ours_scores == pytest.approx(scores, abs=NOISE)


def stop_while_reading(backend: MlxVlmBackend, turns: Turns, pictures: list[Image.Image], done: int) -> None:
    cancel = CancelToken()
    for event in backend.generate(request(asked(turns, pictures)), cancel):
        if isinstance(event, Prefill) and event.done >= done:
            cancel.cancel()


class StopsAtLook(CancelToken):
    """Cancelled when it is looked at for the n-th time."""

    def __init__(self, look: int) -> None:
        super().__init__()
        self._left = look

    @property
    def cancelled(self) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.mark.parametrize("name", ["glm4v_moe", "glm_ocr", "paddleocr_vl", "mllama"])
def test_a_stop_is_heard_while_a_prompt_is_read_that_has_to_be_seen_whole(tmp_path: Path, name: str) -> None:
    folder = write_kind(tmp_path / "model", KINDS[name])
    backend = load(folder, device="cpu")
    assert backend._loaded is not None
    layers = len(backend._loaded.model.make_cache())
    for look in (3, 6, 6 + layers):
        cancel = StopsAtLook(look)
        *before, end = backend.generate(request(asked(SEEN, [OTHER])), cancel)
        assert isinstance(end, GenerationEnd)
        assert end.finish_reason == "cancelled"
        assert cancel._left == -1, "it went on after the stop"
        assert not any(isinstance(event, TokenChunk) for event in before)
    check(Reference(folder, KINDS[name]), backend, SEEN, [ONE], "after the stops")
    backend.close()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_a_kind_reads_words_and_pictures_as_mlx_vlm_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shrink_mobilenet(monkeypatch)
    shrink_fastvit(monkeypatch)
    folder = write_kind(tmp_path / "model", KINDS[name])
    reference, backend = Reference(folder, KINDS[name]), load(folder, device="cpu")
    one, other = (reference.answer(SEEN, [picture], TOKENS)[1] for picture in (ONE, OTHER))
    assert np.abs(np.subtract(one, other)).max() > 10 * NOISE
    for title, (turns, pictures) in TALKS.items():
        if len(pictures) > KINDS[name].most:
            with pytest.raises(HostError, match="takes at most"):
                answer(backend, turns, pictures)
            continue
        check(reference, backend, turns, pictures, title)
    check_own_words(reference, backend)
    for done in (1, 40):
        stop_while_reading(backend, SEEN, [OTHER], done)
        check(reference, backend, SEEN, [ONE], f"after a stop at {done}")
    backend.close()


@pytest.mark.parametrize("name", ["mllama", "molmo"])
def test_what_a_processor_makes_of_its_tokens_is_of_those_of_a_second_turn_too(tmp_path: Path, name: str) -> None:
    folder = write_kind(tmp_path / "model", KINDS[name])
    backend = load(folder, device="cpu")
    said = run(backend, asked(SEEN, [ONE]), max_tokens=20).text
    turns: Turns = [*SEEN, ("assistant", said), ("user", WORDS)]
    check(Reference(folder, KINDS[name]), backend, turns, [ONE], "its own words")
    backend.close()


@pytest.mark.parametrize("name", ["llava_next", "granite_vision"])
def test_tiles_that_take_more_than_a_picture_s_tokens_are_counted(tmp_path: Path, name: str) -> None:
    backend = load(write_kind(tmp_path / "model", KINDS[name]), device="cpu", context_length=256)
    assert backend._loaded is not None
    counted = backend.count_tokens(prompt(asked(SEEN, [ONE])))
    assert len(backend._loaded.encoder.encode(prompt(asked(SEEN, [ONE]))).tokens) < counted
    assert answer(backend, SEEN, [ONE])[0] == counted
    with pytest.raises(HostError) as caught:
        answer(backend, AGAIN, [ONE])
    assert caught.value.code is ErrorCode.CONTEXT_OVERFLOW
    backend.close()


def test_a_kind_whose_processor_leaves_words_out_takes_no_pictures_and_says_so(tmp_path: Path) -> None:
    tower = {**TOWER, "image_dim_out": 32}
    image = {**HALF, "num_crops": 1, "num_img_tokens": 4}
    kind = Kind({**TEXT, "model_type": "phi3_v", "vision_config": tower}, ("<|image_1|>",), "<|image_1|>\n", image)
    backend = load(write_kind(tmp_path / "model", kind), device="cpu")
    with pytest.raises(HostError, match="This model takes no image") as caught:
        answer(backend, SEEN, [ONE])
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION
    backend.close()
