"""The command line of install.py, and the one place that turns errors into a message and a status."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from installer import commands, manifest, setup
from installer.context import Context, Options
from installer.environment import PipError
from installer.errors import InstallError
from installer.inspection import HOST_NAME, find_prefix
from installer.platforms import Platform
from installer.registry import open_registry
from installer.sources import Checkout
from installer.terminal import Terminal
from installer.wording import INSTALLER

COMMANDS = ("install", "check", "status", "uninstall")
OPTIONS_OF = {
    "browser": ("install",),
    "extension_id": ("install",),
    "user_data_dir": ("install",),
    "engines": ("install",),
    "dry_run": ("install", "uninstall"),
    "force": ("install", "uninstall"),
    "purge": ("uninstall",),
    "no_prove": ("install", "check"),
}
"""The commands that heed each option; the others refuse it, lest `uninstall --browser x` should remove everything."""

INTERRUPTED = 130
DESCRIPTION = "Install the TabAgent native host for yourself, register it with your browsers, and see it work."
EPILOG = f"""\
With no command it installs. Running it again changes nothing, or updates what has changed.

exit status: 0 done; 1 something failed; 2 wrong arguments; 3 (check) the host works, but no browser knows it.

examples:
  {INSTALLER}                                  install, register with every browser found, prove it works
  {INSTALLER} --dry-run                        show what would be written
  {INSTALLER} --extension-id <id>              let your own extension in as well
  {INSTALLER} --browser chromium --browser firefox
  {INSTALLER} --engines llamacpp               add llama.cpp, for GGUF models
  {INSTALLER} uninstall --purge                remove all of it
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="install.py",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", nargs="?", choices=COMMANDS, default="install", help="(default: install)")
    _add_places(parser)
    _add_install_options(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="(install, uninstall) show what would be done; do nothing"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace a manifest of this name that starts another program; remove a launcher that was changed",
    )
    parser.add_argument(
        "--purge", action="store_true", help="(uninstall) remove statistics, settings, logs, models too"
    )
    parser.add_argument("--no-prove", action="store_true", help="do not start the host to see it work")
    parser.add_argument("--prove-model", default="demo", help=argparse.SUPPRESS)
    parser.add_argument("--prove-backend", default="auto", help=argparse.SUPPRESS)
    return parser


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prefix", type=_folder, metavar="FOLDER", help="where it is installed (default: your data folder)"
    )
    parser.add_argument(
        "--system", action="store_true", help="for all users of this machine; needs an administrator's rights"
    )
    parser.add_argument("--host-name", default=HOST_NAME, metavar="NAME", help=f"(default: {HOST_NAME})")


def _add_install_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--browser", action="append", default=[], metavar="NAME", help="register with this one only; repeatable"
    )
    parser.add_argument(
        "--extension-id",
        action="append",
        default=[],
        metavar="ID",
        help="let this extension in too; repeatable, and added to those that are let in already",
    )
    parser.add_argument(
        "--user-data-dir",
        action="append",
        default=[],
        type=_folder,
        metavar="FOLDER",
        help="register with a Chromium that is started with this --user-data-dir; repeatable",
    )
    parser.add_argument(
        "--engines",
        action="append",
        default=[],
        metavar="LIST",
        help="engines besides onnx, with commas between: llamacpp, mediapipe, mlx, all",
    )


def _folder(text: str) -> Path:
    """A folder as it was typed; a shell leaves the `~` of `--prefix=~/here` to us."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from error


def _misplaced(arguments: argparse.Namespace) -> str:
    """What is wrong with options that this command would not heed; empty if nothing is."""
    for name, heeding in OPTIONS_OF.items():
        if getattr(arguments, name) and arguments.command not in heeding:
            option, commands = name.replace("_", "-"), " and ".join(heeding)
            return f"--{option} is an option of {commands}, not of {arguments.command}"
    return ""


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        command=arguments.command,
        browsers=tuple(dict.fromkeys(arguments.browser)),
        extension_ids=tuple(arguments.extension_id),
        user_data_dirs=tuple(folder.absolute() for folder in arguments.user_data_dir),
        engines=tuple(name for part in arguments.engines for name in part.split(",") if name),
        dry_run=arguments.dry_run,
        prove=not arguments.no_prove,
        force=arguments.force,
        purge=arguments.purge,
        model=arguments.prove_model,
        backend=arguments.prove_backend,
    )


def _context(arguments: argparse.Namespace, terminal: Terminal) -> Context:
    try:
        platform = Platform.current()
    except RuntimeError as error:
        raise InstallError("You have no home folder here.", "Set HOME to a folder that you may write.") from error
    default = Path(platform.system_prefix()) if arguments.system else find_prefix(platform)
    prefix = (arguments.prefix or default).absolute()
    return Context(
        platform,
        open_registry(),
        terminal,
        manifest.check_prefix(prefix),
        manifest.check_host_name(arguments.host_name),
        arguments.system,
    )


def _run(context: Context, options: Options) -> int:
    if options.command == "check":
        return commands.check(context, options)
    if options.command == "status":
        return commands.status(context)
    if options.command == "uninstall":
        return commands.uninstall(context, options)
    return setup.install(context, options, Checkout(Path(__file__).resolve().parents[1]))


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name.

    Returns:
        The exit status; see `EPILOG`.
    """
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if mistake := _misplaced(parsed):
        parser.error(mistake)
    terminal = Terminal()
    try:
        return _run(_context(parsed, terminal), _options(parsed))
    except PipError as error:
        _complain(error, error.tail)
    except InstallError as error:
        _complain(error)
    except OSError as error:
        _complain(InstallError(f"The system refused: {error}.", "Nothing is lost: mend that and run it again."))
    except KeyboardInterrupt:
        print("\nInterrupted. Run it again to go on where it stopped.", file=sys.stderr)
        return INTERRUPTED
    return commands.FAILED


def _complain(error: InstallError, tail: Sequence[str] = ()) -> None:
    for line in tail:
        print(f"    {line}", file=sys.stderr)
    print(f"{error}", file=sys.stderr)
    if error.remedy:
        print(f"{error.remedy}", file=sys.stderr)
