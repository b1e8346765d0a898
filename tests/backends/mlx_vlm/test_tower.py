"""While a picture is read its progress is told and a stop is heard, between two parts of the vision tower."""

from pathlib import Path

import mlx.core as mx
import pytest
from support.tiny_mlx import bare_text, chat, picture, request, run, user

from backends.base import CancelToken, GenerationEnd
from backends.mlx_vlm.backend import MlxVlmBackend
from backends.mlx_vlm.tower import Parts, computed
from messages.facts import FinishReason

RED = picture(size=(224, 196))


@pytest.mark.parametrize("place", [0, 1, 5, 12])
def test_a_stop_in_the_tower_ends_it_before_a_token_is_read(
    vision: MlxVlmBackend, vision_folder: Path, place: int
) -> None:
    cancel, seen = CancelToken(), []
    for event in vision.generate(request([user("Hi", RED)]), cancel):
        seen.append(event)
        if len(seen) == place + 1:
            cancel.cancel()
    assert isinstance(event, GenerationEnd)
    assert (event.finish_reason, event.output_tokens) == (FinishReason.CANCELLED, 0)
    assert len(seen) == place + 2
    assert run(vision, [user("Hi", RED)]).text == bare_text(vision_folder, chat(("user", "<picture>Hi")), [RED])


def test_a_picture_s_progress_grows_from_part_to_part_and_ends_with_the_prompt(vision: MlxVlmBackend) -> None:
    outcome = run(vision, [user("Hi", RED)], max_tokens=1)
    told = [event.done for event in outcome.prefills]
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, outcome.end.input_tokens - 1)
    assert len(set(told)) > 15


def test_the_progress_of_text_is_exact(vision: MlxVlmBackend) -> None:
    outcome = run(vision, [user("Hi" * 40)], max_tokens=1)
    read = outcome.end.input_tokens - 1
    assert [event.done for event in outcome.prefills] == [*range(0, read, 16), read]


def test_parts_are_computed_in_order_and_let_go() -> None:
    parts = Parts()
    value = mx.ones((4,))
    for _ in range(5):
        value = value + 1
        parts.append(value)
    told = [(round(share, 1), len(parts)) for share in computed(parts, 2)]
    assert told == [(0.4, 3), (0.8, 1), (1.0, 0)]
    assert value.tolist() == [6.0] * 4
