"""Tokens a second of one stream, from a GGUF to a page in Chromium."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from backends.llamacpp.engine import default_threads
from benchmarks.lab import BrowserHome, PagePort
from benchmarks.models import gguf
from benchmarks.reference import Reference
from benchmarks.samples import alternate
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_least_times

BARE_LIMIT, PLAIN_LIMIT, BYTES_LIMIT = 0.95, 1.0, 5.0
BYTES_TOKENS = 512
"""Few, since the reference takes longer for each further one: 16 tokens/s were seen at 1,024."""

PROMPT = "so the model reads a page"


def measure(sizes: Sizes) -> Iterator[Row]:
    """The bare loop with the default number of threads and with one more, then llama-cpp-python's own streaming."""
    threads = default_threads()
    with BrowserHome() as home:
        port = home.open_port()
        yield _against_bare(port, gguf(), threads, sizes, BARE_LIMIT)
        few = replace(sizes, stream_rounds=-(-sizes.stream_rounds // 3))
        yield _against_bare(port, gguf(), threads + 1, few, None)
        yield _against_chat(port, gguf(), threads, sizes, "plain text", PLAIN_LIMIT)
        short = replace(sizes, stream_tokens=min(sizes.stream_tokens, BYTES_TOKENS))
        yield _against_chat(port, gguf("bytes"), threads, short, "byte-heavy output", BYTES_LIMIT)


def _against_bare(port: PagePort, model: Path, threads: int, sizes: Sizes, limit: float | None) -> Row:
    tokens = sizes.stream_tokens
    name = _load(port, model, threads)
    with Reference(model, threads) as reference:
        port.stream(name, tokens, prompt=PROMPT)
        reference.bare(PROMPT, tokens)
        ours, bare = alternate(
            sizes.stream_rounds,
            lambda _: port.stream(name, tokens, prompt=PROMPT),
            lambda _: reference.bare(PROMPT, tokens)["rate"],
        )
    assert all(run.tokens == tokens for run in ours)
    figure = f"single stream to the page of {tokens} tokens, {_threads(threads)}; bare C decode loop"
    return at_least_times(figure, "tok/s", [run.decode_rate for run in ours], bare, limit)


def _against_chat(port: PagePort, model: Path, threads: int, sizes: Sizes, what: str, limit: float) -> Row:
    tokens = sizes.stream_tokens
    messages = [{"role": "user", "content": PROMPT}]
    name = _load(port, model, threads)
    with Reference(model, threads) as reference:
        port.stream(name, tokens, messages=messages)
        reference.chat_rate(PROMPT, tokens // 4)
        ours, chat = alternate(
            max(1, sizes.stream_rounds // 3),
            lambda _: port.stream(name, tokens, messages=messages),
            lambda _: reference.chat_rate(PROMPT, tokens),
        )
    figure = f"same, {what}, {tokens} tokens, whole request; `create_chat_completion(stream=True)`"
    return at_least_times(figure, "tok/s", [run.whole_rate for run in ours], chat, limit)


def _load(port: PagePort, model: Path, threads: int) -> str:
    """Load a model afresh, since a loaded one keeps its number of threads."""
    port.request("unload", all=True)
    return port.load(model, options={"threads": threads, "context_length": 4096})


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
