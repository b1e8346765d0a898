"""The commands of `tabagent-host` and their options."""

import argparse
from typing import TYPE_CHECKING

from native_host.runtime import VERSION

_DESCRIPTION = "The TabAgent native host: gives browser extensions the models on this machine."
ANY_PORT = -1
"""`--http` without a port: that of the configuration."""

_EPILOG = "The daemon starts by itself when an extension needs it. If something does not work: tabagent-host doctor"


def build_parser() -> argparse.ArgumentParser:
    """Every command with its help."""
    parser = argparse.ArgumentParser("tabagent-host", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"tabagent-host {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_chat(commands)
    _add(commands, "status", "Is the daemon running, with which models and jobs? Exit code 3 if it is not.")
    _add_stop(commands)
    _add_serve(commands)
    _add(commands, "token", "Print the token that programs send to the HTTP API (Authorization: Bearer TOKEN).")
    _add_stats(commands)
    _add_logs(commands)
    _add_config(commands)
    _add(
        commands, "doctor", "Find what is wrong with the installation and say what to do. Exit code 1 if something is."
    )
    _add(commands, "version", "Print the version.")
    return parser


if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def _add(commands: "_Commands", name: str, text: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=text, description=text)


def _add_chat(commands: "_Commands") -> None:
    text = "Chat with a model in the terminal, by the way that a browser goes. Text on stdin is one question."
    parser = _add(commands, "chat", text)
    parser.add_argument("--model", metavar="NAME", help="a name from /models, or a path (default: models.default)")
    parser.add_argument("--system", metavar="TEXT", help="instructions that the model gets before the conversation")


def _add_serve(commands: "_Commands") -> None:
    parser = _add(commands, "serve", "Run the daemon here, in the foreground, with its log on the terminal.")
    parser.add_argument(
        "--http",
        metavar="PORT",
        nargs="?",
        type=_port,
        const=ANY_PORT,
        help="offer the HTTP API too, on this port (default: http.port, 8000)",
    )
    parser.add_argument("--no-token", action="store_true", help="let every program of this computer use it")


def _add_stop(commands: "_Commands") -> None:
    parser = _add(commands, "stop", "Ask the daemon to leave, and wait until it has. None running is as well.")
    parser.add_argument("--force", action="store_true", help="kill it if it does not leave")


def _add_stats(commands: "_Commands") -> None:
    text = "Show how fast generations were: percentiles for each backend and model, and tokens/s over time."
    parser = _add(commands, "stats", text)
    parser.add_argument("--csv", metavar="FILE", help='write every generation to a file instead ("-": to stdout)')


def _add_logs(commands: "_Commands") -> None:
    parser = _add(commands, "logs", "Show the end of the daemon's log.")
    parser.add_argument("-n", "--lines", metavar="N", type=_count, default=50, help="how many lines (default: 50)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")


def _add_config(commands: "_Commands") -> None:
    parser = _add(commands, "config", "Print the configuration file with every default and what it means.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--write", action="store_true", help="write it to its place, if no file is there")
    choice.add_argument("--path", action="store_true", help="print only where the file belongs")


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (1 to 65535)")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)
