"""Server-sent events of the HTTP API beside llama-server's: the same GGUF, threads and client, both under `/v1`."""

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from support.http_host import HttpHost

from backends.llamacpp.engine import default_threads
from benchmarks.llama_server import CONTEXT_TOKENS, LlamaServer
from benchmarks.models import gguf, large_gguf, prose
from benchmarks.samples import alternate, median
from benchmarks.server_process import ServerProcess
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_least_times, at_most_times, not_measured
from benchmarks.transformersjs_reference import ReferenceMissing

STREAM_LIMIT, TOGETHER_LIMIT, FIRST_LIMIT = 1.05, 0.5, 1.0
STREAMS = 4
PROMPT_WORDS, LONG_PROMPT_WORDS = 24, 235
"""Some 60 and 512 tokens; the latter is what llama-bench reads by default."""
SHORT_ANSWER = 8
"""Tokens: an answer that is over as soon as it has begun. llama-server keeps what was said before in RAM when another
prompt comes, which takes it a millisecond for each 200 tokens of that: after such an answer there is nothing to keep.
"""
SHARE = 8
"""How much longer the long streams are than the short ones, which have llama-bench's 128 tokens."""
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Streamed:
    """One stream as its client saw it; times are seconds of a monotonic clock."""

    sent: float
    first: float
    last: float
    tokens: int

    @property
    def rate(self) -> float:
        """Tokens a second, from the first to the last."""
        return (self.tokens - 1) / (self.last - self.first)

    @property
    def first_ms(self) -> float:
        """Milliseconds to the first token."""
        return (self.first - self.sent) * 1000


def measure(sizes: Sizes) -> Iterator[Row]:
    """Thirteen rows: long and shorter streams, their first tokens, those of a short and of a longer prompt after
    answers that are hardly any, on connections that are new each, of the least server that could be, of a larger model
    and of servers that have been in use for a while, and four streams at once.
    """
    threads, tokens, large = default_threads(), sizes.stream_tokens, large_gguf()
    few = tokens // SHARE
    try:
        streams, shorter = _Pairs(gguf(), PROMPT_WORDS, tokens, 0), _Pairs(gguf(), PROMPT_WORDS, few, 100)
        shorts = _Pairs(gguf(), PROMPT_WORDS, SHORT_ANSWER, 200)
        longs = _Pairs(gguf(), LONG_PROMPT_WORDS, SHORT_ANSWER, 300)
        least = _Pairs(gguf(), PROMPT_WORDS, SHORT_ANSWER, 400)
        anew = _Pairs(gguf(), PROMPT_WORDS, SHORT_ANSWER, 500, keeps_connections=False)
        large_streams = _Pairs(large, PROMPT_WORDS, few, 0)
        large_shorts = _Pairs(large, PROMPT_WORDS, SHORT_ANSWER, 100)
        for _ in range(sizes.launches):
            with _ours(gguf(), threads) as ours, LlamaServer(gguf(), threads) as server:
                urls = (ours, server.url)
                streams.add(sizes.http_rounds, urls)
                shorter.add(sizes.http_rounds, urls)
                shorts.add(sizes.http_firsts, urls)
                anew.add(sizes.http_firsts, urls)
                with _bare(gguf(), threads) as bare:
                    least.add(sizes.http_firsts, (bare.url, server.url))
                longs.add(sizes.http_firsts, urls)  # last, since llama-server takes longer once it has kept many tokens
            with _ours(large, threads) as ours, LlamaServer(large, threads) as server:
                large_streams.add(sizes.http_rounds, (ours, server.url))
                large_shorts.add(sizes.http_firsts, (ours, server.url))
        yield streams.rate_row(threads)
        yield shorter.rate_row(threads)
        yield streams.first_row("60", "in these streams")
        yield shorter.first_row("60", "in these streams")
        yield shorts.first_row("60", "after answers")
        yield longs.first_row("512", "after answers")
        yield anew.first_row("60", "on a new connection each, after answers", None)
        yield least.first_row("60", "of a bare FastAPI with our engine in its process, after answers", None)
        yield large_streams.rate_row(threads)
        yield large_streams.first_row("60", "in these streams")
        yield large_shorts.first_row("60", "after answers")
        with _ours(gguf(), threads) as ours, LlamaServer(gguf(), threads) as server:
            yield _in_use(sizes, (ours, server.url))
        with _ours(gguf(), threads) as ours, LlamaServer(gguf(), threads, STREAMS) as server:
            yield _together(ours, server.url, sizes)
    except ReferenceMissing as missing:
        yield not_measured("HTTP API; llama-server", f">= {STREAM_LIMIT} x", str(missing))


