"""Asks the llamacpp backend and sorts what comes."""

from collections.abc import Callable
from typing import Any

from backends.base import CancelToken, GenerationEnd, GenerationEvent, GenerationRequest, Prefill, TokenChunk
from backends.llamacpp.backend import LlamaCppBackend
from messages.content import Message, PromptInput
from messages.options import ResponseFormat
from messages.settings import InferenceSettings

Make = Callable[..., LlamaCppBackend]


class Answer:
    """What a generation yielded, sorted."""

    def __init__(self, events: list[GenerationEvent]) -> None:
        self.prefills = [event for event in events if isinstance(event, Prefill)]
        self.chunks = [event for event in events if isinstance(event, TokenChunk)]
        self.text = "".join(chunk.text for chunk in self.chunks)
        self.logprobs = [one for chunk in self.chunks for one in chunk.logprobs]
        last = events[-1]
        assert isinstance(last, GenerationEnd)
        assert not any(isinstance(event, GenerationEnd) for event in events[:-1])
        self.end = last


def ask(
    backend: LlamaCppBackend,
    prompt: str | list[Message],
    *,
    response_format: ResponseFormat | None = None,
    cancel: CancelToken | None = None,
    **settings: Any,
) -> Answer:
    """Generate with temperature 0 and 16 tokens unless told otherwise."""
    return Answer(list(backend.generate(request(prompt, response_format, **settings), cancel or CancelToken())))


def request(
    prompt: str | list[Message],
    response_format: ResponseFormat | None = None,
    top_logprobs: int | None = None,
    **settings: Any,
) -> GenerationRequest:
    """A request with temperature 0 and 16 tokens unless told otherwise."""
    values = {"temperature": 0.0, "max_tokens": 16, **settings}
    wanted = PromptInput(prompt=prompt) if isinstance(prompt, str) else PromptInput(messages=tuple(prompt))
    return GenerationRequest(wanted, InferenceSettings(**values), response_format, top_logprobs)


def user(text: str) -> Message:
    """A user's message."""
    return Message(role="user", content=text)
