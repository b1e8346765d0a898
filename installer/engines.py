"""Putting the host and its engines into the private environment.

The host comes with onnx in one go; every other engine is a step of its own, so that one that fails takes nothing down.
"""

import os
import platform
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from installer.compiler import build_variables
from installer.environment import Environment, PipError
from installer.errors import InstallError
from installer.sources import Checkout
from installer.terminal import Terminal

ALWAYS = ("onnx",)
HOST_EXTRAS = (*ALWAYS, "http")
"""What the host is installed with: the HTTP API is small, and off until it is asked for."""

OPTIONAL = ("llamacpp", "mediapipe", "mlx")
UNUSED = frozenset({"mediapipe"})
"""Engines that no backend of this version is for."""

PREBUILT_LLAMACPP = "https://abetlen.github.io/llama-cpp-python/whl/cpu"
PROBE_TIMEOUT_S = 5.0
PREBUILT_TIMEOUT_S = 240.0


def expand(names: Sequence[str]) -> list[str]:
    """The engines meant, onnx first.

    "all" leaves out mlx where there is no Apple silicon, and what no backend is for; both can still be named.

    Raises:
        InstallError: a name is unknown.
    """
    wanted = set(ALWAYS)
    for name in names:
        if name == "all":
            wanted |= {*OPTIONAL} - UNUSED - (set() if _apple_silicon() else {"mlx"})
        elif name in ALWAYS + OPTIONAL:
            wanted.add(name)
        else:
            known = ", ".join((*ALWAYS, *OPTIONAL, "all"))
            raise InstallError(f'"{name}" is not an engine.', f"Known: {known}.")
    return [name for name in ALWAYS + OPTIONAL if name in wanted]


def _apple_silicon() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"


def install_host(environment: Environment, checkout: Checkout, terminal: Terminal) -> None:
    """Install the host, the HTTP API and the onnx engine from the checkout, as an ordinary wheel.

    Raises:
        PipError: pip failed.
    """
    done = f"Installed the host {checkout.version} and ONNX Runtime"
    with terminal.step("Installing the host and ONNX Runtime", done) as step, tempfile.TemporaryDirectory() as folder:
        checkout.copy_to(Path(folder))
        environment.pip_install([f"{folder}[{','.join(HOST_EXTRAS)}]"], step)


def install_engine(environment: Environment, checkout: Checkout, engine: str, terminal: Terminal) -> None:
    """Install one more engine.

    Raises:
        InstallError: it could not be installed.
    """
    requirements = checkout.requirements(engine)
    if engine == "llamacpp":
        _install_llamacpp(environment, requirements, terminal)
        return
    if engine in UNUSED:
        terminal.say(f"  No backend of this version uses {engine} yet: it is installed and does nothing.")
    with terminal.step(f"Installing {engine}", f"Installed {engine}") as step:
        environment.pip_install(requirements, step)


def _install_llamacpp(environment: Environment, requirements: Sequence[str], terminal: Terminal) -> None:
    """The project's prebuilt wheels first; where there are none, or the network has no way there, its sources."""
    if _reachable(PREBUILT_LLAMACPP):
        arguments = ["--only-binary", "llama-cpp-python", "--extra-index-url", PREBUILT_LLAMACPP, *requirements]
        try:
            with terminal.step("Installing llama.cpp, prebuilt", "Installed llama.cpp, prebuilt") as step:
                environment.pip_install(arguments, step, PREBUILT_TIMEOUT_S)
            return
        except PipError:
            terminal.say("  There is no prebuilt llama.cpp for this Python and system.")
    else:
        terminal.say(f"  The prebuilt llama.cpp is out of reach from here ({PREBUILT_LLAMACPP}).")
    _check_compiler()
    terminal.say("  Compiling llama.cpp instead: 6 to 8 minutes on two processor cores, less on more.")
    with terminal.step("Compiling llama.cpp", "Compiled and installed llama.cpp") as step:
        environment.pip_install(requirements, step, variables=build_variables(os.environ))


def _reachable(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/", timeout=PROBE_TIMEOUT_S):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except (OSError, ValueError):
        return False


def _check_compiler() -> None:
    """Fail in a second and not after minutes where there is nothing to compile with."""
    if os.name == "nt" or os.environ.get("CXX") or any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        return
    raise InstallError(
        "llama.cpp has to be compiled, and there is no C++ compiler here.",
        "Debian, Ubuntu: sudo apt install build-essential. Fedora: sudo dnf install gcc-c++."
        " macOS: xcode-select --install.",
    )
