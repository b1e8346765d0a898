"""Greedy descriptions by the host's own backends, in this process: for the evaluation and the tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backends import registry
from backends.base import Backend, CancelToken, GenerationRequest, LoadSpec, TokenChunk
from messages.content import ImagePart, Message, PromptInput, TextPart
from messages.options import LoadOptions
from messages.settings import InferenceSettings
from tools.demo_vision.requests import PLAIN_REQUEST

FOLDER = Path(__file__).resolve().parents[2] / "backends" / "demo" / "vision"
GGUF_FILE = FOLDER / "gguf" / "demo-vision.gguf"
PROJECTOR_FILE = FOLDER / "gguf" / "mmproj-demo-vision.gguf"
MLX_FOLDER = FOLDER / "mlx"
GREEDY = InferenceSettings(temperature=0.0, max_tokens=96)


@dataclass(frozen=True, slots=True)
class Form:
    """One form of the model: what it is called, its backend, and its file or folder."""

    name: str
    backend: str
    path: Path


FORMS = (
    Form("GGUF Q8_0 and float16, llama.cpp", "llamacpp", GGUF_FILE),
    Form("Hugging Face folder float16, mlx-vlm", "mlx_vlm", MLX_FOLDER),
)


class Describer:
    """A loaded form of the model; close it when done."""

    def __init__(self, form: Form) -> None:
        self._backend: Backend = registry.row(form.backend).create()
        self._backend.load(LoadSpec(form.path, LoadOptions()), lambda *_: None)

    def answer(self, messages: list[Message]) -> str:
        """The greedy answer to a conversation."""
        request = GenerationRequest(PromptInput(messages=tuple(messages)), GREEDY)
        events = self._backend.generate(request, CancelToken())
        return "".join(event.text for event in events if isinstance(event, TokenChunk))

    def describe(self, data_url: str, request: str = PLAIN_REQUEST) -> str:
        """The answer to a request about one picture."""
        return self.answer([asked(request, data_url)])

    def close(self) -> None:
        """Give the model's memory back."""
        self._backend.close()


def asked(text: str, *data_urls: str) -> Message:
    """A user's message: pictures, then text."""
    pictures = [ImagePart(type="image", data=data_url) for data_url in data_urls]
    return Message(role="user", content=[*pictures, TextPart(type="text", text=text)])
