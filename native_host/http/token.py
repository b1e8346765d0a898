"""The bearer token of the HTTP API: made once, in a file that only this user can read. Standard library alone.

Above it: `native_host.http.door`, and the command `tabagent-host token`.
"""

import os
import secrets
from pathlib import Path

from native_host.private_file import write_private

TOKEN_FILE = "http-token"
_MIN_CHARACTERS = 32


def read_or_make_token(data_dir: Path) -> str:
    """The token of this data folder, made if there is none yet. OSError if the folder cannot be used.

    A file that others can read is closed to them; one that holds no token (empty, cut short) is written anew.
    """
    file = data_dir / TOKEN_FILE
    try:
        token = file.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        token = ""
    if len(token) < _MIN_CHARACTERS:
        return _make(file)
    if os.name != "nt" and file.stat().st_mode & 0o077:
        file.chmod(0o600)
    return token


def _make(file: Path) -> str:
    token = secrets.token_urlsafe(32)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_private(file, token + "\n")
    return token
