"""What a worker's memory grows by over many generations: nothing, once the first few have been seen."""

from pathlib import Path

import psutil

from benchmarks.lab import Home
from benchmarks.models import genai, prose, transformersjs
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_most
from messages.actions import ActionType
from messages.frames import JsonObject
from messages.replies import Loaded
from native_host.client import HostClient

LIMIT_PERCENT = 2.0
FIRST = 10
"""Generations before the first reading; each later prompt is as long as one of these."""

PROMPT_WORDS = 6
GENERATED_TOKENS = 16
GENERATION_TIMEOUT_S = 60.0
LOAD_TIMEOUT_S = 300.0


def measure(sizes: Sizes) -> list[Row]:
    """A row a layout, and one for the fast path."""
    with Home() as home, home.client() as client:
        return [
            _row(client, "genai folder", genai(), sizes, {}),
            _row(client, "Transformers.js folder", transformersjs(), sizes, {"dtype": "q4"}),
            _row(client, "same on the fast path", transformersjs(), sizes, {"dtype": "q4", "fast_path": True}),
        ]


def _row(client: HostClient, what: str, model: Path, sizes: Sizes, options: JsonObject) -> Row:
    count = sizes.growth_generations
    before, after = _resident_mb(client, model, count, options)
    figure = f"memory growth of a worker, {what}, over {count:,} generations after the first {FIRST}; resident"
    return at_most(figure, "%", (after / before - 1) * 100, LIMIT_PERCENT, f"{before:.1f} MB to {after:.1f} MB")


def _resident_mb(client: HostClient, model: Path, count: int, options: JsonObject) -> tuple[float, float]:
    """Resident MB (10**6 bytes) of a new worker after the first generations, and `count` generations later."""
    list(client.messages(client.send(ActionType.UNLOAD, all=True), GENERATION_TIMEOUT_S))
    loaded = client.call(ActionType.LOAD, Loaded, timeout=LOAD_TIMEOUT_S, model=str(model), options=options).model
    assert loaded.pid is not None
    worker = psutil.Process(loaded.pid)
    for number in range(FIRST):
        _generate(client, loaded.model, number)
    before = worker.memory_info().rss
    for number in range(FIRST, FIRST + count):
        _generate(client, loaded.model, number)
    return before / 1e6, worker.memory_info().rss / 1e6


def _generate(client: HostClient, model: str, number: int) -> None:
    """A short generation after a prompt that begins like no other, of one of the first prompts' lengths."""
    prompt = prose(PROMPT_WORDS * (1 + number % FIRST), f"{number:04} begins")
    settings = {"temperature": 0, "max_tokens": GENERATED_TOKENS}
    request = client.send(ActionType.GENERATE, model=model, prompt=prompt, settings=settings)
    list(client.messages(request, GENERATION_TIMEOUT_S))
