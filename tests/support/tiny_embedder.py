"""Small sentence-embedding folders with random weights, and their reference vectors by numpy."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from support.graph_decoder import open_session
from tokenizers import Tokenizer

from tools.make_embedder import PRESETS, Pooling, write_folder

FloatArray = npt.NDArray[np.float32]


def make_embedder(folder: Path, preset: str = "mean", **changes: Any) -> Path:
    """Write a preset with some fields changed (of `tools.make_embedder.Variant`); fp32 unless `dtypes` says else."""
    write_folder(folder, replace(PRESETS[preset], **{"dtypes": ("fp32",), **changes}))
    return folder


def run_embedder(
    folder: Path, tokens: npt.NDArray[np.int64], mask: npt.NDArray[np.int64], suffix: str = ""
) -> dict[str, FloatArray]:
    """All outputs of the graph by name, for tokens and mask `(rows, n)`."""
    session = open_session(folder / "onnx" / f"model{suffix}.onnx")
    wanted = {value.name for value in session.get_inputs()}
    feed = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
    results = session.run(None, {name: value for name, value in feed.items() if name in wanted})
    return dict(zip([value.name for value in session.get_outputs()], results, strict=True))


def reference_embedding(folder: Path, text: str, pooling: Pooling, normalize: bool) -> FloatArray:
    """The vector of one text, alone in its batch and cut nowhere."""
    tokens = np.array([Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids], np.int64)
    states = run_embedder(folder, tokens, np.ones_like(tokens))["last_hidden_state"][0]
    vector: FloatArray = {"mean": states.mean(axis=0), "cls": states[0], "lasttoken": states[-1]}[pooling]
    return vector / np.linalg.norm(vector) if normalize else vector
