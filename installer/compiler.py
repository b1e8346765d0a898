"""What this machine's compiler has to be told so that llama.cpp runs: to leave AMX alone where it gets AMX wrong.

Some versions of GCC, 12.2 of Debian 12 among them, believe that an instruction reads 8 bytes of the tiles'
configuration, and leave out the other 56 (GCC's bug 114098). llama.cpp compiled so for a processor that has AMX ends
with SIGILL at the first prompt. Which versions do so is not looked up but tried.
Above: `installer.engines`, `scripts/setup`, `benchmarks`. Below: the compiler.
"""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

WITHOUT_AMX = ("-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16")
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
    """`env` with the flags added that llama.cpp's build needs here, for C and for C++; as it is where it needs none."""
    flags = build_flags(env)
    return {**env, **{name: " ".join([env.get(name, ""), *flags]).strip() for name in ("CFLAGS", "CXXFLAGS") if flags}}


def build_flags(env: Mapping[str, str]) -> tuple[str, ...]:
    """`WITHOUT_AMX` if what the compiler makes of AMX is wrong; nothing if it is right, or cannot be tried."""
    with tempfile.TemporaryDirectory() as folder:
        return WITHOUT_AMX if _is_right(env, Path(folder)) is False else ()


def _is_right(env: Mapping[str, str], folder: Path) -> bool | None:
    source, program = folder / "tiles.cpp", folder / "tiles"
    source.write_text(_PROGRAM)
    flags = [*_AS_LLAMA_CPP, *shlex.split(env.get("CXXFLAGS", ""))]
    compiler = shlex.split(env.get("CXX", "")) or ["c++"]
    if _status([*compiler, *flags, str(source), "-o", str(program)], env) != 0:
        return None
    status = _status([str(program)], env)
    return None if status is None else status == 0


def _status(command: list[str], env: Mapping[str, str]) -> int | None:
    """A program's exit status, negative for a signal; None if it does not start or does not end."""
    try:
        done = subprocess.run(command, env=env, capture_output=True, check=False, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.returncode


if __name__ == "__main__":
    print(*build_flags(os.environ))
