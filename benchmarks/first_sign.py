"""How long a page hears nothing after it has asked: to the first message of any kind, at worst."""

from benchmarks import hosts
from benchmarks.lab import BrowserHome, PagePort
from benchmarks.models import gguf
from benchmarks.pictures import photograph
from benchmarks.samples import alternate, median
from benchmarks.sizes import Sizes
from benchmarks.table import Row
from messages.frames import JsonObject

LIMIT_MS = 100.0
OTHER_TOKENS = 300
PROMPT = "so the model reads a page"


def measure(sizes: Sizes) -> list[Row]:
    """Eight rows: with nothing else to do, while the model loads, while it generates, and with a large picture; and of
    the first request of a port, a load: when the host runs, when it has yet to start, in the background, and when
    nothing tells that it is a port's, for a `sendNativeMessage` looks the same and is to get its result.
    """
    with BrowserHome() as home:
        port, other = home.open_port(), home.open_port()
        return [
            _row("with the model ready", _when_ready(port, sizes.signs)),
            _row("while the model loads", _while_it_loads(port, max(sizes.signs // 5, 1))),
            _row("while it generates for somebody else", _while_it_generates(port, other, sizes.signs)),
            _with_a_picture(port, home.open_port(hosts.ECHO_NAME), max(sizes.signs // 5, 1)),
            _row("of a load that opens its port", _when_a_port_loads(home, port, max(sizes.signs // 3, 1), _load())),
            _row(
                "of a load that opens its port, alone and without `stream`",
                _when_a_port_loads(home, port, max(sizes.signs // 3, 1), _load(stream=None)),
            ),
            _row(
                "of a load in the background that opens its port, alone",
                _when_a_port_loads(home, port, max(sizes.signs // 3, 1), _load(stream=None, background=True)),
            ),
            _row("of a load that starts the host", _when_the_host_starts(home, max(sizes.signs // 3, 1))),
        ]


def _when_ready(port: PagePort, count: int) -> list[float]:
    name = port.load(gguf())
    return [port.first_sign(name, 1, prompt=PROMPT) for _ in range(count)]


def _while_it_loads(port: PagePort, count: int) -> list[float]:
    name, times = port.load(gguf()), []
    for _ in range(count):
        port.request("unload", model=name)
        times.append(port.first_sign(name, 1, _load(), prompt=PROMPT))
    return times


def _while_it_generates(port: PagePort, other: PagePort, count: int) -> list[float]:
    name, times = port.load(gguf()), []
    for number in range(count):
        settings = {"max_tokens": OTHER_TOKENS, "temperature": 0}
        other.post({"id": number, "action": "generate", "model": name, "prompt": PROMPT, "settings": settings})
        times.append(port.first_sign(name, 1, prompt=PROMPT))
    return times


def _when_a_port_loads(home: BrowserHome, other: PagePort, count: int, load: JsonObject) -> list[float]:
    times = []
    for _ in range(count):
        other.request("unload", all=True)
        times.append(home.first_sign_of_port(load))
    return times


def _when_the_host_starts(home: BrowserHome, count: int) -> list[float]:
    times = []
    for _ in range(count):
        home.stop_daemon()
        times.append(home.first_sign_of_port(_load()))
    return times


def _load(stream: bool | None = True, background: bool = False) -> JsonObject:
    return {"id": "load", "action": "load", "model": str(gguf()), "stream": stream, "background": background}


def _with_a_picture(port: PagePort, echo: PagePort, count: int) -> Row:
    """To the ECHO model, which decodes as every engine does; the reference host does no more than read the message."""
    name = port.load("seeing", backend="echo", options={"pictures": True})
    message = photograph()
    ours, reference = alternate(
        count,
        lambda _: port.first_sign(name, 1, messages=[message]),
        lambda _: echo.pings({"messages": [message]}, 1)[0],
    )
    figure = "with a 12-megapixel JPEG; a host that only reads the message"
    return _row(figure, ours, f"{max(reference):.1f} ms", f"p50 {median(ours):.0f} and {median(reference):.0f} ms")


def _row(when: str, times: list[float], reference: str = "-", compared: str = "-") -> Row:
    figure = f"first sign of life in the page, {when}; p100 of {len(times)} (p50 {median(times):.1f} ms)"
    worst = max(times)
    return Row(figure, f"{worst:.1f} ms", reference, compared, f"<= {LIMIT_MS:.0f} ms", worst <= LIMIT_MS)
