"""The reference for MLX folders, in a process of its own: mlx-vlm's own `stream_generate`, and nothing else.

`python -m benchmarks.mlx_reference FOLDER`.
"""

import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_vlm
from mlx_vlm.generate.ar import generate_step

from benchmarks.hosts import REPOSITORY
from benchmarks.line_process import LineProcess, answer_lines
from messages.frames import JsonObject


class BareLoop:
    """A model, and a fresh cache for each run."""

    def __init__(self, folder: str) -> None:
        self._model, self._processor = mlx_vlm.load(folder, trust_remote_code=False)

    def answer(self, request: JsonObject) -> JsonObject:
        """What `run` or `steps` of the other side asks for."""
        return self._steps(request) if "step" in request else self._run(request)

    def _run(self, request: JsonObject) -> JsonObject:
        """Greedy text of `tokens` tokens after `prompt`: `rate` is tokens a second from the first one on."""
        first, last, text = 0.0, 0.0, ""
        chunks = mlx_vlm.stream_generate(
            self._model, self._processor, request["prompt"], max_tokens=request["tokens"], temperature=0.0
        )
        count = 0
        for chunk in chunks:
            text += chunk.text
            if chunk.finish_reason is None:
                last = time.perf_counter()
                first, count = first or last, chunk.generation_tokens
        return {"rate": (count - 1) / (last - first), "tokens": count, "text": text}

    def _steps(self, request: JsonObject) -> JsonObject:
        """Milliseconds of each `step` of a prompt of `tokens` tokens."""
        times: list[float] = []

        def note(length: int, cache: Any) -> None:
            times.append(time.perf_counter() * 1000)

        size, step = request["tokens"], request["step"]
        ids = mx.array([[3 + place % 300 for place in range(size + 1)]])
        options: dict[str, Any] = {"prompt_cache_checkpoint": note, "prefill_step_size": step, "temperature": 0.0}
        lengths = list(range(step, size, step))
        list(
            generate_step(
                ids, self._model, None, None, max_tokens=1, prompt_cache_checkpoint_lengths=lengths, **options
            )
        )
        return {"times": [later - sooner for sooner, later in pairwise(times)]}


class MlxReference(LineProcess):
    """The other process, seen from here."""

    def __init__(self, folder: Path) -> None:
        super().__init__([sys.executable, "-m", "benchmarks.mlx_reference", str(folder)], REPOSITORY)

    def run(self, prompt: str, tokens: int) -> JsonObject:
        """See `BareLoop`."""
        return self.ask({"prompt": prompt, "tokens": tokens})

    def steps(self, step: int, tokens: int) -> list[float]:
        """Milliseconds of each step of so many tokens of a prompt."""
        times: list[float] = self.ask({"step": step, "tokens": tokens})["times"]
        return times


def main() -> None:
    """Answer until stdin ends."""
    answer_lines(lambda: BareLoop(sys.argv[1]).answer)


if __name__ == "__main__":
    main()
