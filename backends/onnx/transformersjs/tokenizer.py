"""Text into tokens with Hugging Face's `tokenizers`, the library that defined `tokenizer.json`."""

from pathlib import Path

from tokenizers import Encoding, Tokenizer

from backends.huggingface.files import refuse
from backends.huggingface.splitting import splitting
from backends.panics import is_failure

_SAMPLE = "Hello"


class JsonTokenizer:
    """A `tokenizer.json`; satisfies `backends.onnx.interface.TextTokenizer`."""

    def __init__(self, file: Path, *, ends: bool = False) -> None:
        """Read the file; HostError `model_invalid` if it is no tokenizer. ends: its special tokens will be wanted."""
        self._file = file
        self.raw = read_tokenizer(file, ends=ends)
        self.raw.no_truncation()
        self.raw.no_padding()

    def encode(self, text: str) -> list[int]:
        """Tokens of a text; special tokens in it are recognised, none is added. Raises HostError: see `splitting`."""
        tokens: list[int] = self.encoding(text).ids
        return tokens

    def encoding(self, text: str) -> Encoding:
        """The same with what the library knows of each token."""
        with splitting(self._file, len(text)):
            return self.raw.encode(text, add_special_tokens=False)


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
