"""Options that hold for all models: asked for as far as a backend and a model can do them, and left out beyond that.

Above it: `backends.worker.engine` and `backends.registry`. Below it: `messages.options`.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

from messages.errors import ErrorCode, HostError
from messages.options import SHORTEST_CONTEXT, LoadOptions, options_in

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Settled(Generic[Result]):
    """What came of an attempt, the options that it was made with in the end, and a sentence for each left out."""

    result: Result
    options: LoadOptions
    notes: tuple[str, ...]


def settle(attempt: Callable[[LoadOptions], Result], options: LoadOptions, general: Collection[str]) -> Settled[Result]:
    """Attempt something with options; those of `general` that are refused are left out, and it is attempted again.

    A context that is more than the model was trained on becomes the one that it was trained on.
    Raises what the attempt raises, unless it is an option of `general` that is refused.
    """
    left, notes = set(general), list[str]()
    while True:
        try:
            return Settled(attempt(options), options, tuple(notes))
        except HostError as error:
            refused = left & _refused(error)
            if not refused:
                raise
            fewer = _without(options, refused, error)
            notes.append(_note(options, fewer, refused, error))
            options, left = fewer, left - refused


def _refused(error: HostError) -> set[str]:
    """The names of the options that an error is about."""
    fields = error.details.get("fields")
    is_refusal = error.code in (ErrorCode.UNSUPPORTED_OPTION, ErrorCode.INVALID_REQUEST)
    return set(options_in(fields)) if is_refusal and isinstance(fields, list) else set()


def _without(options: LoadOptions, refused: Collection[str], error: HostError) -> LoadOptions:
    trained = error.details.get("trained_context")
    fewer = options.without(refused)
    if "context_length" in refused and isinstance(trained, int) and trained >= SHORTEST_CONTEXT:
        fewer = fewer.model_copy(update={"context_length": trained})
    return fewer


def _note(options: LoadOptions, fewer: LoadOptions, refused: Collection[str], error: HostError) -> str:
    if "context_length" in refused and fewer.context_length is not None:
        wanted = options.context_length
        return (
            f"The context is {fewer.context_length} tokens, as the model was trained; load.context_length is {wanted}."
        )
    names = ", ".join(f"load.{name}" for name in sorted(refused))
    reason = re.split(r"[.;] ", error.message)[0].rstrip(".")
    return f"Not in force here: {names} of the configuration ({reason})."
