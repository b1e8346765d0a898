"""Small T5 folders with random weights, and their greedy tokens by onnxruntime with numpy arrays and nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from support.graph_decoder import open_session

from tools.make_t5 import END, PAD, PRESETS, write_folder

Array = npt.NDArray[Any]


def make_t5(folder: Path, preset: str = "tiny", **changes: Any) -> Path:
    """Write a preset with some fields changed (of `tools.make_t5.Variant`); fp32 unless `dtypes` says otherwise."""
    write_folder(folder, replace(PRESETS[preset], **{"dtypes": ("fp32",), **changes}))
    return folder


class T5Graphs:
    """Encoder and decoders of a folder; keeps the encoder's keys and values of the first decoder step."""

    def __init__(self, folder: Path, suffix: str = "") -> None:
        self._encoder = open_session(folder / "onnx" / f"encoder_model{suffix}.onnx")
        merged = folder / "onnx" / f"decoder_model_merged{suffix}.onnx"
        if merged.is_file():
            self._first = self._later = open_session(merged)
        else:
            self._first = open_session(folder / "onnx" / f"decoder_model{suffix}.onnx")
            self._later = open_session(folder / "onnx" / f"decoder_with_past_model{suffix}.onnx")
        self._shared: dict[str, Array] = {}
        self._past: dict[str, Array] = {}
        self.last_outputs: dict[str, Array] = {}

    def encode(self, tokens: Array, mask: Array | None = None) -> Array:
        """Read the source text, `(rows, n)`; returns its states `(rows, n, hidden)`."""
        mask = np.ones_like(tokens) if mask is None else mask
        states: Array = self._encoder.run(None, {"input_ids": tokens, "attention_mask": mask})[0]
        self._shared = {"encoder_attention_mask": mask, "encoder_hidden_states": states}
        self._past = {}
        return states

    def step(self, tokens: Array) -> Array:
        """Read target tokens `(rows, n)` behind those read before; logits `(rows, n, vocab)`."""
        session = self._later if self._past else self._first
        wanted = {value.name: value.shape for value in session.get_inputs()}
        feed = {**self._shared, "input_ids": tokens, "use_cache_branch": np.array([bool(self._past)])}
        for name, shape in wanted.items():
            if name.startswith("past_key_values."):
                nothing = np.zeros((len(tokens), shape[1], 0, shape[3]), dtype=np.float32)
                feed[name] = self._past.get(name, nothing)
        names = [value.name for value in session.get_outputs()]
        results = session.run(None, {name: value for name, value in feed.items() if name in wanted})
        self.last_outputs = dict(zip(names, results, strict=True))
        self._keep()
        logits: Array = self.last_outputs["logits"]
        return logits

    def _keep(self) -> None:
        """The decoder's caches always, the encoder's only from the first step."""
        for name, value in self.last_outputs.items():
            past = name.replace("present", "past_key_values")
            if ".decoder." in name or (".encoder." in name and past not in self._past):
                self._past[past] = value

    def greedy(self, source: list[int], count: int) -> list[int]:
        """The likeliest target tokens, at most `count`, without start and end."""
        self.encode(np.array([source]))
        chosen: list[int] = []
        new = PAD
        for _ in range(count):
            new = int(self.step(np.array([[new]]))[0, -1].argmax())
            if new == END:
                break
            chosen.append(new)
        return chosen
