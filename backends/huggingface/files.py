"""A model folder's JSON files. A folder is foreign: every file that it names must lie in it.

What is wrong is a HostError `model_invalid` that names the file. Above it: the readers of the engines' layouts.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from messages.errors import ErrorCode, HostError
from messages.wording import plural

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""An escape that is half a character. Without its other half no engine takes the text: found now, not in a request."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file; HostError `model_invalid` if it is not there or not one."""
    value = read_value(path)
    if not isinstance(value, dict):
        refuse(path, "is not a JSON object")
    return value


def read_value(path: Path) -> Any:
    """Read any JSON value from a file; HostError `model_invalid` if it is not there or not JSON."""
    if not path.is_file():
        refuse(path, "is missing")
    try:
        data = path.read_bytes()
        value = json.loads(data)
        if _HALF.search(data):
            json.dumps(value, ensure_ascii=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        refuse(path, f"cannot be read ({error})", error)
    return value


def refuse(path: Path, reason: str, cause: BaseException | None = None, *, damaged: bool = True) -> NoReturn:
    """Raise `model_invalid` about one file of the folder: `damaged`, or whole and of a kind that cannot be run."""
    folder = _model_folder(path)
    again = f"{path.name} {reason}. Get the model's folder again, complete: {folder}"
    message = again if damaged else f"{path.name} of {folder} {reason}."
    raise HostError(ErrorCode.MODEL_INVALID, message, model_path=str(folder), file=str(path)) from cause


def _model_folder(path: Path) -> Path:
    """The model's folder, of one of its files: graphs may be in `onnx/`."""
    above = path.parent.parent
    return above if path.parent.name == "onnx" and (above / "config.json").is_file() else path.parent


def require_tokens(path: Path, tokens: Sequence[int], vocab_size: int | None) -> None:
    """Raise `model_invalid` for end tokens that a model with this vocabulary cannot say."""
    outside = [token for token in tokens if vocab_size is not None and not 0 <= token < vocab_size]
    if outside:
        refuse(
            path, f"names the end token {outside[0]}, and the vocabulary has {vocab_size} {plural(vocab_size, 'token')}"
        )


def is_inside(folder: Path, name: str) -> bool:
    """True if a relative name stays in the folder; links inside it are the user's own doing (download caches)."""
    parts = Path(name).parts
    return not Path(name).is_absolute() and ".." not in parts and ":" not in name and not name.startswith("\\")
