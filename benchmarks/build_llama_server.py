"""Builds llama.cpp's server out of llama-cpp-python's source package: `python -m benchmarks.build_llama_server`.

It takes some ten minutes on two cores and stays below `.cache/`. The compiler is told what it needs to make a program
that runs, and nothing else: the reference is llama.cpp as it comes. Above it: `llama_server`, which runs it.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version

from benchmarks.models import CACHE
from installer.compiler import needed_flags, with_flags

COMMAND = "python -m benchmarks.build_llama_server"
FOLDER = CACHE / "llama-server"
BINARY = FOLDER / "build" / "bin" / "llama-server"

_BUILD = ("-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF", "-DBUILD_SHARED_LIBS=OFF")


def build() -> None:
    """Fetch the source package of the installed llama-cpp-python and build its server."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = f"llama-cpp-python=={version('llama-cpp-python')}"
    fetch = [sys.executable, "-m", "pip", "download", name, "--no-deps", "--no-binary", ":all:", "--dest", str(FOLDER)]
    subprocess.run(fetch, check=True)
    (archive,) = FOLDER.glob("llama_cpp_python-*.tar.gz")
    source = FOLDER / "source"
    shutil.rmtree(source, ignore_errors=True)
    with tarfile.open(archive) as packed:
        packed.extractall(source, filter="data")
    (vendored,) = source.glob("*/vendor/llama.cpp")
    shutil.rmtree(FOLDER / "build", ignore_errors=True)  # what is configured already would keep its old flags
    variables = with_flags(os.environ, needed_flags(os.environ))
    configure = ["cmake", "-S", str(vendored), "-B", str(FOLDER / "build"), *_BUILD]
    subprocess.run(configure, check=True, env=variables)
    command = ["cmake", "--build", str(FOLDER / "build"), "--target", "llama-server", "--parallel", "2"]
    subprocess.run(command, check=True, env=variables)


if __name__ == "__main__":
    build()
