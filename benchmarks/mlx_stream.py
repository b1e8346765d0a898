"""MLX: tokens a second to a page in Chromium beside mlx-vlm's own loop, and how soon a stop is heard in a picture."""

import base64
import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from backends.mlx_vlm.devices import usable_devices
from benchmarks.lab import BrowserHome, PagePort
from benchmarks.mlx_reference import MlxReference
from benchmarks.models import mlx
from benchmarks.samples import alternate, median, quantile
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_least_times, at_most_more
from messages.frames import JsonObject

LIMIT, STOP_LIMIT_MS = 0.95, 20.0
PROMPT = "so the model reads a page"
SIDE = 280
"""Pixels of the picture's sides: 100 tokens."""


def measure(sizes: Sizes) -> Iterator[Row]:
    """Two rows."""
    with BrowserHome() as home, MlxReference(mlx()) as reference:
        port = home.open_port()
        name = port.load(mlx())
        yield _stream(port, name, reference, sizes)
        yield _stop(port, name, reference, sizes)


def _stream(port: PagePort, name: str, reference: MlxReference, sizes: Sizes) -> Row:
    tokens = sizes.mlx_tokens
    seen, bare = port.stream(name, tokens, prompt=PROMPT), reference.run(PROMPT, tokens)
    if seen.tokens < tokens or seen.text != bare["text"]:
        raise RuntimeError(f"the texts differ; ours: {seen.text[:80]!r}, the reference's: {bare['text'][:80]!r}")
    ours, theirs = alternate(
        sizes.mlx_rounds,
        lambda _: port.stream(name, tokens, prompt=PROMPT).decode_rate,
        lambda _: float(reference.run(PROMPT, tokens)["rate"]),
    )
    figure = (
        f"MLX folder, to the page, {tokens} tokens, {usable_devices()[0].name}; bare `mlx_vlm.stream_generate` loop"
    )
    return at_least_times(figure, "tok/s", ours, theirs, LIMIT)


def _stop(port: PagePort, name: str, reference: MlxReference, sizes: Sizes) -> Row:
    """Stops all over the time in which a picture is read, its tower and its tokens alike."""
    step = usable_devices()[0].step
    tries = min(3, sizes.mlx_rounds)
    steps = [time for _ in range(tries) for time in reference.steps(step, 20 * step)]
    whole_ms = min(port.stream(name, 1, messages=[_message(-number)]).first_token_ms for number in range(1, tries + 1))
    times = [
        time
        for number in range(sizes.mlx_stops)
        if (time := _stopped(port, name, number, whole_ms * 0.7 * (number + 0.5) / sizes.mlx_stops)) is not None
    ]
    if len(times) < sizes.mlx_stops / 2:
        raise RuntimeError(f"of {sizes.mlx_stops} stops only {len(times)} came while the picture was read")
    figure = (
        f"MLX, stop while a picture of {SIDE} x {SIDE} pixels is read ({whole_ms:.0f} ms): request to the stream's end;"
        f" one prefill step of {step} tokens; p99 of {len(times)} and {len(steps)} (p50 {median(times):.0f} and"
        f" {median(steps):.0f} ms)"
    )
    return at_most_more(figure, "ms", quantile(times, 0.99), quantile(steps, 0.99), STOP_LIMIT_MS)


def _stopped(port: PagePort, name: str, number: int, after_ms: float) -> float | None:
    """Milliseconds from the stop to the stream's end; None if the picture had been read by then: the machine varies."""
    outcome = port.stop(name, after_ms, True, messages=[_message(number)])
    if outcome["reason"] != "cancelled":
        raise RuntimeError(f"the generation was over before it was stopped: {outcome}")
    return None if outcome["tokens"] else float(outcome["toEnd"])


def _message(number: int) -> JsonObject:
    """A picture of noise, another one each time, and a word."""
    pixels = np.random.default_rng(100 + number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    url = "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
    return {"role": "user", "content": [{"type": "image", "data": url}, {"type": "text", "text": "Well?"}]}
