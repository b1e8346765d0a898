"""A decoder graph run by onnxruntime with numpy arrays and nothing else: what tests compare others with."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
ELEMENTS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """A session on the CPU, one thread, errors alone in the log."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class GraphDecoder:
    """A text decoder in any of the forms that `tools.llama_graph` makes, for one row of a batch or more."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path)
        self.inputs = {value.name: value for value in self._session.get_inputs()}
        self.outputs = [value.name for value in self._session.get_outputs()]
        self._past: dict[str, Array] = {}
        self._mask: npt.NDArray[np.int64] = np.zeros((1, 0), dtype=np.int64)

    def reset(self, rows: int = 1) -> None:
        """Forget what was read."""
        caches = {name: value for name, value in self.inputs.items() if name.startswith("past_key_values.")}
        self._past = {
            name: np.zeros((rows, value.shape[1], 0, value.shape[3]), ELEMENTS[value.type])
            for name, value in caches.items()
        }
        self._mask = np.zeros((rows, 0), dtype=np.int64)

    def step(self, tokens: Array, mask: Array | None = None, kept: int = 0) -> FloatArray:
        """Read tokens `(rows, n)` behind those read before; logits `(rows, n or kept, vocab)`, as fp32."""
        new = np.ones_like(tokens) if mask is None else mask
        used = self._mask.shape[1] > 0
        self._mask = np.concatenate([self._mask, new], axis=1)
        positions = np.maximum(self._mask.cumsum(axis=1) - 1, 0)[:, -tokens.shape[1] :]
        feed = {
            "input_ids": tokens.astype(np.int64),
            "attention_mask": self._mask,
            "position_ids": positions,
            "use_cache_branch": np.array([used]),
            "num_logits_to_keep": np.array(kept, dtype=np.int64),
            **self._past,
        }
        results = self._session.run(None, {name: value for name, value in feed.items() if name in self.inputs})
        named = dict(zip(self.outputs, results, strict=True))
        self._past = {name: named[name.replace("past_key_values", "present")] for name in self._past}
        logits: FloatArray = named["logits"].astype(np.float32)
        return logits

    def read(self, tokens: list[int], pieces: tuple[int, ...]) -> FloatArray:
        """The logits of all tokens `(n, vocab)`, read from the start in pieces of the given lengths."""
        self.reset()
        ends = np.cumsum(pieces)
        parts = [self.step(np.array([tokens[end - piece : end]])) for end, piece in zip(ends, pieces, strict=True)]
        logits: FloatArray = np.concatenate(parts, axis=1)[0]
        return logits

    def greedy(self, prompt: list[int], count: int) -> list[int]:
        """The `count` likeliest tokens that follow."""
        self.reset()
        chosen: list[int] = []
        new = prompt
        for _ in range(count):
            chosen.append(int(self.step(np.array([new]))[0, -1].argmax()))
            new = chosen[-1:]
        return chosen
