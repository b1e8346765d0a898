"""The launcher: the file that manifests name and browsers start.

It is a stub: `native_host.relay` beside it is compiled once, while the started file is compiled at every start, and a
browser starts one for every message. `-I -S -E` leaves out the site module and the environment, 7 of 20 ms.
"""

import shlex
from dataclasses import dataclass
from pathlib import PurePath

from installer.platforms import Platform

NAME = "tabagent-native-host"
STUB_NAME = "tabagent-native-host-stub.py"
# The kernel cuts a #! line at 127 bytes before Linux 5.1 (BINPRM_BUF_SIZE), and splits it at the first space.
SHEBANG_LIMIT = 120


@dataclass(frozen=True)
class LauncherFile:
    """One file to write, with its permissions."""

    path: PurePath
    content: bytes
    mode: int


def _stub(site_packages: PurePath) -> str:
    return f"import sys\n\nsys.path.insert(0, {str(site_packages)!r})\n\nfrom native_host.relay import main\n\nmain()\n"


def render(platform: Platform, prefix: PurePath, python: PurePath, site_packages: PurePath) -> list[LauncherFile]:
    """The files of the launcher; the first is the one that manifests name.

    Args:
        prefix: the folder they go into.
        python: the private environment's interpreter.
        site_packages: the folder that holds `native_host`.
    """
    stub = _stub(site_packages)
    if platform.system == "windows":
        return _windows(prefix, python, stub)
    shebang = f"#!{python} -ISE"
    if " " not in str(python) and len(shebang) <= SHEBANG_LIMIT:
        return [LauncherFile(prefix / NAME, f"{shebang}\n{stub}".encode(), 0o755)]
    stub_path = prefix / STUB_NAME
    script = f'#!/bin/sh\nexec {shlex.quote(str(python))} -I -S -E {shlex.quote(str(stub_path))} "$@"\n'
    return [
        LauncherFile(prefix / NAME, script.encode(), 0o755),
        LauncherFile(stub_path, stub.encode(), 0o644),
    ]


def _windows(prefix: PurePath, python: PurePath, stub: str) -> list[LauncherFile]:
    """A batch file, with paths relative to its own: cmd.exe reads it in the console's code page, not in UTF-8."""
    relative = python.relative_to(prefix)
    batch = f'@echo off\r\n"%~dp0{relative}" -I -S -E "%~dp0{STUB_NAME}" %*\r\n'
    return [
        LauncherFile(prefix / f"{NAME}.bat", batch.encode("ascii"), 0o644),
        LauncherFile(prefix / STUB_NAME, stub.encode(), 0o644),
    ]
