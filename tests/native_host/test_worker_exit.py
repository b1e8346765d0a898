"""How a worker ended is told with the signal, whatever the system calls it."""

import pytest

from messages.errors import ErrorCode
from native_host.worker_exit import WorkerExit


@pytest.mark.parametrize(
    ("returncode", "name"),
    [
        (-11, "SIGSEGV"),
        (0xC0000005, "SIGSEGV"),
        (0xC0000409, "SIGABRT"),
        (0xC000001D, "SIGILL"),
        (0xE06D7363, "SIGABRT"),
        (-15, "SIGTERM"),
    ],
)
def test_a_fault_has_a_signals_name(returncode: int, name: str) -> None:
    error = WorkerExit(returncode, loaded=True).as_error("m")
    assert (error.code, error.details["signal"]) == (ErrorCode.BACKEND_CRASHED, name)
    assert f"The engine of m crashed ({name})." in error.message


def test_an_exit_code_of_its_own_is_told_as_one() -> None:
    error = WorkerExit(3, loaded=True).as_error("m")
    assert error.details["exit_code"] == 3
    assert "left (exit code 3)" in error.message
