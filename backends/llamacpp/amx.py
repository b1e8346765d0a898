"""Whether llama.cpp's matrix code for AMX, of Intel's Xeons since 2023, can be trusted in the build that is installed.

Above: `engine` loads a model without that code where it cannot. GCC before 11.5, 12.4, 13.3 and 14 takes the 64 bytes
that configure AMX's tiles for a pointer (https://gcc.gnu.org/PR114098) and leaves out all of them but the first 8, so
that the first prompt for a quantised model ends the process with SIGILL. Debian 12, Ubuntu 22.04 and Ubuntu 24.04 came
with such a GCC, and llama-cpp-python is compiled on the user's own machine.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import llama_cpp

COMPILER = re.compile(rb"GCC: \([^)\0]*\) (\d+)\.(\d+)\.\d+")
"""What GCC writes into the section `.comment` of each object that it makes."""

MENDED = {11: 5, 12: 4, 13: 3}
"""The first minor version of each major one that is right; all from 14 on are, none before 11 is."""


def model_parameters() -> Any:
    """llama.cpp's own defaults, and what keeps the process alive."""
    parameters = llama_cpp.llama_model_default_params()
    parameters.use_extra_bufts = not is_broken()
    return parameters


@cache
def is_broken() -> bool:
    """Whether the installed build has AMX code that was compiled by such a GCC."""
    if b"AMX_INT8 = 1" not in llama_cpp.llama_print_system_info():
        return False
    libraries = (Path(llama_cpp.__file__).parent / "lib").glob("*ggml-cpu*")
    return any(is_of_broken_gcc(path.read_bytes()) for path in libraries)


def is_of_broken_gcc(library: bytes) -> bool:
    """Whether a part of that library was compiled by a GCC that has the fault."""
    versions: Iterable[tuple[bytes, bytes]] = set(COMPILER.findall(library))
    return any(int(minor) < MENDED.get(int(major), 0 if int(major) > 13 else 99) for major, minor in versions)
