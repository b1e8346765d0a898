"""Where the figures are taken: a sandbox with both hosts in it, with or without a browser.

Above it: the groups of figures. Below it: the tests' drivers, and `hosts`.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from support.browsers.chromium import Chromium, ChromiumPage
from support.browsers.sandbox import Sandbox

from benchmarks import hosts
from messages.frames import JsonObject
from native_host.client import HostClient

CALL_TIMEOUT_S = 300.0
DAEMON = "native_host daemon"


class Home:
    """A home of its own for one daemon, and both hosts' files; closing it ends what runs there."""

    def __init__(self) -> None:
        self.sandbox = Sandbox()
        self.launcher = hosts.write_ours(self.sandbox.root)
        self.echo = hosts.write_echo(self.sandbox.root)

    def __enter__(self) -> "Home":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def client(self) -> HostClient:
        """A port to the daemon without a browser; the launcher is started as a browser starts it."""
        variables = [f"{name}={value}" for name, value in self.sandbox.env.items()]
        return HostClient(["/usr/bin/env", "-i", *variables, str(self.launcher), hosts.ORIGIN])

    def stop_daemon(self) -> None:
        """End the daemon and its workers, as `tabagent-host stop` does."""
        for process in self.sandbox.processes(DAEMON):
            process.terminate()
        self.sandbox.wait_for_none("native_host")
        self.sandbox.wait_for_none("backends.worker")

    def close(self) -> None:
        """End every process and remove every file."""
        self.sandbox.close()


class BrowserHome(Home):
    """A home with a Chromium that has the benchmark's extension and page open."""

    def __init__(self) -> None:
        super().__init__()
        try:
            profile = self.sandbox.root / "chromium"
            _register(profile, hosts.OUR_NAME, self.launcher)
            _register(profile, hosts.ECHO_NAME, self.echo)
            self.browser = Chromium(self.sandbox, profile)
            self.browser.load_extension(hosts.copy_extension(self.sandbox.root))
            self.page = self.browser.open(f"{hosts.ORIGIN}bench.html", "typeof window.bench === 'object'")
        except BaseException:
            super().close()
            raise

    def __enter__(self) -> "BrowserHome":
        return self

    def open_port(self, host: str = hosts.OUR_NAME) -> "PagePort":
        """A port from the page to a host."""
        return PagePort(self.page, host)

    def first_sign_of_port(self, request: JsonObject) -> float:
        """Milliseconds from the opening of a port, with its first request, to the first message that answers it."""
        call = f"bench.firstSignOfPort({json.dumps(hosts.OUR_NAME)}, {json.dumps(request)})"
        return _first_sign(self.page.evaluate(call, CALL_TIMEOUT_S))

    def close(self) -> None:
        """Quit the browser; end every process and remove every file."""
        try:
            self.browser.close()
        finally:
            super().close()


class PagePort:
    """A port of the page. What it measures is measured inside the page."""

    def __init__(self, page: ChromiumPage, host: str) -> None:
        self._page = page
        self._port: int = page.evaluate(f"bench.open({json.dumps(host)})")

    def request(self, action: str, **fields: object) -> JsonObject:
        """Send a request and return its result. RuntimeError if it is an error."""
        result: JsonObject = self._call("request", {"id": "r", "action": action, **fields})
        if result["status"] != "success":
            raise RuntimeError(f"{action}: {result['message']}")
        return result

    def load(self, model: str | Path, **fields: object) -> str:
        """Load a model and return its name."""
        name: str = self.request("load", model=str(model), **fields)["model"]["model"]
        return name

    def pings(self, message: JsonObject, count: int) -> list[float]:
        """Milliseconds of each of `count` round trips."""
        times: list[float] = self._call("pings", message, count)
        return times

    def stream(self, model: str, max_tokens: int, **fields: object) -> "Stream":
        """Follow one greedy generation in the page."""
        return Stream(self._call("stream", _generate(model, max_tokens, fields)))

    def first_sign(self, model: str, max_tokens: int, before: JsonObject | None = None, **fields: object) -> float:
        """Milliseconds from a generation's request to the first message of it; `before` is posted just before."""
        return _first_sign(self._call("firstSign", _generate(model, max_tokens, fields), before))

    def post(self, message: JsonObject) -> None:
        """Send a request and wait for nothing."""
        self._call("post", message)

    def stop(self, model: str, after_ms: float, in_prefill: bool, **fields: object) -> JsonObject:
        """Stop a generation: milliseconds `toLastToken` and `toEnd`, and its `tokens` and finish `reason`."""
        stopped: JsonObject = self._call("stop", _generate(model, 4096, fields), after_ms, in_prefill)
        return stopped

    def burst(self, model: str, count: int) -> JsonObject:
        """Have `count` words echoed: `arrivals` as (ms, tokens so far), and whether they came `complete`."""
        outcome: JsonObject = self._call("burst", model, count)
        return outcome

    def _call(self, function: str, *arguments: object) -> Any:
        text = ", ".join(json.dumps(argument) for argument in (self._port, *arguments))
        return self._page.evaluate(f"bench.{function}({text})", CALL_TIMEOUT_S)


class Stream:
    """A generation as the page saw it; times are milliseconds."""

    def __init__(self, seen: JsonObject) -> None:
        self.result: JsonObject = seen["result"]
        if self.result["status"] != "success":
            raise RuntimeError(self.result["message"])
        self.text: str = seen["text"]
        self.partials = len(seen["arrivals"])
        (self._first, first_tokens), (self._last, last_tokens) = seen["arrivals"][0], seen["arrivals"][-1]
        self.tokens: int = last_tokens
        self._later_tokens = last_tokens - first_tokens
        self._sent: float = seen["sent"]

    @property
    def first_token_ms(self) -> float:
        """From the request to the first partial."""
        return float(self._first - self._sent)

    @property
    def decode_rate(self) -> float:
        """Tokens a second, from the first partial to the last."""
        return float(self._later_tokens / (self._last - self._first) * 1000)

    @property
    def whole_rate(self) -> float:
        """Tokens a second, from the request to the last partial."""
        return float(self.tokens / (self._last - self._sent) * 1000)


def _first_sign(seen: JsonObject) -> float:
    """What the page saw of a request: its first message in milliseconds. RuntimeError if it failed."""
    if seen["result"]["status"] != "success":
        raise RuntimeError(seen["result"]["message"])
    return float(seen["first"])


def _generate(model: str, max_tokens: int, fields: JsonObject) -> JsonObject:
    settings = {"temperature": 0, "max_tokens": max_tokens}
    return {"id": "g", "action": "generate", "model": model, "settings": settings, **fields}


def _register(profile: Path, name: str, program: Path) -> None:
    folder = profile / "NativeMessagingHosts"
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {
        "name": name,
        "description": name,
        "type": "stdio",
        "path": str(program),
        "allowed_origins": [hosts.ORIGIN],
    }
    (folder / f"{name}.json").write_text(json.dumps(manifest))
