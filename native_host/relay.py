"""What the browser starts: finds or starts the daemon, says who is calling, then copies bytes until either side ends.

Runs under `python -I -S -E` and imports next to nothing, because `sendNativeMessage` starts one for every message.
Above it: the browser. Below it: `native_host.connection` in the daemon. It is deliberately not aware of what the
frames say; only when there is no daemon does it read the first one, to answer it.
"""

import _socket
import os
import sys
from _socket import socket
from _thread import start_new_thread

from native_host import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_GRACE_S = 0.8
"""How long answers may still come after the browser closed its end, in seconds; at 2 s Chromium kills."""

COPY_BYTES = 1 << 16
HELLO_LIMIT = 4096


class Unavailable(Exception):
    """There is no daemon and none could be started."""


def main() -> None:
    """Relay between the browser on file descriptors 0 and 1 and the daemon; never returns."""
    to_browser = take_stdout()
    try:
        link = connect_or_start(origin_of(sys.argv[1:]))
    except Unavailable as error:
        from native_host.relay_start import answer_unavailable

        answer_unavailable(0, to_browser, str(error))
        os._exit(1)
    start_new_thread(copy_requests, (link,))
    copy_replies(link, to_browser)
    os._exit(0)


def take_stdout() -> int:
    """Move the browser's pipe away from fd 1, which becomes stderr: nothing but frames may ever reach the pipe."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(0, os.O_BINARY)
        msvcrt.setmode(1, os.O_BINARY)
    to_browser = os.dup(1)
    os.dup2(2, 1)
    return to_browser


def origin_of(arguments: "list[str]") -> str:
    """Who is calling: Chromium gives the origin as argument, Firefox the manifest's path and the add-on's id."""
    if not arguments:
        return "cli"
    if arguments[0].startswith("chrome-extension://") or len(arguments) == 1:
        return arguments[0]
    return arguments[1]


def connect_or_start(origin: str) -> "socket":
    """Connect to the daemon, starting it if it is not there, and return a socket past its hello."""
    link = connect(origin)
    if link is None:
        from native_host.relay_start import start_daemon

        link = start_daemon(lambda: connect(origin))
    return link


def connect(origin: str) -> "socket | None":
    """Connect and say hello; None if no daemon listens, or if it asks to be replaced by a newer one."""
    folder = runtime.runtime_dir()
    try:
        link = open_socket(folder)
        with open(os.path.join(folder, runtime.SECRET)) as file:
            secret = file.read()
    except OSError:
        return None
    try:
        link.sendall(hello(origin, secret))
        answer = read_frame(link.recv)
    except OSError:
        answer = b""
    if b'"status":"ok"' in answer:
        return link
    link.close()
    if b'"status":"refused"' in answer:
        import json

        raise Unavailable(json.loads(answer)["message"])
    return None


def open_socket(folder: str) -> "socket":
    """Connect to the daemon's socket."""
    if runtime.uses_tcp():
        with open(os.path.join(folder, runtime.DAEMON_FACTS)) as file:
            port = int(file.read().split('"port": ')[1].split(",")[0].split("}")[0])
        connection = socket(_socket.AF_INET, _socket.SOCK_STREAM)
        address: tuple[str, int] | str = ("127.0.0.1", port)
    else:
        connection = socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        address = os.path.join(folder, runtime.SOCKET)
    connection.connect(address)
    return connection


def hello(origin: str, secret: str) -> bytes:
    """The first frame: who is calling, from which process and version, and the secret only this user can read."""
    plain = origin.isascii() and origin.isprintable() and '"' not in origin and "\\" not in origin
    if not plain:
        import json

        origin = json.dumps(origin)[1:-1]
    body = (
        f'{{"type":"hello","origin":"{origin}","pid":{os.getpid()},"version":"{runtime.VERSION}",'
        f'"protocol":{runtime.PROTOCOL},"secret":"{secret}"}}'
    ).encode()
    return len(body).to_bytes(4, sys.byteorder) + body


def read_frame(read: "Callable[[int], bytes]") -> bytes:
    """Read one small frame's body with `read(count)`; empty if the other side closed."""
    length = int.from_bytes(read_exactly(read, 4), sys.byteorder)
    return read_exactly(read, length) if length <= HELLO_LIMIT else b""


def read_exactly(read: "Callable[[int], bytes]", count: int) -> bytes:
    """Read `count` bytes, or fewer if the other side closed."""
    data = b""
    while len(data) < count:
        piece = read(count - len(data))
        if not piece:
            break
        data += piece
    return data


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def copy_requests(link: "socket") -> None:
    """Copy browser to daemon until the browser closes; then answers have a moment, and the process is gone."""
    try:
        while data := os.read(0, COPY_BYTES):
            link.sendall(data)
        link.shutdown(_socket.SHUT_WR)
    except OSError:
        os._exit(0)
    import time

    time.sleep(EXIT_GRACE_S)
    os._exit(0)


def copy_replies(link: "socket", to_browser: int) -> None:
    """Copy daemon to browser until the daemon closes or the browser no longer reads."""
    try:
        while data := link.recv(COPY_BYTES):
            write_all(to_browser, data)
    except OSError:
        os._exit(0)
