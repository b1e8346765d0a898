"""What mlx-vlm raises, as one exception. It has no errors of its own: a bad folder is whatever goes wrong in it."""

from collections.abc import Iterator
from contextlib import contextmanager

from backends.panics import is_failure
from messages.errors import ErrorCode, HostError

_OUT_OF_MEMORY = ("Unable to allocate", "Insufficient Memory", "out of memory", "bad_alloc")

_LONGEST = 400
"""Characters of a failure that are told: mlx-vlm names every weight that is missing."""


class EngineError(Exception):
    """What the engine says went wrong, in its own words."""

    @property
    def is_memory(self) -> bool:
        """True if memory ran out (mlx 0.32: its allocators and Metal's command buffers)."""
        return any(words in str(self) for words in _OUT_OF_MEMORY)


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turn what the engine raises into EngineError: anything, since tokenizers raises bare Exceptions, and panics."""
    try:
        yield
    except (HostError, EngineError, MemoryError):
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        words = " ".join(str(error).split())[:_LONGEST]
        raise EngineError(f"{type(error).__name__}: {words}" if words else type(error).__name__) from error


def generation_failure(error: EngineError) -> HostError:
    """The error of a generation, for the wire."""
    if error.is_memory:
        return HostError(ErrorCode.OUT_OF_MEMORY, f"The engine ran out of memory: {error}")
    return HostError(ErrorCode.INTERNAL, f"The engine failed: {error}")
