"""What the compiler of llama.cpp is told: nothing, but where it makes something wrong of AMX, or slow of halves."""

import os
import shlex
from pathlib import Path

import pytest
from support.compilers import make_compiler

from installer import compiler


@pytest.fixture
def variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("CC", "CXX", "CFLAGS", "CXXFLAGS")}


def test_with_the_flags_this_machines_own_compiler_is_right(variables: dict[str, str], tmp_path: Path) -> None:
    """Where the processor has AMX and the compiler is, say, GCC 12.2, it is wrong without them."""
    assert compiler._is_right(compiler.build_variables(variables), tmp_path) is True


@pytest.mark.parametrize("program", ["exit 1", "kill -SEGV $$", "kill -ILL $$"])
def test_a_compiler_that_is_wrong_is_told_to_leave_amx_alone_beside_what_it_is_told_already(
    variables: dict[str, str], tmp_path: Path, program: str
) -> None:
    variables |= {"CXX": make_compiler(tmp_path, program), "CFLAGS": "-g"}
    told = compiler.build_variables(variables)
    without = " ".join(compiler.WITHOUT_AMX)
    assert told == {**variables, "CFLAGS": f"-g {without}", "CXXFLAGS": without}


def test_a_compiler_for_a_processor_with_16_bit_floats_is_told_to_leave_them_alone(
    variables: dict[str, str], tmp_path: Path
) -> None:
    variables["CXX"] = make_compiler(tmp_path, "exit 0", "#define __AVX512F__ 1\n#define __AVX512FP16__ 1")
    without = " ".join(compiler.WITHOUT_HALVES)
    assert compiler.build_variables(variables) == {**variables, "CFLAGS": without, "CXXFLAGS": without}
    assert compiler.needed_flags(variables) == ()


def test_told_so_this_machines_own_compiler_uses_none(variables: dict[str, str]) -> None:
    assert not compiler._takes_halves(compiler.build_variables(variables))


def test_a_compiler_that_is_right_or_missing_or_fails_is_told_nothing(
    variables: dict[str, str], tmp_path: Path
) -> None:
    for name in (make_compiler(tmp_path, "exit 0", "#define __AVX512F__ 1"), "/nonexistent/c++", "false"):
        assert compiler.build_variables({**variables, "CXX": name}) == {**variables, "CXX": name}


def test_where_what_is_compiled_may_not_be_run_nothing_is_told(variables: dict[str, str], tmp_path: Path) -> None:
    """A folder for temporary files that is mounted noexec, say; compilers for ARM refuse the flags."""
    script = tmp_path / "compiler"
    script.write_text('for last; do :; done\n: > "$last"\n')
    variables["CXX"] = f"/bin/sh {shlex.quote(str(script))}"
    assert compiler.build_variables(variables) == variables
