"""A build of llama.cpp whose AMX code would end the process is used without that code."""

from pathlib import Path

import llama_cpp
import pytest

from backends.llamacpp import amx


@pytest.mark.parametrize(
    ("comment", "broken"),
    [
        (b"GCC: (Debian 12.2.0-14+deb12u1) 12.2.0", True),
        (b"GCC: (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0", True),
        (b"GCC: (Ubuntu 13.2.0-23ubuntu4) 13.2.0", True),
        (b"GCC: (GNU) 10.5.0", True),
        (b"GCC: (GNU) 12.4.0", False),
        (b"GCC: (GNU) 13.3.1 20240611 (Red Hat 13.3.1-2)", False),
        (b"GCC: (Debian 14.2.0-19) 14.2.0", False),
        (b"clang version 18.1.3", False),
        (b"", False),
    ],
)
def test_a_library_tells_by_which_compiler_it_was_made(comment: bytes, broken: bool) -> None:
    assert amx.is_of_broken_gcc(b"\x7fELF\0" + comment + b"\0") is broken


def test_one_part_that_was_made_by_a_broken_compiler_is_enough() -> None:
    assert amx.is_of_broken_gcc(b"GCC: (GNU) 14.1.0\0GCC: (GNU) 12.2.0\0")


@pytest.mark.parametrize(("has_amx", "broken"), [(b"AMX_INT8 = 1", True), (b"AVX2 = 1", False)])
def test_a_build_without_amx_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_amx: bytes, broken: bool
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libggml-cpu.so.0").write_bytes(b"GCC: (GNU) 12.2.0")
    monkeypatch.setattr(llama_cpp, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(llama_cpp, "llama_print_system_info", lambda: b"CPU : " + has_amx + b" | ")
    assert amx.is_broken.__wrapped__() is broken
