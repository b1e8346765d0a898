"""The command line `tabagent-host`. Commands are imported when they run, so that `doctor` works without packages."""

import argparse
import sys
from collections.abc import Callable, Sequence

from native_host.cli import streams
from native_host.cli.arguments import build_parser
from native_host.cli.terminal import CliError, say_error
from native_host.runtime import VERSION

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Expected failures are one sentence on stderr."""
    streams.prepare()
    code = 0
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        streams.discard(sys.stdout, sys.stderr)
    except OSError as error:
        if not streams.takes_no_more(error):
            raise
        streams.discard(sys.stdout)
        say_error(f"The output cannot be written: {error.strerror}.")
        return code or 1
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = build_parser().parse_args(arguments)
        return _COMMANDS[options.command](options)
    except SystemExit as end:  # argparse has printed its help, or what is wrong with the arguments
        return int(end.code or 0)
    except CliError as error:
        say_error(error.message)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except ImportError as error:
        say_error(f"A package is missing ({error}). Run `tabagent-host doctor`.")
        return 1


def _serve(options: argparse.Namespace) -> int:
    from native_host.cli.lifecycle import serve

    return serve(http_port=options.http, no_token=options.no_token)


def _token(options: argparse.Namespace) -> int:
    from native_host.cli.lifecycle import token

    return token()


def _status(options: argparse.Namespace) -> int:
    from native_host.cli.lifecycle import status

    return status()


def _stop(options: argparse.Namespace) -> int:
    from native_host.cli.lifecycle import stop

    return stop(force=options.force)


def _stats(options: argparse.Namespace) -> int:
    from native_host.cli.stats import stats

    return stats(options.csv)


def _logs(options: argparse.Namespace) -> int:
    from native_host.cli.show_logs import logs

    return logs(options.lines, follow=options.follow)


def _chat(options: argparse.Namespace) -> int:
    from native_host.cli.chat import chat

    return chat(options.model, options.system)


def _config(options: argparse.Namespace) -> int:
    from native_host.cli.show_config import config

    return config(path_only=options.path, write=options.write)


def _doctor(options: argparse.Namespace) -> int:
    from native_host.cli.doctor import doctor

    return doctor()


def _version(options: argparse.Namespace) -> int:
    print(f"tabagent-host {VERSION}")
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "serve": _serve,
    "token": _token,
    "status": _status,
    "stop": _stop,
    "stats": _stats,
    "logs": _logs,
    "chat": _chat,
    "config": _config,
    "doctor": _doctor,
    "version": _version,
}
