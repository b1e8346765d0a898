"""Loaded models of every engine whose answers are split as the worker splits them, with a chat template of a test's.

The models are random, so what they say is right only because a constraint or the prompt makes it so.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.tiny_genai import make_tiny
from support.tiny_gguf import write_tiny
from support.tiny_mlx import make_mlx
from support.tiny_transformersjs import make_transformersjs

from backends.answer.events import AnswerChunk, read_events
from backends.answer.plan import Planner
from backends.answer.reader import AnswerPiece
from backends.base import Backend, CancelToken, GenerationEnd, LoadSpec, ModelInfo
from backends.llamacpp.backend import LlamaCppBackend
from backends.mlx_vlm.backend import MlxVlmBackend
from backends.onnx.backend import OnnxBackend
from messages.content import Message, PromptInput
from messages.options import LoadOptions
from messages.settings import InferenceSettings
from messages.worker import GenerateCommand

LLAMA_SEED = 10
"""Weights with which llama.cpp's model begins an answer now with "<", now with "{", where both may be."""

ENGINES = ("llamacpp", "genai", "transformersjs", "mlx_vlm")


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer holds."""

    text: str
    reasoning: str
    calls: list[tuple[str, Any]]
    end: GenerationEnd


class Model:
    """A loaded model whose chat template is of a given dialect."""

    def __init__(self, backend: Backend, path: Path) -> None:
        self.backend = backend
        self.info: ModelInfo = backend.load(LoadSpec(path, LoadOptions()), lambda *_: None)
        self._planner = Planner(self.info, backend.response_formats)

    def ask(self, *, max_tokens: int = 150, temperature: float = 1.0, seed: int = 5, **fields: Any) -> Answer:
        settings = InferenceSettings(temperature=temperature, top_p=1.0, top_k=0, seed=seed, max_tokens=max_tokens)
        messages = (Message(role="user", content="hi"),)
        prompt = PromptInput(messages=messages, tools=fields.pop("tools", ()), variables=fields.pop("variables", {}))
        plan = self._planner.plan(GenerateCommand(ref=1, prompt=prompt, settings=settings, **fields))
        assert plan.reader
        cancel = CancelToken()
        events = list(read_events(self.backend.generate(plan.request, cancel), plan.reader, cancel))
        end = events[-1]
        assert isinstance(end, GenerationEnd)
        return _answer([piece for one in events if isinstance(one, AnswerChunk) for piece in one.pieces], end)


def _answer(pieces: list[AnswerPiece], end: GenerationEnd) -> Answer:
    calls = [call.function for piece in pieces for call in piece.calls]
    return Answer(
        "".join(piece.text for piece in pieces),
        "".join(piece.reasoning for piece in pieces),
        [(call.name, json.loads(call.arguments)) for call in calls],
        end,
    )


def make_model(engine: str, folder: Path, template: str) -> Model:
    """A random model of an engine, with a chat template."""
    if engine == "llamacpp":
        return Model(LlamaCppBackend(), write_tiny(folder / "tiny.gguf", template=template, seed=LLAMA_SEED))
    makers: dict[str, Callable[[], Path]] = {
        "genai": lambda: make_tiny(folder, context=2048),
        "transformersjs": lambda: make_transformersjs(folder, dtypes=("fp32",), shape={"context": 2048}),
        "mlx_vlm": lambda: make_mlx(folder, "text"),
    }
    made = makers[engine]()
    file = made / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "chat_template": template}))
    return Model(MlxVlmBackend() if engine == "mlx_vlm" else OnnxBackend(), made)
