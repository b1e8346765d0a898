"""A daemon that offers the HTTP API on a port of its own, started by `tabagent-host serve --http`."""

import contextlib
import socket
import subprocess
from collections.abc import Mapping
from types import TracebackType

import httpx
from support.browsers.waiting import wait_until
from support.host_process import BrowserHost

from native_host import runtime

START_TIMEOUT_S = 30.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class HttpHost(BrowserHost):
    """A home with a daemon in the foreground; `port()` of its base opens native ports to the same daemon."""

    def __init__(
        self, *arguments: str, config: str = "", env: Mapping[str, str] | None = None, http_port: int | None = None
    ) -> None:
        super().__init__(config, env)
        self.http_port = http_port or free_port()
        self.url = f"http://127.0.0.1:{self.http_port}"
        command = self.home.command("serve", "--http", str(self.http_port), *arguments)
        self.serving = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.env,
            cwd=runtime.source_root(),
        )
        wait_until("the HTTP API", lambda: self.serving.poll() is not None or is_healthy(self.url), START_TIMEOUT_S)
        assert self.serving.poll() is None, "tabagent-host serve has ended"

    def __enter__(self) -> "HttpHost":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.serving.wait(START_TIMEOUT_S)

    @property
    def token(self) -> str:
        """The token, as `tabagent-host token` prints it."""
        return self.home.run("token").stdout.strip()

    def client(self, token: str | None = None, timeout: float = 30.0) -> httpx.Client:
        """A client of the API, with a token if one is given; no proxy of this machine comes between."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout, trust_env=False)

    def raw(self, data: bytes = b"", timeout: float = 10.0) -> socket.socket:
        """A connection of its own, on which `data` was sent, or as much of it as the other end has taken."""
        opened = socket.create_connection(("127.0.0.1", self.http_port), timeout)
        with contextlib.suppress(ConnectionError):
            opened.sendall(data)
        return opened


def is_healthy(url: str) -> bool:
    """True if an HTTP API answers at this address."""
    try:
        return httpx.get(f"{url}/api/v1/health", trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other end closes, also where it has not read all that was sent."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            data += piece
    return data
