"""The demo model in every engine that has it, as the worker runs them: the same prompts give the same greedy text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import demo
from backends.base import Backend, CancelToken, GenerationRequest, LoadSpec, TokenChunk
from backends.registry import detect
from messages.content import Message, PromptInput
from messages.options import LoadOptions
from messages.settings import InferenceSettings
from tools.demo_model.corpus import load_handwritten, load_intents

WEIGHTS = Path(str(demo.__file__)).parent
ENGINES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama.cpp": ("demo-q8_0.gguf", {}),
    "genai": ("onnx", {}),
    "transformers.js": ("transformersjs", {}),
    "transformers.js, fast path": ("transformersjs", {"fast_path": True}),
}
TRAINED = ("hello", "how do i install it", "which browsers are supported", "count to 100", "tell me a story")


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[str, Backend]]:
    """Every engine with the demo model, by its name."""
    opened = {name: _open(WEIGHTS / file, options) for name, (file, options) in ENGINES.items()}
    yield opened
    for backend in opened.values():
        backend.close()


def _open(path: Path, options: dict[str, Any]) -> Backend:
    backend = detect(path).create()
    info = backend.load(LoadSpec(path, LoadOptions(threads=1, **options)), lambda phase, progress, message: None)
    assert not any(note.startswith("The plain path") for note in info.notes), info.notes
    return backend


def _answer(backend: Backend, turns: list[tuple[str, str]]) -> str:
    messages = tuple(Message.model_validate({"role": role, "content": text}) for role, text in turns)
    settings = InferenceSettings(temperature=0.0, max_tokens=600)
    request = GenerationRequest(PromptInput(messages=messages), settings)
    return "".join(event.text for event in backend.generate(request, CancelToken()) if isinstance(event, TokenChunk))


def _conversations() -> list[list[tuple[str, str]]]:
    """Trained questions: alone, behind a system message, after another turn.

    Of others two answers may be as likely, and an engine's rounding then decides.
    """
    answers = {name: intent.answer for name, intent in load_intents().items()}
    trained = load_handwritten()[::250]
    alone = [[("user", text)] for text in (*TRAINED, *trained)]
    behind = [[("system", "Be brief."), ("user", text)] for text in trained[:4]]
    turns = [[("user", "hello"), ("assistant", answers["hello"]), ("user", text)] for text in trained[4:8]]
    return alone + behind + turns


@pytest.mark.parametrize("turns", _conversations(), ids=lambda turns: turns[-1][1])
def test_every_engine_gives_the_same_greedy_text(engines: dict[str, Backend], turns: list[tuple[str, str]]) -> None:
    texts = {name: _answer(backend, turns) for name, backend in engines.items()}
    assert texts == dict.fromkeys(ENGINES, texts["genai"])
    assert texts["genai"] != ""
