"""What the host takes while it waits: proportional set size, which shares what several processes map."""

from pathlib import Path

import psutil

from benchmarks.lab import Home
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_most
from messages.actions import ActionType
from messages.replies import Pong

RELAY_LIMIT_MB = 12
DAEMON_LIMIT_MB = 60


def measure(_: Sizes) -> list[Row]:
    """Two rows: a relay with an open port, and a daemon with nothing loaded."""
    with Home() as home, home.client() as client:
        daemon = client.call(ActionType.PING, Pong).pid
        (relay,) = home.sandbox.processes(home.launcher.name)
        return [
            _row("memory of a relay, PSS", relay.pid, RELAY_LIMIT_MB),
            _row("memory of an idle daemon, PSS", daemon, DAEMON_LIMIT_MB),
        ]


def _row(figure: str, pid: int, limit: int) -> Row:
    resident = psutil.Process(pid).memory_info().rss / 1e6
    return at_most(figure, "MB", pss_mb(pid), limit, f"resident {resident:.1f} MB")


def pss_mb(pid: int) -> float:
    """Proportional set size in MB (10**6 bytes)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes * 1024 / 1e6
