"""What the browser starts: finds or starts the daemon, says who is calling, then copies bytes until either side ends.

Where the daemon can take over the browser's pipes (Linux) there is nothing to copy, and the relay only waits for the
end: it is what the browser watches and kills.

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

    Link = tuple["socket", bool]
    """The daemon's socket, past its hello, and whether bytes are to be copied over it."""

EXIT_GRACE_S = 0.8
"""How long answers may still come after the browser closed its end, in seconds; at 2 s Chromium kills."""

HELLO_TIMEOUT_S = 10.0
"""How long a daemon may take to greet, in seconds; one that is stopped or hangs never does."""

COPY_BYTES = 1 << 16
HELLO_LIMIT = 4096
NO_WAIT = 0
if sys.platform != "win32":
    NO_WAIT = _socket.MSG_DONTWAIT


class Unavailable(Exception):
    """There is no daemon and none could be started. `ahead` is what was read of the browser's requests meanwhile."""

    ahead = b""


def main() -> None:
    """Relay between the browser on file descriptors 0 and 1 and the daemon; never returns."""
    to_browser = take_stdout()
    try:
        link, copies = connect_or_start(origin_of(sys.argv[1:]), to_browser)
    except Unavailable as error:
        from native_host.relay_start import answer_unavailable

        answer_unavailable(error.ahead, to_browser, str(error))
        os._exit(1)
    if copies:
        start_new_thread(copy_requests, (link,))
        copy_replies(link, to_browser)
    else:
        os.close(to_browser)
        wait_for_end(link)
    os._exit(0)


