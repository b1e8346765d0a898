"""Tokens a second of ONNX models, from a folder to a page in Chromium, beside the engines that read the same files."""

from collections.abc import Iterator
from pathlib import Path

from backends.llamacpp.engine import default_threads
from benchmarks.genai_reference import GenaiReference
from benchmarks.lab import BrowserHome, PagePort, Stream
from benchmarks.models import genai, transformersjs
from benchmarks.samples import alternate
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_least_times, not_measured
from benchmarks.transformersjs_reference import ReferenceMissing, TransformersJs, versions
from messages.frames import JsonObject

GENAI_LIMIT, PLAIN_LIMIT, FAST_LIMIT = 0.95, 1.3, 2.0
PROMPT = "so the model reads a page"


def measure(sizes: Sizes) -> Iterator[Row]:
    """A genai folder beside genai; a Transformers.js folder beside Transformers.js, plain and on the fast path.

    With fp32 weights a token costs the time in which memory gives them, so that row has no goal.
    """
    threads = default_threads()
    with BrowserHome() as home:
        port = home.open_port()
        yield _against_genai(port, genai(), threads, sizes)
        yield from _against_transformersjs(port, transformersjs(), "q4", threads, sizes)
        yield from _against_transformersjs(port, transformersjs(), "fp32", threads, sizes)


def _against_genai(port: PagePort, model: Path, threads: int, sizes: Sizes) -> Row:
    name = _load(port, model, threads=threads)
    with GenaiReference(model, threads) as reference:
        ours, bare = _compare(port, name, reference, sizes, sizes.stream_tokens)
    figure = f"genai folder, to the page, {_lengths(sizes.stream_tokens, threads)}; bare genai Generator loop"
    return at_least_times(figure, "tok/s", ours, bare, GENAI_LIMIT)


def _against_transformersjs(port: PagePort, model: Path, dtype: str, threads: int, sizes: Sizes) -> Iterator[Row]:
    """Two rows: the plain path and the fast path."""
    for fast, limit in ((False, PLAIN_LIMIT), (True, FAST_LIMIT)):
        path = "fast path" if fast else "plain path"
        figure = f"Transformers.js folder, {dtype}, {path}, to the page, {_lengths(sizes.onnx_tokens, threads)}"
        goal = limit if dtype == "q4" else None
        try:
            reference = TransformersJs(model, dtype, threads)
        except ReferenceMissing as missing:
            yield not_measured(f"{figure}; Transformers.js on Node.js", f">= {limit} x", str(missing))
            continue
        with reference:
            name = _load(port, model, threads=threads, dtype=dtype, fast_path=fast)
            ours, theirs = _compare(port, name, reference, sizes, sizes.onnx_tokens)
        yield at_least_times(f"{figure}; {versions()}", "tok/s", ours, theirs, goal)


def _compare(
    port: PagePort, name: str, reference: GenaiReference | TransformersJs, sizes: Sizes, tokens: int
) -> tuple[list[float], list[float]]:
    """Tokens a second, ours and the reference's, from the first token to the last, after a round to warm up.

    RuntimeError if the two did not do the same work.
    """
    _check_same(port.stream(name, tokens, prompt=PROMPT), reference.run(PROMPT, tokens), tokens)
    return alternate(
        sizes.onnx_rounds,
        lambda _: port.stream(name, tokens, prompt=PROMPT).decode_rate,
        lambda _: float(reference.run(PROMPT, tokens)["rate"]),
    )


def _check_same(ours: Stream, theirs: JsonObject, tokens: int) -> None:
    counts = (ours.tokens, int(theirs["tokens"]))
    if counts != (tokens, tokens):
        raise RuntimeError(f"{tokens} tokens were asked for; ours gave {counts[0]}, the reference {counts[1]}")
    if theirs.get("text", ours.text) != ours.text:
        raise RuntimeError(f"the texts differ; ours: {ours.text[:80]!r}, the reference's: {theirs['text'][:80]!r}")


def _load(port: PagePort, model: Path, **options: object) -> str:
    """Load a model afresh, since a loaded one keeps its options. RuntimeError if the fast path is asked for in vain."""
    port.request("unload", all=True)
    state = port.request("load", model=str(model), options=options)["model"]
    if options.get("fast_path") and not any("fast path is used" in note for note in state["notes"]):
        raise RuntimeError(f"the fast path is not used: {' '.join(state['notes'])}")
    return str(state["model"])


def _lengths(tokens: int, threads: int) -> str:
    return f"{tokens} tokens, 1 thread" if threads == 1 else f"{tokens} tokens, {threads} threads"
