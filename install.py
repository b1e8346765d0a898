#!/usr/bin/env python3
"""Install the TabAgent native host: python3 install.py --help

The work is done by the package `installer`. This file only checks the Python that runs it, and so is written for old
ones: on Python 3.8 it says what to do, where anything newer would be a syntax error.
"""

import importlib.util
import sys

OLDEST = (3, 11)
WITHOUT_VENV = ("check", "status", "uninstall", "--dry-run", "-h", "--help")


def complaint(arguments):
    # type: (list[str]) -> str
    """What is missing in this Python for that command line, and what to do about it; empty if it will do."""
    if sys.version_info < OLDEST:
        return (
            "This needs Python 3.11 or newer, and {0} is {1}.{2}.\n"
            "Install a newer one and start this with it, for example: python3.12 install.py\n"
            "Debian 12, Ubuntu 24.04 and later have one: sudo apt install python3 python3-venv\n"
            "Fedora: sudo dnf install python3.12    macOS: brew install python\n"
            "Windows: winget install Python.Python.3.12"
        ).format(sys.executable, sys.version_info[0], sys.version_info[1])
    if any(word in arguments for word in WITHOUT_VENV):
        return ""
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        return (
            "This Python ({0}) cannot make environments: its venv or ensurepip module is not installed.\n"
            "Debian and Ubuntu keep them in a package of their own: sudo apt install python3-venv\n"
            "Then run this again."
        ).format(sys.executable)
    return ""


def main():
    # type: () -> int
    """Run the installer; 1 where this Python will not do."""
    problem = complaint(sys.argv[1:])
    if problem:
        sys.stderr.write(problem + "\n")
        return 1
    from installer import cli

    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
