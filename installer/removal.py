"""Taking away what the receipt lists, and nothing else."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from installer import files, manifest, receipt
from installer.context import Context
from installer.environment import Environment
from installer.errors import InstallError
from installer.manifest import ManifestError
from installer.platforms import APP_NAME, Platform
from installer.receipt import Receipt, WrittenFile

# What the daemon keeps; `--purge` removes these and no other name, since an environment variable may have put them
# into a folder that holds the user's own files.
DAEMON_DATA = ("stats.sqlite3", "stats.sqlite3-*", "models", "engine-cache", "http-token")
DAEMON_CONFIG = ("config.toml",)
DAEMON_LOGS = ("*.log", "*.log.*")
DAEMON_RUNTIME = ("daemon.sock", "secret", "start.lock", "daemon.lock", "daemon.json", "start.log")


@dataclass
class Removal:
    """What was removed, what is left because it is not ours any more, and what is left though it is ours."""

    removed: list[str] = field(default_factory=list)
    not_ours: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def remove_all(context: Context, written: Receipt, *, force: bool) -> Removal:
    """Remove everything the receipt lists. A changed launcher stays unless forced, and stays in the receipt.

    Raises:
        InstallError: the system refused; the receipt then still lists what is left.
    """
    outcome = Removal()
    launchers = written.launchers()
    _remove_keys(context, written, outcome)
    for path in list(written.files):
        _remove_file(Path(path), written, launchers, outcome, force)
        written.save(context.prefix)
    if written.environment:
        environment = Environment(Path(written.environment), context.environment.log)
        with files.explained("remove", environment.folder):
            environment.remove()
        outcome.removed.append(f"{environment.folder} (the Python environment)")
        written.environment = ""
    if not outcome.kept:
        with files.explained("remove", context.prefix):
            (context.prefix / receipt.FILE_NAME).unlink(missing_ok=True)
        _remove_folders(written)
    return outcome


def _remove_keys(context: Context, written: Receipt, outcome: Removal) -> None:
    for entry in list(written.keys):
        name = f"{entry.hive}\\{entry.key}"
        if context.registry.get(entry.hive, entry.key) != entry.value:
            outcome.not_ours.append(f"{name}: it names another manifest now, or is gone")
        elif entry.previous is not None:
            context.registry.set(entry.hive, entry.key, entry.previous)
            outcome.removed.append(f"{name} (set back to {entry.previous})")
        else:
            context.registry.delete(entry.hive, entry.key)
            outcome.removed.append(name)
        written.keys.remove(entry)


def _remove_file(path: Path, written: Receipt, launchers: Sequence[str], outcome: Removal, force: bool) -> None:
    entry = written.files[str(path)]
    if entry.kind == "link":
        _remove_link(path, entry, outcome)
    elif entry.kind == "manifest":
        _remove_manifest(path, entry, launchers, outcome)
    elif entry.kind == "launcher" and not force and _changed(path, entry):
        outcome.kept.append(f"{path}: changed since it was written (--force removes it)")
        return
    elif path.exists():
        _delete(path, outcome)
    del written.files[str(path)]


def _changed(path: Path, entry: WrittenFile) -> bool:
    content = files.read(path)
    return content is not None and files.sha256(content) != entry.digest


def _remove_link(path: Path, entry: WrittenFile, outcome: Removal) -> None:
    if path.is_symlink() and os.readlink(path) == entry.digest:
        _delete(path, outcome)
    elif path.exists():
        outcome.not_ours.append(f"{path}: it is not the link that was made")


def _remove_manifest(path: Path, entry: WrittenFile, launchers: Sequence[str], outcome: Removal) -> None:
    """Remove a manifest that starts our launcher, whoever added ids to it since: it would start nothing any more."""
    try:
        content = files.read(path)
    except InstallError as error:
        outcome.not_ours.append(f"{path}: {error}")
        return
    if content is None:
        outcome.not_ours.append(f"{path}: it was gone already")
        return
    note = ""
    if files.sha256(content) != entry.digest:
        try:
            found = manifest.parse(content, "firefox" if entry.family == "firefox" else "chromium")
        except ManifestError as error:
            outcome.not_ours.append(f"{path}: changed since it was written ({error})")
            return
        if found.path not in launchers:
            outcome.not_ours.append(f"{path}: it starts {found.path} now")
            return
        note = f" (changed since; it let in {', '.join(found.allowed)})"
    if entry.previous is not None:
        files.write_atomically(path, entry.previous.encode("utf-8", "surrogateescape"))
        outcome.removed.append(f"{path} (set back to what it was before)")
        return
    _delete(path, outcome, note)


def _delete(path: Path, outcome: Removal, note: str = "") -> None:
    with files.explained("remove", path):
        path.unlink()
    outcome.removed.append(f"{path}{note}")


def _remove_folders(written: Receipt) -> None:
    """Remove the folders we made, as far as nobody has put anything into them."""
    for folder in reversed(written.folders):
        path = Path(folder)
        if path.is_dir() and not any(path.iterdir()):
            with files.explained("remove", path):
                path.rmdir()


def daemon_files(platform: Platform) -> list[Path]:
    """What the daemon has written on its own: statistics, models, configuration, logs."""
    places = (
        (platform.data_folder(), DAEMON_DATA),
        (platform.config_folder(), DAEMON_CONFIG),
        (platform.log_folder(), DAEMON_LOGS),
        (platform.runtime_folder(), DAEMON_RUNTIME),
    )
    return [path for folder, names in places for name in names for path in sorted(Path(folder).glob(name))]


def purge(platform: Platform) -> list[str]:
    """Remove the daemon's files, and its folders where they are then empty; a link goes, what it leads to stays.

    Raises:
        InstallError: the system refused.
    """
    removed = daemon_files(platform)
    for path in removed:
        with files.explained("remove", path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    logs = platform.log_folder()
    above = [logs.parent] if logs.parent.name == APP_NAME else []
    folders = (logs, *above, platform.runtime_folder(), platform.config_folder(), platform.data_folder())
    for folder in folders:
        path = Path(folder)
        if path.is_dir() and not any(path.iterdir()):
            with files.explained("remove", path):
                path.rmdir()
    return [str(path) for path in removed]


def stop_daemon(environment: Environment) -> None:
    """Ask a running daemon to leave, since the files it runs from are about to change or go.

    Raises:
        InstallError: it does not leave.
    """
    try:
        subprocess.run(
            [str(environment.python), "-I", "-m", "native_host", "stop"],
            check=False,
            capture_output=True,
            timeout=20,
            stdin=subprocess.DEVNULL,
        )
    except OSError:
        return
    except subprocess.TimeoutExpired as error:
        raise InstallError("The running host does not stop.", "Close your browsers and try again.") from error
