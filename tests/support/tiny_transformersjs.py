"""Small Transformers.js folders with random weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tools.make_transformersjs import PRESETS, write_folder


def make_transformersjs(folder: Path, preset: str = "tiny", **changes: Any) -> Path:
    """Write a preset with some fields changed (of `Variant`; `shape` as a mapping of `Shape`'s fields); fp32 and q4."""
    variant = PRESETS[preset]
    changes = {"dtypes": ("fp32", "q4"), **changes}
    if "shape" in changes:
        changes["shape"] = replace(variant.shape, **changes["shape"])
    write_folder(folder, replace(variant, **changes))
    return folder
