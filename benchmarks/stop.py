"""How long a generation goes on after the page asked for its end."""

from backends.llamacpp.engine import default_threads
from benchmarks.lab import BrowserHome, PagePort
from benchmarks.models import gguf, prose
from benchmarks.reference import Reference
from benchmarks.samples import median, quantile
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_most_more

LIMIT_MS = 10.0
STEP_TOKENS = 64
PROMPT = "so the model reads a page"


def measure(sizes: Sizes) -> list[Row]:
    """Two rows: stopped while decoding, and while a long prompt is read."""
    threads = default_threads()
    with BrowserHome() as home, Reference(gguf(), threads) as reference:
        port = home.open_port()
        name = port.load(gguf(), options={"threads": threads, "context_length": 4096})
        step_ms = median([1000 / reference.bare(PROMPT, STEP_TOKENS)["rate"] for _ in range(5)])
        decode = [_stop(port, name, f"{number} {PROMPT}", _spread(number), False) for number in range(sizes.stops)]
        words = _words(port, name, sizes.stop_prompt_tokens)
        whole_ms = port.stream(name, 1, prompt=prose(words, "first")).first_token_ms
        prefill = [
            _stop(port, name, prose(words, f"{number} words"), whole_ms * 0.6 * number / sizes.stops, True)
            for number in range(sizes.stops)
        ]
    return [
        _row("in decode", decode, step_ms),
        _row(f"in prefill of {sizes.stop_prompt_tokens:,} tokens ({whole_ms:.0f} ms)", prefill, step_ms),
    ]


def _stop(port: PagePort, name: str, prompt: str, after_ms: float, in_prefill: bool) -> float:
    """Milliseconds from the stop request to the generation's result, behind which no token can come."""
    outcome = port.stop(name, after_ms, in_prefill, prompt=prompt)
    if outcome["reason"] != "cancelled" or (in_prefill and outcome["tokens"]):
        raise RuntimeError(f"the generation was over before it was stopped: {outcome}")
    return float(outcome["toEnd"])


def _spread(number: int) -> float:
    """Milliseconds after the first token at which to stop: not always at the same place of the stream."""
    return 20.0 + number * 7 % 50


def _words(port: PagePort, name: str, tokens: int) -> int:
    """How many words of prose make a prompt of `tokens` tokens."""
    per_100: int = port.request("count_tokens", model=name, prompt=prose(100, "x"))["tokens"]
    return tokens * 100 // per_100


def _row(where: str, times: list[float], step_ms: float) -> Row:
    figure = (
        f"stop, {where}: request to the stream's end; one decode step; p99 of {len(times)} (p50 {median(times):.1f} ms)"
    )
    return at_most_more(figure, "ms", quantile(times, 0.99), step_ms, LIMIT_MS)
