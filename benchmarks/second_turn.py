"""What a conversation's second turn costs beside its first: the KV cache is kept, so only what is new is read."""

from pathlib import Path

from benchmarks.lab import BrowserHome, PagePort
from benchmarks.models import genai, gguf, prose, transformersjs
from benchmarks.samples import median
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_most_times

LIMIT = 0.15
ANSWER_TOKENS = 32
SHORT, LONGER = "and then what", prose(14, "and then what of that")
"""Messages: with the chat template's own some 20 tokens, and some 50."""


def measure(sizes: Sizes) -> list[Row]:
    """A row a backend and layout."""
    with BrowserHome() as home:
        port = home.open_port()
        return [
            _measure(port, "llamacpp", gguf(), sizes),
            _measure(port, "llamacpp, a message of some 50 tokens", gguf(), sizes, LONGER),
            _measure(port, "onnx, genai folder", genai(), sizes),
            _measure(port, "onnx, Transformers.js folder", transformersjs(), sizes, dtype="q4"),
            _measure(port, "onnx, same on the fast path", transformersjs(), sizes, dtype="q4", fast_path=True),
        ]


def _measure(port: PagePort, what: str, model: Path, sizes: Sizes, message: str = SHORT, **options: object) -> Row:
    port.request("unload", all=True)
    name = port.load(model, options=options)
    words = _words(port, name, sizes.history_tokens)
    _converse(port, name, prose(words, "warm"), message)
    turns = [_converse(port, name, prose(words, f"{number} begins"), message) for number in range(sizes.turns)]
    first, second = ([turn[place] for turn in turns] for place in (0, 1))
    figure = f"second turn, {what}, history of {sizes.history_tokens:,} tokens: to first token; first turn's"
    return at_most_times(figure, "ms", median(second), median(first), LIMIT)


def _converse(port: PagePort, name: str, text: str, message: str) -> tuple[float, float]:
    """Two turns of a new conversation: milliseconds to the first token of each, in the page."""
    messages = [{"role": "user", "content": text}]
    first = port.stream(name, ANSWER_TOKENS, messages=messages)
    messages += [{"role": "assistant", "content": first.result["text"]}, {"role": "user", "content": message}]
    second = port.stream(name, ANSWER_TOKENS, messages=messages)
    return first.first_token_ms, second.first_token_ms


def _words(port: PagePort, name: str, tokens: int) -> int:
    """How many words make a first message of `tokens` tokens."""
    counted = port.request("count_tokens", model=name, messages=[{"role": "user", "content": prose(100, "x")}])
    return tokens * 100 // int(counted["tokens"])
