"""What this machine's compiler is told of llama.cpp: to leave AMX alone where it gets AMX wrong, and halves at all.

Some versions of GCC, 12.2 of Debian 12 among them, believe that an instruction reads 8 bytes of the tiles'
configuration, and leave out the other 56 (GCC's bug 114098). llama.cpp compiled so for a processor that has AMX ends
with SIGILL at the first prompt. Which versions do so is not looked up but tried.
For processors that calculate with 16-bit floats (AVX-512 FP16: Intel's Xeons since 2023) the attention of llama.cpp (in
llama-cpp-python 0.3.36) does so, 128 values at a time and the rest one by one: that is all where a head has 64 or 96.
Without them a prompt of 60 tokens is read in 0.6 of the time, as a token after 1,000 is, with one thread.
Above: `installer.engines`, `scripts/setup`, `benchmarks`. Below: the compiler.
"""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

WITHOUT_AMX = ("-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16")
WITHOUT_HALVES = ("-mno-avx512fp16",)
_AS_LLAMA_CPP = ("-O3", "-march=native")
_TIMEOUT_S = 60

_PROGRAM = """
#ifdef __AMX_TILE__
#include <immintrin.h>
#include <cstdint>

struct Tiles {
    uint8_t palette = 0, start_row = 0, reserved[14] = {};
    uint16_t columns[16] = {};
    uint8_t rows[16] = {};
};

inline void load() {
    alignas(64) Tiles tiles = {};
    tiles.palette = 1;
    tiles.rows[0] = 8, tiles.columns[0] = 64;
    tiles.rows[1] = 8, tiles.columns[1] = 64;
    tiles.rows[2] = 16, tiles.columns[2] = 32;
    tiles.rows[3] = 16, tiles.columns[3] = 32;
    _tile_loadconfig(&tiles);
}

int main() {
    load();
    alignas(64) volatile uint8_t loaded[64] = {};
    _tile_storeconfig(const_cast<uint8_t *>(loaded));
    return loaded[16] == 64 && loaded[22] == 32 && loaded[48] == 8 && loaded[51] == 16 ? 0 : 1;
}
#else
int main() { return 0; }
#endif
"""
"""Loads a configuration of tiles as llama.cpp does and looks what has come of it; 1, or a signal, if not all has."""


def build_variables(env: Mapping[str, str]) -> dict[str, str]:
    """`env` with `build_flags` added, for C and for C++; as it is where there are none."""
    return with_flags(env, build_flags(env))


def with_flags(env: Mapping[str, str], flags: Sequence[str]) -> dict[str, str]:
    """`env` with flags added, for C and for C++."""
    return {**env, **{name: " ".join([env.get(name, ""), *flags]).strip() for name in ("CFLAGS", "CXXFLAGS") if flags}}


def build_flags(env: Mapping[str, str]) -> tuple[str, ...]:
    """What llama.cpp's build needs here, and what makes it faster."""
    return (*needed_flags(env), *(WITHOUT_HALVES if _takes_halves(env) else ()))


def needed_flags(env: Mapping[str, str]) -> tuple[str, ...]:
    """`WITHOUT_AMX` if what the compiler makes of AMX is wrong; nothing if it is right, or cannot be tried."""
    with tempfile.TemporaryDirectory() as folder:
        return WITHOUT_AMX if _is_right(env, Path(folder)) is False else ()


def _takes_halves(env: Mapping[str, str]) -> bool:
    command = [*_compiler(env), "-dM", "-E", "-x", "c++", os.devnull]
    try:
        done = subprocess.run(command, env=env, capture_output=True, check=False, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"#define __AVX512FP16__ 1" in done.stdout


def _is_right(env: Mapping[str, str], folder: Path) -> bool | None:
    source, program = folder / "tiles.cpp", folder / "tiles"
    source.write_text(_PROGRAM)
    if _status([*_compiler(env), str(source), "-o", str(program)], env) != 0:
        return None
    status = _status([str(program)], env)
    return None if status is None else status == 0


def _compiler(env: Mapping[str, str]) -> list[str]:
    """The compiler as llama.cpp's build calls it."""
    program = shlex.split(env.get("CXX", "")) or ["c++"]
    return [*program, *_AS_LLAMA_CPP, *shlex.split(env.get("CXXFLAGS", ""))]


def _status(command: list[str], env: Mapping[str, str]) -> int | None:
    """A program's exit status, negative for a signal; None if it does not start or does not end."""
    try:
        done = subprocess.run(command, env=env, capture_output=True, check=False, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.returncode


if __name__ == "__main__":
    print(*build_flags(os.environ))
