"""What ctypes makes of a fault in native code on Windows is one; no other error is."""

import subprocess
import sys

import pytest

from backends.native_faults import fault_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError("exception: access violation reading 0x0000000000000000"), 0xC0000005),
        (OSError("exception: stack overflow"), 0xC0000005),
        (OSError("exception: integer divide by zero"), 0xC0000094),
        (OSError("exception: float divide by zero"), 0xC0000094),
        (OSError("a model's file is not there"), None),
        (FileNotFoundError(2, "exception: no such file"), None),
        (OSError(28, "No space left on device"), None),
        (ValueError("exception: access violation"), None),
    ],
)
def test_a_fault_is_told_from_an_error(error: BaseException, status: int | None) -> None:
    assert fault_of(error) == status


def test_windows_own_codes_are_statuses() -> None:
    error = OSError("what FormatError says")
    error.winerror = -1073741795  # type: ignore[attr-defined, unused-ignore]
    assert fault_of(error) == 0xC000001D
    error.winerror = -529697949  # type: ignore[attr-defined, unused-ignore]
    assert fault_of(error) == 0xE06D7363
    error.winerror = 5  # type: ignore[attr-defined, unused-ignore]
    assert fault_of(error) is None


if sys.platform == "win32":

    def test_a_process_that_leaves_by_a_fault_ends_with_its_status() -> None:
        program = (
            "import ctypes; from backends.native_faults import fault_of, leave\n"
            "try: ctypes.string_at(0)\n"
            "except OSError as error: leave(fault_of(error))"
        )
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0xC0000005
