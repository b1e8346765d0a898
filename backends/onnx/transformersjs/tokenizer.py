"""Text into tokens with Hugging Face's `tokenizers`, the library that defined `tokenizer.json`."""

from pathlib import Path

from tokenizers import Tokenizer

from backends.huggingface.files import refuse
from backends.panics import is_failure


class JsonTokenizer:
    """A `tokenizer.json`; satisfies `backends.onnx.interface.TextTokenizer`."""

    def __init__(self, file: Path) -> None:
        """Read the file; HostError `model_invalid` if it is not a tokenizer."""
        self.raw = read_tokenizer(file)
        self.raw.no_truncation()
        self.raw.no_padding()

    def encode(self, text: str) -> list[int]:
        """Tokens of a text; special tokens in it are recognised, none is added."""
        tokens: list[int] = self.raw.encode(text, add_special_tokens=False).ids
        return tokens


def read_tokenizer(file: Path) -> Tokenizer:
    """Read a `tokenizer.json`; HostError `model_invalid`."""
    try:
        return Tokenizer.from_file(str(file))
    except BaseException as error:  # the library raises bare Exceptions, and panics (tokenizers 0.23)
        if not is_failure(error):
            raise
        refuse(file, f"is not a tokenizer ({error})", error)
