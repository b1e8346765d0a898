"""Command lines as a person can type them on this system.

Above it: whatever says what to do next, in the installer and in the command line of the host.
"""

import shlex
import subprocess
import sys
from pathlib import Path

PYTHON = "py" if sys.platform == "win32" else "python3"
INSTALLER = f"{PYTHON} install.py"
AS_ADMINISTRATOR = "in a terminal opened as one" if sys.platform == "win32" else f"sudo {INSTALLER} --system"


def quoted(word: str | Path) -> str:
    """A word of a command line, quoted as this system's shell wants it: Windows' knows no single quotes."""
    if sys.platform == "win32":
        return subprocess.list2cmdline([str(word)])
    return shlex.quote(str(word))
