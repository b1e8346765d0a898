"""Who has the port that the HTTP API is to listen on.

Above it: `native_host.http.listening`, once a port turns out to be taken.
"""

import psutil


def holder(address: str, port: int) -> str:
    """Words that go behind "is taken": by whom, as far as this user may know."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return ""
    listening = [one for one in connections if one.status == psutil.CONN_LISTEN and one.laddr[1:] == (port,)]
    listening.sort(key=lambda one: one.laddr[:1] != (address,))
    for one in listening:
        if one.pid is not None:
            return f" by {_process_name(one.pid)} (pid {one.pid})"
    return " by another user's program" if listening else ""


def _process_name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "a program"
