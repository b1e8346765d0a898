"""Compilers that make of everything what a test says."""

import shlex
import sys
from pathlib import Path


def make_compiler(folder: Path, program: str, macros: str = "") -> str:
    """A compiler that makes that shell program of everything, and the value of CXX that calls it.

    Asked for its macros it tells `macros`.
    """
    script = folder / "compiler.py"
    script.write_text(
        "import pathlib, sys\n"
        f"'-dM' in sys.argv and (print({macros!r}), sys.exit())\n"
        "made = pathlib.Path(sys.argv[sys.argv.index('-o') + 1])\n"
        f"made.write_text('#!/bin/sh\\n' + {program!r} + '\\n')\n"
        "made.chmod(0o755)\n"
    )
    return shlex.join([sys.executable, str(script)])