def take_stdout() -> int:
    """Move the browser's pipe away from fd 1, which becomes stderr: nothing but frames may ever reach the pipe."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(0, os.O_BINARY)
        msvcrt.setmode(1, os.O_BINARY)
    to_browser = os.dup(1)
    try:
        os.dup2(2, 1)
    except OSError:  # a program without a console has no stderr
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return to_browser


def origin_of(arguments: "list[str]") -> str:
    """Who is calling: Chromium gives the origin as argument, Firefox the manifest's path and the add-on's id."""
    if not arguments:
        return "cli"
    if arguments[0].startswith("chrome-extension://") or len(arguments) == 1:
        return arguments[0]
    return arguments[1]


def connect_or_start(origin: str, to_browser: int) -> "Link":
    """Connect to the daemon, starting it if it is not there."""
    link = connect(origin, to_browser)
    if link is None:
        from native_host.relay_start import start_daemon

        link = start_daemon(lambda ahead: connect(origin, to_browser, ahead), to_browser)
    return link


def connect(origin: str, to_browser: int | None = None, ahead: bytes = b"") -> "Link | None":
    """Connect and say hello; None if no daemon listens, or if it asks to be replaced by a newer one.

    The daemon is offered fd 0 and `to_browser`, unless that is None. Once it has greeted, and so only once, it is sent
    `ahead`, what was read of fd 0 before.
    """
    folder = runtime.runtime_dir()
    try:
        link = open_socket(folder)
        with open(os.path.join(folder, runtime.SECRET)) as file:
            secret = file.read()
    except OSError:
        return None
    answer = greet(link, hello(origin, secret, to_browser, len(ahead)))
    if b'"status":"ok"' in answer:
        send(link, ahead)
        return link, b'"pipes":true' not in answer
    link.close()
    if b'"status":"refused"' in answer:
        import json

        raise Unavailable(json.loads(answer)["message"])
    return None


def greet(link: "socket", said: bytes) -> bytes:
    """Say hello and return the answer, empty if there is none; ends this process if the browser goes meanwhile.

    Raises Unavailable if the daemon does not answer within 10 s.
    """
    waits = HELLO_TIMEOUT_S

    def read(count: int) -> bytes:
        nonlocal waits
        while waits > 0:
            try:
                return link.recv(count)
            except TimeoutError:
                waits -= EXIT_GRACE_S
                if browser_is_gone():
                    os._exit(0)
        raise Unavailable("The daemon is there but does not answer; `tabagent-host stop --force` ends it")

    link.settimeout(EXIT_GRACE_S)
    try:
        link.sendall(said)
        answer = read_frame(read)
    except OSError:
        return b""
    link.settimeout(None)
    return answer


def browser_is_gone() -> bool:
    """True if the browser has closed its end, even if not all it sent was read. Not known on Windows: False."""
    if sys.platform == "win32":
        return False
    import select

    poll = select.poll()
    poll.register(0, 0)
    return bool(poll.poll(0))


def open_socket(folder: str) -> "socket":
    """Connect to the daemon's socket."""
    if sys.platform == "win32" or runtime.uses_tcp():  # twice, for the type checker
        with open(os.path.join(folder, runtime.DAEMON_FACTS)) as file:
            port = int(file.read().split('"port": ')[1].split(",")[0].split("}")[0])
        connection = socket(_socket.AF_INET, _socket.SOCK_STREAM)
        address: tuple[str, int] | str = ("127.0.0.1", port)
    else:
        connection = socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        address = os.path.join(folder, runtime.SOCKET)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def hello(origin: str, secret: str, to_browser: int | None = None, ahead: int = 0) -> bytes:
    """The first frame: who is calling, from which process and version, and the secret only this user can read.

    ahead: how many bytes of the browser's are sent on this socket once it is answered, before those in its pipe.
    """
    pipes = "null" if to_browser is None else f"[0,{to_browser}]"
    plain = origin.isascii() and origin.isprintable() and '"' not in origin and "\\" not in origin
    if not plain:
        import json

        origin = json.dumps(origin)[1:-1]
    body = (
        f'{{"type":"hello","origin":"{origin}","pid":{os.getpid()},"version":"{runtime.VERSION}",'
        f'"protocol":{runtime.PROTOCOL},"secret":"{secret}","pipes":{pipes},"ahead":{ahead}}}'
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
    """Copy browser to daemon until the browser closes; then answers have a moment, and the process is gone.

    What a daemon no longer takes is dropped: its last words may still be on their way to the browser.
    """
    import time

    takes_more = True
    while data := os.read(0, COPY_BYTES):
        takes_more = takes_more and send(link, data)
    if takes_more:
        half_close(link)
    time.sleep(EXIT_GRACE_S)
    os._exit(0)


def send(link: "socket", data: bytes) -> bool:
    """Send everything; False if the daemon has closed. Ends this process if the browser goes while the daemon hangs."""
    view = memoryview(data)
    while view:
        try:
            view = view[link.send(view, NO_WAIT) :]
        except BlockingIOError:
            wait_writable(link)
        except OSError:
            return False
    return True


def wait_writable(link: "socket") -> None:
    """Wait until the daemon reads on; once the browser is gone, only for a moment."""
    if sys.platform == "win32":  # where sending itself waits
        return
    import select

    poll = select.poll()
    poll.register(link.fileno(), select.POLLOUT)
    poll.register(0, 0)
    if 0 in dict(poll.poll()):
        poll.unregister(0)
        if not poll.poll(EXIT_GRACE_S * 1000):
            os._exit(0)


def half_close(link: "socket") -> None:
    """Tell the daemon that nothing more comes; it may have gone already."""
    try:
        link.shutdown(_socket.SHUT_WR)
    except OSError:
        os._exit(0)


def copy_replies(link: "socket", to_browser: int) -> None:
    """Copy daemon to browser until the daemon closes or the browser no longer reads."""
    try:
        while data := link.recv(COPY_BYTES):
            write_all(to_browser, data)
    except OSError:
        os._exit(0)


def wait_for_end(link: "socket") -> None:
    """Wait until the daemon closes, which talks to the browser itself; once the browser is gone, only for a moment."""
    if sys.platform == "win32":  # where no daemon takes over pipes
        return
    import select

    poll = select.poll()
    poll.register(link.fileno(), select.POLLIN)
    poll.register(0, 0)
    if link.fileno() not in dict(poll.poll()):
        poll.unregister(0)
        poll.poll(EXIT_GRACE_S * 1000)
