"""What every engine checks before it begins: memory, room in the context, one generation at a time.

Above it: the engines' backends. Each function returns nothing, or raises the HostError that the wire has for it.
"""

from collections.abc import Sequence
from pathlib import Path

import psutil

from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions

_OF_ALL_LOADS = "[load] in the host's configuration has one for all loads"

OVERFLOW_REMEDY = f"Send less, or load the model with a larger context_length; {_OF_ALL_LOADS}."
"""What is said of a prompt that is too long, also to who has never sent a load."""

MARGIN_BYTES = 256 * 1024 * 1024
"""Memory that must stay free once a model is loaded, in bytes."""


def require_memory(path: Path, needed: int, free: int | None = None) -> None:
    """Raise `out_of_memory` if `needed` bytes and a margin are more than `free` (None: the system's memory)."""
    available = psutil.virtual_memory().available if free is None else free
    if needed + MARGIN_BYTES <= available:
        return
    raise HostError(
        ErrorCode.OUT_OF_MEMORY,
        f"{path.name} needs {_gigabytes(needed)} of memory with this context, and {_gigabytes(available)} are free."
        " Choose a smaller context_length or a smaller model, or close other programs.",
        needed_bytes=needed,
        free_bytes=available,
        model_path=str(path),
    )


def require_prompt(prompt: PromptInput, tokens: Sequence[int]) -> None:
    """Raise `invalid_request` for a prompt of no tokens: an engine has nothing to go on from."""
    if not tokens:
        field = "prompt" if prompt.messages is None else "messages"
        raise HostError(ErrorCode.INVALID_REQUEST, "The prompt is empty.", fields=[f"{field}: must not be empty"])


def require_room(prompt_tokens: int, context_length: int) -> None:
    """Raise `context_overflow` if a prompt leaves no room for an answer; both in tokens."""
    if prompt_tokens >= context_length:
        raise HostError(
            ErrorCode.CONTEXT_OVERFLOW,
            f"The prompt has {prompt_tokens} tokens and the context {context_length}, so no answer fits."
            f" {OVERFLOW_REMEDY}",
            prompt_tokens=prompt_tokens,
            context_length=context_length,
            most_prompt_tokens=context_length - 1,
        )


def require_single(options: LoadOptions, backend: str) -> None:
    """Raise `unsupported_option` for more than one generation at a time."""
    if options.parallel not in (None, 1):
        raise HostError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"The {backend} backend runs one generation at a time; leave parallel out or set it to 1.",
            fields=["options.parallel: must be 1"],
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
