"""What a Rust extension raises when it has found a fault of its own: tokenizers and llguidance are such.

Below every layer that calls them. A panic is no `Exception` (pyo3, `PanicException`), so that what catches those lets
it end the thread that it is in.
"""

_PANIC = "PanicException"


def is_failure(error: BaseException) -> bool:
    """Whether something went wrong: true of panics too, false of what is to end a program or a generator."""
    return isinstance(error, Exception) or is_panic(error)


def is_panic(error: BaseException) -> bool:
    """Whether a Rust extension found a fault of its own."""
    return type(error).__name__ == _PANIC
