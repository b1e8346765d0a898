"""How a worker ended, as the error that those are told who wanted something of it.

Above it: `native_host.worker_process`.
"""

import signal
from dataclasses import dataclass, field

from messages.errors import ErrorCode, HostError

LAST_OUTPUT_CHARACTERS = 4000

_FAULTS = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV")
"""Signals by which an engine ends itself; any other is somebody else's."""

_WINDOWS_FAULTS = {
    0xC0000005: "SIGSEGV",
    0xC0000006: "SIGBUS",
    0xC000001D: "SIGILL",
    0xC0000094: "SIGFPE",
    0xC00000FD: "SIGSEGV",
    0xC0000374: "SIGABRT",
    0xC0000409: "SIGABRT",
    0xE06D7363: "SIGABRT",
}
"""What Windows has for them, as exit codes (winnt.h, STATUS_...), by the signal that it would be elsewhere.

The last is Visual C++'s own, for an exception that nobody in the engine caught.
"""


@dataclass(slots=True)
class WorkerExit:
    """How a worker ended. loaded is False if its model was not there yet."""

    returncode: int
    loaded: bool
    output: list[str] = field(default_factory=list)

    def as_error(self, model: str) -> HostError:
        """`backend_crashed`, with what the engine said last."""
        tail = "\n".join(self.output)[-LAST_OUTPUT_CHARACTERS:]
        if name := _signal_of(self.returncode):
            while_it_loaded = "" if self.loaded else " while it loaded the model"
            text = f"The engine of {model} crashed{while_it_loaded} ({name}). {_remedy(name, self.loaded)}"
            return HostError(ErrorCode.BACKEND_CRASHED, text, model=model, signal=name, last_output=tail)
        text = f"The engine of {model} left (exit code {self.returncode}). Load the model again."
        return HostError(ErrorCode.BACKEND_CRASHED, text, model=model, exit_code=self.returncode, last_output=tail)


def _remedy(signal_name: str, loaded: bool) -> str:
    """What to do about a crash: a processor that does not know an instruction will not know it the next time."""
    if signal_name == "SIGILL":
        return "It was compiled for another processor, or wrongly for this one; install the engine anew."
    if not loaded and signal_name in _FAULTS:
        return "The model's files may be damaged: get them again. If they are whole, install the engine anew."
    return "Send the request again; load the model again if it persists."


def _signal_of(returncode: int) -> str | None:
    """The signal that ended a process, by name; real-time signals have none. None if it left by itself."""
    if returncode >= 0:
        return _WINDOWS_FAULTS.get(returncode)
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
