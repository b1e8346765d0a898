"""What goes wrong while a text becomes tokens: `splitting` makes one clear error of it.

Above it: the engines' tokenizers. A `tokenizer.json` may hold a regular expression that gives up on some texts,
after ten million steps back (tokenizers 0.23, Onig), at which the library panics.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backends.huggingface.files import refuse
from backends.panics import is_panic
from messages.errors import ErrorCode, HostError

_LONG = 1_000_000
"""Characters of a text at which good expressions may give up too: Qwen's do, at ten million spaces."""


@contextmanager
def splitting(file: Path, characters: int) -> Iterator[None]:
    """Raise for a panic of a `tokenizer.json` at a text of some characters.

    HostError `model_invalid`, or `invalid_request` for a text so long that it need not be the file's fault.
    """
    try:
        yield
    except BaseException as error:
        if not is_panic(error):
            raise
        if characters < _LONG:
            refuse(file, f"gives up on this text ({error}); others may do", error, damaged=False)
        message = f"A text of {characters} characters is too long for the model's tokenizer ({error}); send less."
        raise HostError(ErrorCode.INVALID_REQUEST, message, fields=["messages, prompt or input: too long"]) from error
