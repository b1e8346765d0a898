"""Pictures: how soon one is ready for the model, and how soon a stop is heard while it is read."""

import base64
import io
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from backends.llamacpp.engine import default_threads
from backends.llamacpp.memory import BATCH_TOKENS
from benchmarks.lab import BrowserHome, Home, PagePort
from benchmarks.models import prose, vision
from benchmarks.reference import Reference
from benchmarks.samples import alternate, median, quantile
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_most_more, at_most_times
from messages.actions import ActionType
from messages.frames import JsonObject
from messages.replies import Loaded, TokenCount

LOAD_TIMEOUT_S = 300.0
STOP_LIMIT_MS = 20.0
READ_LIMIT = 1.3

_PHOTOGRAPH = (4000, 3000)
_TAKEN = (1008, 756)
"""What the model takes of the photograph: a quarter of a context of 4,096 tokens of 28 x 28 pixels, at most."""


def measure(sizes: Sizes) -> list[Row]:
    """Two rows: a photograph on its way to the model, and a stop while a picture is encoded and decoded."""
    return [_reading(sizes), _stopping(sizes)]


def photograph() -> JsonObject:
    """A message with a JPEG of 12 megapixels."""
    return _message(_jpeg(*_PHOTOGRAPH), "jpeg")


def _reading(sizes: Sizes) -> Row:
    """All that happens before the first step of prefill: `count_tokens` does the same and then answers."""
    data = _jpeg(*_PHOTOGRAPH)
    with Home() as home, home.client() as client:
        model = client.call(ActionType.LOAD, Loaded, timeout=LOAD_TIMEOUT_S, model=str(vision())).model.model
        messages = [_message(data, "jpeg")]
        ours, alone = alternate(
            sizes.photographs,
            lambda _: _ms(lambda: client.call(ActionType.COUNT_TOKENS, TokenCount, model=model, messages=messages)),
            lambda _: _ms(lambda: _with_pillow(data)),
        )
    figure = (
        f"12-megapixel JPEG ({len(data) / 1e6:.1f} MB), request to prefill start (all that `count_tokens` does);"
        f" Pillow decode and resize alone; p50 of {len(ours)}"
    )
    return at_most_times(figure, "ms", median(ours), median(alone), READ_LIMIT)


def _stopping(sizes: Sizes) -> Row:
    threads = default_threads()
    with BrowserHome() as home, Reference(vision(), threads) as reference:
        port = home.open_port()
        name = port.load(vision(), options={"threads": threads, "context_length": 4096})
        step = prose(BATCH_TOKENS, "step")
        tokens = port.request("count_tokens", model=name, prompt=step)["tokens"]
        step_ms = median([reference.bare(step, 1)["first_ms"] for _ in range(5)]) * BATCH_TOKENS / tokens
        whole_ms = _whole_ms(port, name, sizes.drawing_pixels)
        places = [0.6 * number / sizes.stops for number in range(sizes.stops)]
        drawings = [_png(1 + number, sizes.drawing_pixels) for number in range(sizes.stops)]
        pairs = zip(drawings, places, strict=True)
        stops = [_stop_ms(port, name, drawing, whole_ms * place) for drawing, place in pairs]
    figure = (
        f"stop, in prefill of a picture ({sizes.drawing_pixels} pixels square, {whole_ms:.0f} ms):"
        f" request to the stream's end; one prefill step; p99 of {len(stops)} (p50 {median(stops):.1f} ms)"
    )
    return at_most_more(figure, "ms", quantile(stops, 0.99), step_ms, STOP_LIMIT_MS)


def _whole_ms(port: PagePort, name: str, side: int) -> float:
    return port.stream(name, 1, messages=[_message(_png(0, side), "png")]).first_token_ms


def _stop_ms(port: PagePort, name: str, drawing: bytes, after_ms: float) -> float:
    """Milliseconds from the stop request to the generation's result."""
    outcome = port.stop(name, after_ms, True, messages=[_message(drawing, "png")])
    if outcome["reason"] != "cancelled" or outcome["tokens"]:
        raise RuntimeError(f"the picture was read before the stop: {outcome}")
    return float(outcome["toEnd"])


def _ms(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return (time.perf_counter() - started) * 1000


def _jpeg(width: int, height: int) -> bytes:
    """Gradients and some noise, which compress as a photograph does."""
    y, x = np.mgrid[0:height, 0:width]
    light = np.stack([x / 16 % 256, y / 12 % 256, (x + y) / 28 % 256], axis=-1)
    noise = np.random.default_rng(7).normal(0, 8, light.shape)
    return _saved(np.clip(light + noise, 0, 255).astype(np.uint8), "JPEG", quality=90)


def _png(seed: int, side: int) -> bytes:
    """Large squares of random colours."""
    cells = np.random.default_rng(seed).integers(0, 255, (side // 56, side // 56, 3), np.uint8)
    return _saved(cells.repeat(56, axis=0).repeat(56, axis=1), "PNG")


def _saved(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def _with_pillow(data: bytes) -> None:
    Image.open(io.BytesIO(data)).convert("RGB").resize(_TAKEN, Image.Resampling.BICUBIC)


def _message(data: bytes, kind: str) -> JsonObject:
    url = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return {"role": "user", "content": [{"type": "image", "data": url}, {"type": "text", "text": "What is this?"}]}
