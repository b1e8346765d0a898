"""The two hosts that are compared, as files that a browser starts: ours, as install.py writes it, and the echo."""

import shutil
import sys
from pathlib import Path

from installer import launcher
from installer.platforms import Platform

REPOSITORY = Path(__file__).resolve().parents[1]
ECHO_SOURCE = Path(__file__).with_name("echo_host.py")

OUR_NAME = "com.tabagent.native_host"
ECHO_NAME = "com.tabagent.benchmark_echo"

EXTENSION = Path(__file__).with_name("extension")
EXTENSION_ID = "cgbminbadoihjpajgefonghncnofihif"
"""Follows from the key in the extension's manifest."""

ORIGIN = f"chrome-extension://{EXTENSION_ID}/"


def write_ours(folder: Path) -> Path:
    """Write the launcher that install.py writes, for this Python and this checkout."""
    files = launcher.render(Platform.current(), folder, Path(sys.executable), REPOSITORY)
    for file in files:
        Path(file.path).write_bytes(file.content)
        Path(file.path).chmod(file.mode)
    return Path(files[0].path)


def write_echo(folder: Path) -> Path:
    """Write the echo host, started by the same Python with the same flags."""
    path = folder / "echo-host"
    path.write_text(f"#!{sys.executable} -ISE\n{ECHO_SOURCE.read_text()}")
    path.chmod(0o755)
    return path


def copy_extension(folder: Path) -> Path:
    """Copy the benchmark's extension, so that the browser leaves nothing in the checkout."""
    return Path(shutil.copytree(EXTENSION, folder / "extension"))
