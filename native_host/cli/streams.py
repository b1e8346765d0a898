"""A command's standard streams: one that is closed, one whose encoding lacks a letter, one that takes no more.

Above it: the command line's `main`. Standard library only.
"""

import errno
import io
import os
import sys
from typing import TextIO

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
_FAILS_ON_A_LETTER = frozenset({"strict", "surrogateescape"})
_TAKES_NO_MORE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def prepare() -> None:
    """Make every stream usable: a closed one is the null device, and stdout escapes what it cannot spell.

    To be called first, so that no other file gets the number of a closed stream, and with it what is printed.
    """
    for name, mode in _STREAMS:
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the end
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in _FAILS_ON_A_LETTER:
        sys.stdout.reconfigure(errors="backslashreplace")


def takes_no_more(error: OSError) -> bool:
    """Whether an error is a stream's, such as a full disk's; one of a file that we open has the file's name."""
    return error.filename is None and error.errno in _TAKES_NO_MORE


def discard(*streams: TextIO) -> None:
    """Lose what streams still hold, and all that is to come; else Python tries it again when it ends, and complains."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(null, stream.fileno())
    os.close(null)
