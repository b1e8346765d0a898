"""Writes the checkpoint for mlx-vlm: `python -m tools.demo_vision.export_mlx --checkpoint HF --out FOLDER`.

A Hugging Face folder in float16. Before that the language model's matrices go through Q8_0, so that this folder and the
GGUF hold the same network but for float16's own rounding.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

WEIGHTS = "model.safetensors"
COPIED = (
    "tokenizer.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "generation_config.json",
)


def through_q8(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a matrix is after Q8_0."""
    kind = gguf.GGMLQuantizationType.Q8_0
    return np.asarray(gguf.quants.dequantize(gguf.quants.quantize(np.ascontiguousarray(weight), kind), kind))


def half(name: str, weight: NDArray[np.float32]) -> NDArray[np.float16]:
    """A tensor of the checkpoint as the folder has it."""
    language = name.startswith("model.") and weight.ndim == 2
    return (through_q8(weight) if language else weight).astype(np.float16)


def rewrite(source: Path, target: Path, **changed: str) -> None:
    """Write a JSON file again with some values changed."""
    content = json.loads(source.read_text("utf-8")) | changed
    target.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def export(checkpoint: Path, out: Path) -> None:
    """Write the whole folder."""
    out.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copyfile(checkpoint / name, out / name)
    rewrite(checkpoint / "config.json", out / "config.json", torch_dtype="float16")
    # The name that every transformers knows; version 5 writes one of its own.
    tokenizer = "tokenizer_config.json"
    rewrite(checkpoint / tokenizer, out / tokenizer, tokenizer_class="PreTrainedTokenizerFast")
    (out / "processor_config.json").write_text('{"processor_class": "Qwen2VLProcessor"}\n', "utf-8")
    tensors = {name: half(name, weight) for name, weight in load_file(checkpoint / WEIGHTS).items()}
    (out / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    export(arguments.checkpoint, arguments.out)
    size = sum(file.stat().st_size for file in arguments.out.iterdir())
    print(f"{arguments.out}: {size} bytes")


if __name__ == "__main__":
    main()
