"""`python -m native_host daemon | stdio | COMMAND`: the daemon, the loop without one, or the command line."""

import gc
import sys


def main() -> int:
    """Choose; what a relay starts must not pay for the command line's imports."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "daemon":
        gc.disable()  # what importing makes stays: to look through it meanwhile takes a twentieth of the start
        from native_host.daemon import main as run_daemon

        return run_daemon()
    if command == "stdio":
        from native_host.stdio import main as run_stdio

        return run_stdio(sys.argv[2:])
    from native_host.cli import main as run_cli

    return run_cli()


if __name__ == "__main__":
    sys.exit(main())
