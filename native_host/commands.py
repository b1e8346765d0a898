"""Runs one of the system's own tools in bounded time; what it does not say is a problem, in words."""

import os
import subprocess

TIMEOUT_S = 5.0


def command_output(command: list[str], problems: list[str]) -> str | None:
    """What a command prints; None, and a sentence in `problems`, if it is slow, fails or is not there."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        problems.append(f"{command[0]} did not answer within {TIMEOUT_S:.0f} s.")
        return None
    except OSError as error:
        problems.append(f"{command[0]} could not be run: {error.strerror}.")
        return None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        problems.append(f"{command[0]} failed: {said[-1] if said else f'exit code {done.returncode}'}")
        return None
    return done.stdout
