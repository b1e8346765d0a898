"""The models that are measured: random weights, written once by `tools` and kept in `.cache/`."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from benchmarks.hosts import REPOSITORY
from tools import make_genai, make_gguf, make_mlx, make_mmproj, make_transformersjs
from tools.quantize_gguf import quantize_to_q4_0

CACHE = REPOSITORY / ".cache"


def gguf(emit: Literal["ascii", "bytes"] = "ascii") -> Path:
    """A Llama of 20 million random parameters; `emit` "bytes" writes nothing but pieces of multi-byte characters."""
    path = CACHE / ("bench.gguf" if emit == "ascii" else "bench-bytes.gguf")
    if not path.exists():
        make_gguf.write_model(path, replace(make_gguf.PRESETS["bench"], emit=emit))
    return path


def large_gguf(kind: Literal["Q8_0", "Q4_0"] = "Q8_0") -> Path:
    """A Llama of SmolLM2-135M's layers, about the smallest that people load; 125 million random parameters."""
    path = CACHE / ("bench-large.gguf" if kind == "Q8_0" else f"bench-large-{kind}.gguf")
    if kind != "Q8_0" and not path.exists():
        quantize_to_q4_0(large_gguf(), path)
    elif not path.exists():
        bench = make_gguf.PRESETS["bench"]
        shape = replace(bench, vocabulary=16_384, width=576, layers=30, heads=9, kv_heads=3, feed_forward=1536)
        make_gguf.write_model(path, shape)
    return path


def grouped_gguf() -> Path:
    """A Llama of six layers of Qwen2.5 0.5B's sizes, in which seven heads share one of the cache's; 104 million random
    parameters.
    """
    path = CACHE / "bench-grouped.gguf"
    if not path.exists():
        bench = make_gguf.PRESETS["bench"]
        shape = replace(bench, width=896, layers=6, heads=14, kv_heads=2, feed_forward=4864)
        make_gguf.write_model(path, shape)
    return path


def vision() -> Path:
    """A GGUF of the same kind with Qwen2-VL's architecture, and a projector of 14 million parameters beside it."""
    path = CACHE / "bench-vl" / "bench-vl.gguf"
    if not path.exists():
        shape = replace(make_gguf.PRESETS["bench"], architecture="qwen2vl", specials=make_mmproj.VISION_SPECIALS)
        make_gguf.write_model(path, shape)
        make_mmproj.write_projector(
            path.with_name("mmproj-bench-vl.gguf"),
            make_mmproj.ProjectorShape(text_width=shape.width, width=384, layers=8, heads=6, feed_forward=1536),
        )
    return path


def genai() -> Path:
    """A folder for onnxruntime-genai of the same kind."""
    path = CACHE / "bench-genai"
    if not path.exists():
        make_genai.write_folder(path, make_genai.PRESETS["bench"])
    return path


def transformersjs() -> Path:
    """A Transformers.js folder with the same weights, as optimum exports them, in fp32 and q4."""
    path = CACHE / "bench-transformersjs"
    if not (path / "config.json").exists():
        make_transformersjs.write_folder(path, make_transformersjs.PRESETS["bench"])
    return path


def mlx() -> Path:
    """A folder for mlx-vlm, a Qwen2-VL of 20 million parameters beside its vision tower."""
    path = CACHE / "bench-mlx"
    if not (path / "config.json").exists():
        make_mlx.write_folder(path, make_mlx.PRESETS["bench"])
    return path


def prose(words: int, seed: str) -> str:
    """Plain lower-case words; another `seed` gives a text that differs from its first word on."""
    stock = (
        "so",
        "the",
        "model",
        "reads",
        "a",
        "page",
        "of",
        "text",
        "and",
        "writes",
        "one",
        "more",
        "line",
        "to",
        "it",
    )
    return " ".join((seed, *(stock[number % len(stock)] for number in range(words))))
