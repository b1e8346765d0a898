"""A stop is heard while a picture is read, between two of the vision tower's smallest parts."""

from pathlib import Path
from typing import Any

import pytest
from support.tiny_mlx import bare_text, chat, picture, request, run, user

from backends.base import CancelToken, GenerationEnd, Prefill
from backends.mlx_vlm.backend import MlxVlmBackend
from messages.facts import FinishReason

RED = picture(size=(224, 196))


class Countdown(CancelToken):
    """Cancelled once it was looked at so many times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    @property
    def cancelled(self) -> bool:
        self.looks -= 1
        return self.looks < 0


@pytest.mark.parametrize("looks", [0, 1, 5, 10])
def test_a_stop_in_the_tower_ends_it_before_a_token_is_read(
    vision: MlxVlmBackend, vision_folder: Path, looks: int
) -> None:
    events: list[Any] = list(vision.generate(request([user("Hi", RED)]), Countdown(looks)))
    end = events[-1]
    assert isinstance(end, GenerationEnd)
    assert (end.finish_reason, end.output_tokens) == (FinishReason.CANCELLED, 0)
    assert [event.done for event in events if isinstance(event, Prefill)] == [0]
    assert run(vision, [user("Hi", RED)]).text == bare_text(vision_folder, chat(("user", "<picture>Hi")), [RED])


def test_each_part_of_the_tower_is_a_place_to_stop(vision: MlxVlmBackend) -> None:
    patient = Countdown(10_000)
    list(vision.generate(request([user("Hi")], max_tokens=1), patient))
    of_text = 10_000 - patient.looks
    patient = Countdown(10_000)
    list(vision.generate(request([user("Hi", picture(size=(56, 56)))], max_tokens=1), patient))
    assert 10_000 - patient.looks > of_text + 10
