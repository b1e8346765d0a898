"""A fault in an engine's own code as Windows shows it: ctypes catches it and raises OSError, and Python would go on.

Elsewhere it is a signal, which ends the process. Above it: `backends.worker`. Source: CPython, `_ctypes/callproc.c`.
"""

import os

ACCESS_VIOLATION = 0xC0000005
DIVISION_BY_ZERO = 0xC0000094
_FAULT_BITS = 0xC0000000


def fault_of(error: BaseException) -> int | None:
    """The status by which Windows would have ended the process (winnt.h, STATUS_...); None if it is no such fault."""
    if not isinstance(error, OSError):
        return None
    if error.errno is None and str(error).startswith("exception: "):
        return DIVISION_BY_ZERO if str(error).endswith("divide by zero") else ACCESS_VIOLATION
    status = getattr(error, "winerror", None) or 0
    return status & 0xFFFFFFFF if status & _FAULT_BITS == _FAULT_BITS else None


def leave(status: int) -> None:
    """End this process at once, as if nobody had caught the fault: what the engine left behind cannot be trusted."""
    os._exit(status - (1 << 32))
