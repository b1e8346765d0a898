"""Text into tokens with Hugging Face's `tokenizers`, the library that defined `tokenizer.json`."""

from pathlib import Path

from tokenizers import Tokenizer

from backends.huggingface.files import refuse
from backends.panics import is_failure

_SAMPLE = "Hello"


class JsonTokenizer:
    """A `tokenizer.json`; satisfies `backends.onnx.interface.TextTokenizer`."""

    def __init__(self, file: Path, *, ends: bool = False) -> None:
        """Read the file; HostError `model_invalid` if it is no tokenizer. ends: its special tokens will be wanted."""
        self.raw = read_tokenizer(file, ends=ends)
        self.raw.no_truncation()
        self.raw.no_padding()

    def encode(self, text: str) -> list[int]:
        """Tokens of a text; special tokens in it are recognised, none is added."""
        tokens: list[int] = self.raw.encode(text, add_special_tokens=False).ids
        return tokens


def read_tokenizer(file: Path, *, ends: bool) -> Tokenizer:
    """Read a `tokenizer.json` and try it, with the special tokens that it puts around a text if those will be wanted.

    Raises HostError `model_invalid`.
    """
    try:
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.encode(_SAMPLE, add_special_tokens=ends)
        return tokenizer
    except BaseException as error:  # the library raises bare Exceptions, and panics (tokenizers 0.23)
        if not is_failure(error):
            raise
        refuse(file, f"is not a tokenizer ({error})", error)
