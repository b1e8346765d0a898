"""The least top_p that a client may ask for leaves the likeliest token alone, on every engine."""

from pathlib import Path

import pytest
from support.planned_models import ENGINES, make_model
from support.scripted_gguf import CHATML_TOOLS

from backends.base import CancelToken, GenerationRequest, TokenChunk
from messages.content import PromptInput
from messages.settings import InferenceSettings
from native_host.http.openai_parameters import LEAST_TOP_P


@pytest.mark.parametrize("engine", ENGINES)
def test_the_least_top_p_is_greedy_whatever_the_temperature_and_the_seed(engine: str, tmp_path: Path) -> None:
    model = make_model(engine, tmp_path, CHATML_TOOLS)

    def said(**settings: float) -> str:
        chosen = InferenceSettings.model_validate({"top_k": 0, "max_tokens": 12, **settings})
        request = GenerationRequest(PromptInput(prompt="hi"), chosen)
        events = model.backend.generate(request, CancelToken())
        return "".join(event.text for event in events if isinstance(event, TokenChunk))

    greedy = said(temperature=0)
    assert {said(temperature=2, top_p=LEAST_TOP_P, seed=seed) for seed in range(4)} == {greedy}
    assert len({said(temperature=2, top_p=1, seed=seed) for seed in range(4)}) > 1
    model.backend.close()
