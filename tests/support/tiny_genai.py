"""Small onnxruntime-genai folders with random weights, and one generation of a backend gathered into one value."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backends.base import Backend, CancelToken, GenerationEnd, GenerationRequest, LoadSpec, Prefill, TokenChunk
from backends.onnx.backend import OnnxBackend
from messages.content import Message, PromptInput
from messages.facts import TokenLogprob
from messages.options import LoadOptions, ResponseFormat
from messages.settings import InferenceSettings
from tools.make_genai import PRESETS, write_folder


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a generation gave: its text, its end, and the prefill reports on the way."""

    text: str
    end: GenerationEnd
    prefills: tuple[Prefill, ...]
    logprobs: tuple[TokenLogprob, ...] = ()


def make_tiny(folder: Path, **sizes: Any) -> Path:
    """Write the tiny preset with some sizes changed (fields of `tools.make_genai.Shape`)."""
    write_folder(folder, replace(PRESETS["tiny"], **sizes))
    return folder


def load(folder: Path, **options: Any) -> OnnxBackend:
    """A backend with a folder's model."""
    backend = OnnxBackend()
    backend.load(LoadSpec(folder, LoadOptions(**options)), lambda phase, progress, message: None)
    return backend


def request(
    prompt: str | list[tuple[str, str]],
    response_format: ResponseFormat | None = None,
    top_logprobs: int | None = None,
    **settings: Any,
) -> GenerationRequest:
    """A request: a bare prompt, or turns as (role, text); greedy and 24 tokens unless the settings say otherwise."""
    if isinstance(prompt, str):
        asked = PromptInput(prompt=prompt)
    else:
        asked = PromptInput(
            messages=tuple(Message.model_validate({"role": role, "content": text}) for role, text in prompt)
        )
    wanted = {"temperature": 0.0, "max_tokens": 24, **settings}
    return GenerationRequest(asked, InferenceSettings(**wanted), response_format, top_logprobs)


def run(
    backend: Backend,
    prompt: str | list[tuple[str, str]],
    response_format: ResponseFormat | None = None,
    cancel: CancelToken | None = None,
    **settings: Any,
) -> Outcome:
    """Run a generation to its end."""
    events = list(backend.generate(request(prompt, response_format, **settings), cancel or CancelToken()))
    end = events[-1]
    assert isinstance(end, GenerationEnd)
    chunks = [event for event in events if isinstance(event, TokenChunk)]
    assert sum(chunk.tokens for chunk in chunks) == end.output_tokens
    prefills = tuple(event for event in events if isinstance(event, Prefill))
    told = tuple(one for chunk in chunks for one in chunk.logprobs)
    return Outcome("".join(chunk.text for chunk in chunks), end, prefills, told)
