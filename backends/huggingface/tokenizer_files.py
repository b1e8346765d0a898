"""What a folder says of its tokenizer: the chat template, and which tokens are special.

Above it: the engines' prompt encoders.
"""

import re
from pathlib import Path
from typing import Any

from backends.huggingface.files import refuse


def template_source(folder: Path, settings: dict[str, Any]) -> str | None:
    """The folder's chat template: its own file, else the one in tokenizer_config.json, else None.

    Several named ones there are no case: the engine's tokenizer does not load such a folder (genai 0.18.0).
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            refuse(file, f"cannot be read ({error})", error)
    template = settings.get("chat_template")
    return template if isinstance(template, str) else None


def token_text(token: Any) -> str:
    """A special token's text: a string, or an object with it."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def control_tokens(description: dict[str, Any]) -> re.Pattern[str]:
    """Matches the spelling of any special token of a `tokenizer.json`."""
    added = [
        token for token in description.get("added_tokens") or [] if isinstance(token, dict) and token.get("special")
    ]
    spellings = sorted(filter(None, (token_text(token) for token in added)), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, spellings)) or r"(?!)")