class _Pairs:
    """Streams of both servers, in turns, each of a prompt of `words` and an answer of `tokens`.

    The prompts are those from number `start` on. None is asked twice of one server: llama-server finds again what it
    was asked some prompts ago. With keeps_connections a client goes on with the connection that it has, if the server
    has left it open, as OpenAI's clients do: ours leaves it, llama-server ends it with each stream.
    """

    def __init__(self, model: Path, words: int, tokens: int, start: int, *, keeps_connections: bool = True) -> None:
        self._model = model
        self._words = words
        self._tokens = tokens
        self._start = start
        self._keeps_connections = keeps_connections
        self._ours: list[Streamed] = []
        self._theirs: list[Streamed] = []

    def add(self, rounds: int, urls: tuple[str, str]) -> None:
        """Measure both, ours first; a first round that is not counted makes both ready."""
        mine, reference = (client_of(url, keeps_connections=self._keeps_connections) for url in urls)
        with mine, reference:
            self._stream(mine, rounds)
            self._stream(reference, rounds)
            ours, theirs = alternate(
                rounds, lambda number: self._stream(mine, number), lambda number: self._stream(reference, number)
            )
        self._ours += ours
        self._theirs += theirs

    @property
    def _with(self) -> str:
        return " with the larger model" if self._model == large_gguf() else ""

    def _stream(self, client: httpx.Client, number: int) -> Streamed:
        return stream(client, self._model, _prompt(self._start + number, self._words), self._tokens)

    def rate_row(self, threads: int) -> Row:
        """Their tokens a second."""
        figure = f"HTTP: one stream of {self._tokens} tokens{self._with}, {threads} thread(s); llama-server"
        rates = [run.rate for run in self._ours], [run.rate for run in self._theirs]
        return at_least_times(figure, "tok/s", *rates, STREAM_LIMIT)

    def first_row(self, prompt: str, where: str, limit: float | None = FIRST_LIMIT) -> Row:
        """The time to their first token."""
        what = f"prompt of some {prompt} tokens{self._with}, {where} of {self._tokens}"
        figure = f"HTTP: time to first token, warm, {what}; llama-server; p50 of {len(self._ours)}"
        firsts = median([run.first_ms for run in self._ours]), median([run.first_ms for run in self._theirs])
        return at_most_times(figure, "ms", *firsts, limit)


def _in_use(sizes: Sizes, urls: tuple[str, str]) -> Row:
    """First tokens of servers that have answered other prompts: llama-server keeps each of them."""
    _Pairs(gguf(), PROMPT_WORDS, SHORT_ANSWER, 1000).add(sizes.http_before, urls)
    seasoned = _Pairs(gguf(), PROMPT_WORDS, SHORT_ANSWER, 5000)
    seasoned.add(sizes.launches * sizes.http_firsts, urls)
    return seasoned.first_row("60", f"with {sizes.http_before} prompts before, after answers")


def _together(ours: str, theirs: str, sizes: Sizes) -> Row:
    tokens = sizes.stream_tokens // STREAMS
    rounds = max(1, sizes.stream_rounds // 3)
    with client_of(ours) as one, client_of(theirs) as other:
        mine, reference = alternate(
            rounds, lambda number: _total_rate(one, number, tokens), lambda number: _total_rate(other, number, tokens)
        )
    figure = f"HTTP: {STREAMS} streams at once of {tokens} tokens, in all; llama-server with {STREAMS} slots"
    return at_least_times(figure, "tok/s", mine, reference, TOGETHER_LIMIT)


def _total_rate(client: httpx.Client, number: int, tokens: int) -> float:
    """Tokens a second of all streams together. RuntimeError if one of them did not get all its tokens."""
    prompts = [_prompt(number * STREAMS + index) for index in range(STREAMS)]
    with ThreadPoolExecutor(STREAMS) as pool:
        runs: Sequence[Streamed] = list(pool.map(lambda prompt: stream(client, gguf(), prompt, tokens), prompts))
    return sum(run.tokens for run in runs) / (max(run.last for run in runs) - min(run.sent for run in runs))


def client_of(url: str, *, keeps_connections: bool = True) -> httpx.Client:
    """A client of the server there; no proxy of this machine comes between."""
    limits = httpx.Limits(max_keepalive_connections=None if keeps_connections else 0)
    return httpx.Client(base_url=url, timeout=TIMEOUT_S, limits=limits, trust_env=False)


def stream(client: httpx.Client, model: Path, prompt: str, tokens: int) -> Streamed:
    """Stream a greedy completion. RuntimeError if it has another number of tokens than was asked for."""
    body = {"model": str(model), "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True}
    body["stream_options"] = {"include_usage": True}
    arrivals: list[float] = []
    counted = 0
    sent = time.perf_counter()
    with client.stream("POST", "/v1/completions", json=body) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                arrivals.append(time.perf_counter())
            if '"completion_tokens":' in line:
                counted = int(line.split('"completion_tokens":')[1].lstrip().split(",")[0].rstrip("}"))
    if counted != tokens:
        raise RuntimeError(f"{client.base_url} gave {counted} tokens of {tokens}")
    return Streamed(sent, arrivals[0], arrivals[-1], counted)


def _prompt(number: int, words: int = PROMPT_WORDS) -> str:
    """Every prompt begins with another word, so that nothing of it is cached."""
    return prose(words, f"{number} is the first")


def _bare(model: Path, threads: int) -> ServerProcess:
    command = [sys.executable, "-m", "benchmarks.bare_http", "--model", str(model), "--threads", str(threads)]
    return ServerProcess([*command, "--context-length", str(CONTEXT_TOKENS)])


@contextmanager
def _ours(model: Path, threads: int) -> Iterator[str]:
    """The address of a host that has the model loaded."""
    with HttpHost("--no-token") as host:
        body = {"model": str(model), "options": {"threads": threads, "context_length": CONTEXT_TOKENS}}
        with host.client(timeout=TIMEOUT_S) as client:
            client.post("/api/v1/load", json=body).raise_for_status()
        yield host.url
