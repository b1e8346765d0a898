"""Writing the programs: the launcher that browsers start and the command that users type."""

import contextlib
import os
from pathlib import Path

from installer import files, launcher
from installer.context import Context
from installer.receipt import Receipt, WrittenFile


def write_launcher(context: Context, written: Receipt) -> None:
    """Write the launcher, and a link to `tabagent-host` where commands of a user's own go.

    Raises:
        InstallError: the system refused.
    """
    environment = context.environment
    rendered = launcher.render(context.platform, context.prefix, environment.python, environment.site_packages())
    for file in rendered:
        path = Path(file.path)
        written.files[str(path)] = WrittenFile("launcher", files.sha256(file.content))
        written.save(context.prefix)
        if files.read(path) != file.content or path.stat().st_mode & 0o777 != file.mode:
            files.write_atomically(path, file.content, file.mode)
    if os.name == "posix" and (link := _link_path(context)):
        _write_link(context, link, written)


def _link_path(context: Context) -> Path | None:
    """Where the command goes; nowhere for an installation in a place of its own."""
    if context.system:
        return Path("/usr/local/bin/tabagent-host")
    if context.prefix == Path(context.platform.data_folder()):
        return Path(context.platform.home) / ".local" / "bin" / "tabagent-host"
    return None


def _write_link(context: Context, link: Path, written: Receipt) -> None:
    program = context.environment.program("tabagent-host")
    entry = written.files.get(str(link))
    if link.is_symlink() and os.readlink(link) == str(program):
        written.files.setdefault(str(link), WrittenFile("link", str(program)))
        written.save(context.prefix)
        return
    if link.exists() and entry is None:
        context.terminal.say(f"  {link} is there already and not ours; it stays as it is.")
        return
    written.note_folders(link.parent)
    written.files[str(link)] = WrittenFile("link", str(program))
    written.save(context.prefix)
    files.make_folder(link.parent, 0o755)
    with files.explained("write", link):
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(program)
