"""Small folders for mlx-vlm with random weights, requests with pictures, and mlx-vlm's own loop as the reference."""

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import mlx_vlm
from PIL import Image
from support.tiny_genai import Outcome

from backends.base import Backend, CancelToken, GenerationEnd, GenerationRequest, LoadSpec, Prefill, TokenChunk
from backends.mlx_vlm.backend import MlxVlmBackend
from messages.content import Message, PromptInput
from messages.options import LoadOptions, ResponseFormat
from messages.settings import InferenceSettings
from tools.make_mlx import PRESETS, write_folder

Json = dict[str, Any]
SCRIPT = ("Hello", " big", " 日本", " world", "!")


def make_mlx(folder: Path, preset: str = "vision", **changes: Any) -> Path:
    """Write a preset with some fields changed (of `tools.make_mlx.Shape`)."""
    write_folder(folder, replace(PRESETS[preset], **changes))
    return folder


def load(folder: Path, **options: Any) -> MlxVlmBackend:
    """A backend with a folder's model."""
    backend = MlxVlmBackend()
    backend.load(LoadSpec(folder, LoadOptions(**options)), lambda phase, progress, message: None)
    return backend


def picture(color: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (112, 84)) -> Image.Image:
    """A picture that is not the same everywhere: a ground and a corner of another colour."""
    made = Image.new("RGB", size, color)
    made.paste((20, 60, 220), (0, 0, size[0] // 3, size[1] // 2))
    return made


def data_url(image: Image.Image) -> str:
    """A picture as it comes over the wire, without loss."""
    data = io.BytesIO()
    image.save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def user(text: str, *pictures: Image.Image) -> Json:
    """A user's message with pictures before its text."""
    parts: list[Json] = [{"type": "image", "data": data_url(one)} for one in pictures]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def assistant(text: str) -> Json:
    """An answer, sent back."""
    return {"role": "assistant", "content": text}


def prompt(asked: str | Sequence[Json]) -> PromptInput:
    """A bare prompt, or messages."""
    if isinstance(asked, str):
        return PromptInput(prompt=asked)
    return PromptInput(messages=tuple(Message.model_validate(message) for message in asked))


def request(
    asked: str | Sequence[Json],
    response_format: ResponseFormat | None = None,
    top_logprobs: int | None = None,
    **settings: Any,
) -> GenerationRequest:
    """A request, greedy and of 24 tokens unless the settings say otherwise."""
    wanted = InferenceSettings(**{"temperature": 0.0, "max_tokens": 24, **settings})
    return GenerationRequest(prompt(asked), wanted, response_format, top_logprobs)


def run(
    backend: Backend,
    asked: str | Sequence[Json],
    response_format: ResponseFormat | None = None,
    cancel: CancelToken | None = None,
    **settings: Any,
) -> Outcome:
    """Run a generation to its end."""
    events = list(backend.generate(request(asked, response_format, **settings), cancel or CancelToken()))
    end = events[-1]
    assert isinstance(end, GenerationEnd)
    chunks = [event for event in events if isinstance(event, TokenChunk)]
    assert sum(chunk.tokens for chunk in chunks) == end.output_tokens
    prefills = tuple(event for event in events if isinstance(event, Prefill))
    logprobs = tuple(one for chunk in chunks for one in chunk.logprobs)
    return Outcome("".join(chunk.text for chunk in chunks), end, prefills, logprobs)


@cache
def _bare(folder: Path) -> tuple[Any, Any]:
    loaded: tuple[Any, Any] = mlx_vlm.load(str(folder), trust_remote_code=False)
    return loaded


def bare_text(folder: Path, rendered: str, pictures: Sequence[Image.Image] = (), max_tokens: int = 24) -> str:
    """What mlx-vlm's own `stream_generate` answers greedily to a rendered prompt, its tokens decoded at once."""
    model, processor = _bare(folder)
    steps = mlx_vlm.stream_generate(
        model, processor, rendered, image=list(pictures) or None, max_tokens=max_tokens, temperature=0.0
    )
    last = list(steps)[-1]
    tokenizer = getattr(processor, "tokenizer", processor)
    return str(tokenizer.decode(last.token_ids, skip_special_tokens=True))


def chat(*turns: tuple[str, str]) -> str:
    """A conversation as the folders' chat template renders it; `<picture>` stands for one."""
    seen = "<|vision_start|><|image_pad|><|vision_end|>"
    said = "".join(f"<|im_start|>{role}\n{text.replace('<picture>', seen)}<|im_end|>\n" for role, text in turns)
    return said + "<|im_start|>assistant\n"
