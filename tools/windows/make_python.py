"""Put together a Python for Windows that runs under Wine: `python -m tools.windows.make_python FOLDER`.

Its library, extension modules and OpenSSL are those that Panda3D ships for the programs it packs (PyPI, `panda3d`,
`deploy_libs`); the modules in Python are this Python's, which has to be the same version. With it come the host's
packages. Needs `x86_64-w64-mingw32-gcc`.
"""

import argparse
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import zipfile
from pathlib import Path

PANDA3D = "panda3d==1.10.16"
EXTRAS = ("http", "onnx")
TESTING = ("pytest>=8.2", "pytest-timeout>=2.3", "hypothesis>=6.100", "httpx>=0.27", "openai>=3.0", "gguf>=0.17")
LIMITS = ("numpy<2",)
"""numpy 2 wants functions of Windows' C library that Wine 8 has not."""
GCC = "x86_64-w64-mingw32-gcc"
OBJDUMP = "x86_64-w64-mingw32-objdump"
SOURCES = Path(__file__).parent
FOR_WINDOWS = ("--platform", "win_amd64", "--python-version", "3.11", "--implementation", "cp")


def make(folder: Path) -> None:
    """Make it in `folder`, which is new. RuntimeError if this Python is of another version."""
    if sys.version_info[:2] != (3, 11):
        raise RuntimeError("Panda3D's library is of Python 3.11; run this with that.")
    (folder / "DLLs").mkdir(parents=True)
    _add_library(folder)
    _add_modules(folder)
    _compile(folder)
    _install(folder / "Lib" / "site-packages")


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _add_library(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as downloads:
        pip = (sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:")
        _run(*pip, *FOR_WINDOWS, "--dest", downloads, PANDA3D)
        with zipfile.ZipFile(next(Path(downloads).glob("*.whl"))) as wheel:
            for name in wheel.namelist():
                path = Path(name)
                if path.parent.name != "deploy_libs" or path.name.startswith("api-ms-"):
                    continue
                beside = path.name in ("python311.dll", "VCRUNTIME140.dll")
                (folder / ("" if beside else "DLLs") / path.name).write_bytes(wheel.read(name))


def _add_modules(folder: Path) -> None:
    left_out = shutil.ignore_patterns("site-packages", "test", "__pycache__", "lib-dynload", "config-*")
    shutil.copytree(sysconfig.get_path("stdlib"), folder / "Lib", ignore=left_out)


def _compile(folder: Path) -> None:
    _run(GCC, "-municode", "-O1", "-o", folder / "python.exe", SOURCES / "python.c")
    launchers = folder / "Lib" / "venv" / "scripts" / "nt"
    launchers.mkdir(parents=True, exist_ok=True)
    _run(GCC, "-municode", "-O1", "-o", launchers / "python.exe", SOURCES / "venv_launcher.c")
    shutil.copy(launchers / "python.exe", launchers / "pythonw.exe")
    primitives = SOURCES / "bcryptprimitives.c"
    _run(GCC, "-shared", "-o", folder / "bcryptprimitives.dll", primitives, "-ladvapi32")
    _add_stable_interface(folder)


def _add_stable_interface(folder: Path) -> None:
    """python3.dll, whose every function is the one of that name in python311.dll."""
    table = _run(OBJDUMP, "-p", folder / "python311.dll").split("[Ordinal/Name Pointer] Table")[1]
    names = sorted(set(re.findall(r"\b_?Py\w+$", table, re.MULTILINE)))
    definition = folder / "python3.def"
    lines = [f"  {name}=python311.{name}" for name in names]
    definition.write_text("\n".join(["LIBRARY python3.dll", "EXPORTS", *lines, ""]))
    empty = folder / "empty.c"
    empty.touch()
    _run(GCC, "-shared", "-nostdlib", "-Wl,--entry=0", "-o", folder / "python3.dll", empty, definition)
    definition.unlink()
    empty.unlink()


def _install(packages: Path) -> None:
    project = tomllib.loads((SOURCES.parents[1] / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in EXTRAS for one in project["optional-dependencies"][extra])]
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", *FOR_WINDOWS)
    _run(*pip, "--target", packages, *wanted, *TESTING, *LIMITS)


def main() -> None:
    """Make it in the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Put together a Python for Windows that runs under Wine.")
    parser.add_argument("folder", type=Path)
    make(parser.parse_args().folder)


if __name__ == "__main__":
    main()
