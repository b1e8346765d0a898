"""What the way from the page to the engine and back adds to the first token."""

from backends.llamacpp.engine import default_threads
from benchmarks.lab import BrowserHome
from benchmarks.models import gguf, prose
from benchmarks.reference import Reference
from benchmarks.samples import alternate, median, quantile
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_most_more

LIMIT_MS = 3.0
PROMPT_WORDS = 24
GENERATED_TOKENS = 8


def measure(sizes: Sizes) -> list[Row]:
    """One row. Every prompt begins with another word, so that nothing of it is cached."""
    seen: list[float] = []
    bare: list[float] = []
    for _ in range(sizes.launches):
        ours, theirs = _launch(sizes.first_token_rounds)
        seen += ours
        bare += theirs
    tails = f"p99 {quantile(seen, 0.99):.1f} and {quantile(bare, 0.99):.1f} ms"
    figure = f"time to first token, page; bare tokenise, prefill, first decode; p50 of {len(seen)} ({tails})"
    return [at_most_more(figure, "ms", median(seen), median(bare), LIMIT_MS)]


def _launch(rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds to the first token, in the page and in the bare loop, of processes that were just started."""
    threads = default_threads()
    with BrowserHome() as home, Reference(gguf(), threads) as reference:
        port = home.open_port()
        name = port.load(gguf(), options={"threads": threads, "context_length": 4096})
        return alternate(
            rounds,
            lambda number: port.stream(name, GENERATED_TOKENS, prompt=_prompt(number)).first_token_ms,
            lambda number: float(reference.bare(_prompt(number), 1)["first_ms"]),
        )


def _prompt(number: int) -> str:
    return prose(PROMPT_WORDS, f"{number} is the first")
