"""Looking at an installation without changing it: used by `check`, `status` and `tabagent-host doctor`.

for registration in inspect(Platform.current(), "com.tabagent.native_host", prefix):
    for problem in registration.problems: ...
"""

import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from installer import browsers, files, manifest, receipt
from installer.browsers import Target
from installer.errors import InstallError
from installer.manifest import HostManifest, ManifestError
from installer.platforms import Platform
from installer.receipt import Receipt
from installer.registry import Registry, open_registry
from installer.wording import INSTALLER, quoted

HOST_NAME = "com.tabagent.native_host"
RUN_INSTALLER = f"Run {INSTALLER}."


class ProblemCode(StrEnum):
    """What can be wrong with a registration."""

    NOT_REGISTERED = "not_registered"
    UNREADABLE = "unreadable"
    INVALID = "invalid"
    WRONG_NAME = "wrong_name"
    RELATIVE_PATH = "relative_path"
    LAUNCHER_MISSING = "launcher_missing"
    LAUNCHER_NOT_EXECUTABLE = "launcher_not_executable"
    INTERPRETER_MISSING = "interpreter_missing"
    NO_EXTENSION = "no_extension"
    REGISTRY = "registry"


@dataclass(frozen=True)
class Problem:
    """What is wrong, in one sentence, and what to do about it."""

    code: ProblemCode
    text: str
    remedy: str


@dataclass(frozen=True)
class Registration:
    """A browser and its manifest. `manifest` is None where there is none or no browser would take it."""

    browser: str
    title: str
    scope: str
    path: Path
    found: bool
    manifest: HostManifest | None
    problems: tuple[Problem, ...]

    @property
    def is_missing(self) -> bool:
        """Whether there is no manifest at all."""
        return any(problem.code is ProblemCode.NOT_REGISTERED for problem in self.problems)


def find_prefix(platform: Platform) -> Path:
    """The folder of the installation this code runs in, else the one it would go to."""
    own = Path(sys.prefix).parent
    if (own / receipt.FILE_NAME).is_file():
        return own
    return Path(platform.data_folder())


def inspect(
    platform: Platform, host_name: str = HOST_NAME, prefix: Path | None = None, registry: Registry | None = None
) -> list[Registration]:
    """Every browser that is on this machine or has a manifest of this host, with what is wrong about it.

    Raises:
        InstallError: the receipt is damaged.
    """
    prefix = prefix or find_prefix(platform)
    registry = registry or open_registry()
    found = {browser.name for browser in browsers.detect(platform, registry)}
    written = receipt.load(prefix) or Receipt()
    results: dict[Path, Registration] = {}
    for target in _targets(platform, host_name, prefix, written):
        is_found = target.browser in found and target.scope == "user"
        if is_found or Path(target.manifest).exists() or str(target.manifest) in written.files:
            results.setdefault(Path(target.manifest), _examine(target, is_found, registry))
    for_all = {one.browser for one in results.values() if one.scope == "system" and one.manifest}
    return [one for one in results.values() if not (one.is_missing and one.browser in for_all)]


def _targets(platform: Platform, host_name: str, prefix: Path, written: Receipt) -> Iterator[Target]:
    for browser in browsers.known(platform):
        yield browsers.target(platform, browser, host_name, prefix)
    for browser in browsers.known(platform):
        if platform.system == "windows" or browser.seats[platform.system].system:
            yield browsers.target(platform, browser, host_name, prefix, system=True)
    for path, entry in written.files.items():
        if (
            entry.kind == "manifest"
            and Path(path).stem == host_name
            and Path(path).parent.name == "NativeMessagingHosts"
        ):
            yield browsers.profile_target(Path(path).parents[1], host_name)


def _examine(target: Target, found: bool, registry: Registry) -> Registration:
    path = Path(target.manifest)
    parsed: HostManifest | None = None
    try:
        content = files.read(path)
        parsed = manifest.parse(content, target.family) if content is not None else None
        problems = list(_manifest_problems(parsed, target, registry))
    except InstallError as error:
        problems = [Problem(ProblemCode.UNREADABLE, str(error), "Move it out of the way, or make it readable.")]
    except ManifestError as error:
        text = f"No browser takes {path}: {error}."
        problems = [Problem(ProblemCode.INVALID, text, RUN_INSTALLER)]
    return Registration(target.browser, target.title, target.scope, path, found, parsed, tuple(problems))


def _manifest_problems(parsed: HostManifest | None, target: Target, registry: Registry) -> Iterator[Problem]:
    if parsed is None:
        text = f"{target.title} does not know the host: there is no {target.manifest}."
        yield Problem(ProblemCode.NOT_REGISTERED, text, RUN_INSTALLER)
        return
    if parsed.name != target.manifest.stem:
        text = f'{target.manifest} says "{parsed.name}"; browsers want the file\'s own name there.'
        yield Problem(ProblemCode.WRONG_NAME, text, f"{RUN_INSTALLER} With --force if it is to be replaced.")
    if not parsed.allowed:
        remedy = f"Run {INSTALLER} --extension-id <id> with your extension's id."
        yield Problem(ProblemCode.NO_EXTENSION, f"{target.manifest} lets no extension in.", remedy)
    for key in target.registry_keys:
        if registry.get(target.hive, key) != str(target.manifest):
            text = f"The registry key {target.hive}\\{key} does not name {target.manifest}."
            yield Problem(ProblemCode.REGISTRY, text, RUN_INSTALLER)
    yield from launcher_problems(Path(parsed.path))


def launcher_problems(path: Path) -> Iterator[Problem]:
    """What keeps a browser from starting the program that a manifest names."""
    if not path.is_absolute():
        text = f"The manifest's path {path} is not absolute."
        yield Problem(ProblemCode.RELATIVE_PATH, text, RUN_INSTALLER)
    elif not path.is_file():
        yield Problem(ProblemCode.LAUNCHER_MISSING, f"The launcher {path} is not there.", RUN_INSTALLER)
    elif not os.access(path, os.X_OK):
        yield Problem(
            ProblemCode.LAUNCHER_NOT_EXECUTABLE,
            f"The launcher {path} may not be run.",
            f"chmod +x {quoted(path)}",
        )
    elif (program := interpreter(path)) and not os.access(program, os.X_OK):
        text = f"The launcher's interpreter {program} is not there; was Python removed or upgraded?"
        yield Problem(ProblemCode.INTERPRETER_MISSING, text, RUN_INSTALLER)


def interpreter(path: Path) -> str | None:
    """The program that runs a launcher: what its first line names, or what its shell script hands over to."""
    try:
        with path.open("rb") as file:
            lines = [os.fsdecode(file.readline(4096)) for _ in range(2)]
    except OSError:
        return None
    if not lines[0].startswith("#!"):
        return None
    try:
        words = shlex.split(lines[1] if lines[1].startswith("exec ") else lines[0][2:])
    except ValueError:
        return None
    return next((word for word in words if word != "exec"), None)
