"""How a folder's vectors are made of its model's states: the files of sentence-transformers, without the engine.

`modules.json`, `1_Pooling/config.json` and `sentence_bert_config.json`, in the keys of sentence-transformers 3
(`models/Pooling.py`, `models/Transformer.py`); a folder may have none of them. What is wrong is a HostError
`model_invalid` that names the file. Above it: `embedder`, `backends.onnx.describe`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from backends.huggingface.files import is_inside, read_json, read_value, refuse
from backends.onnx.transformersjs.folder import TransformersJsFolder


class Pooling(StrEnum):
    """Which of a text's states its vector is made of."""

    MEAN = "mean"
    CLS = "cls"
    LAST_TOKEN = "lasttoken"


_MODES: Mapping[str, Pooling] = {
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_lasttoken": Pooling.LAST_TOKEN,
}
_MODULES = frozenset({"Transformer", "Pooling", "Normalize"})
_POOLING_FOLDER = "1_Pooling"


@dataclass(frozen=True, slots=True)
class SentenceSettings:
    """pooling is None where no file says; other_modules are layers that only the graph could have in it."""

    pooling: Pooling | None
    normalize: bool
    other_modules: tuple[str, ...] = ()


def read_sentence_settings(path: Path) -> SentenceSettings:
    """Read a folder's settings; without any, vectors are normalised. HostError `model_invalid`."""
    file = path / "modules.json"
    modules = _read_modules(file) if file.is_file() else {"Normalize": "", "Pooling": _POOLING_FOLDER}
    config = path / modules.get("Pooling", _POOLING_FOLDER) / "config.json"
    return SentenceSettings(
        pooling=_read_pooling(config) if config.is_file() else None,
        normalize="Normalize" in modules,
        other_modules=tuple(sorted(modules.keys() - _MODULES)),
    )


def text_limit(folder: TransformersJsFolder, wanted: int | None) -> int:
    """Tokens of a text that are read: the wanted number, or fewer where the model or its tokenizer was made for fewer.

    Raises HostError `invalid_request` for more than the model has positions.
    """
    files = {"sentence_bert_config.json": "max_seq_length", "tokenizer_config.json": "model_max_length"}
    limits = [_read_number(folder.path / file, key) for file, key in files.items()]
    return min([folder.context_for(wanted), *(limit for limit in limits if limit is not None)])


def _read_modules(file: Path) -> dict[str, str]:
    """Each module's class and its folder, relative: modules whose class lies in a package go by the class alone."""
    modules = read_value(file)
    entries = modules if isinstance(modules, list) else [None]
    found: dict[str, str] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
            refuse(file, "is not a list of modules, each with a type")
        place = entry.get("path", "")
        if not isinstance(place, str) or not is_inside(file.parent, place):
            refuse(file, f"names a folder outside the model's ({place})")
        found[entry["type"].rpartition(".")[2]] = place
    return found


def _read_pooling(file: Path) -> Pooling:
    config = read_json(file)
    chosen = sorted(key for key, value in config.items() if key.startswith("pooling_mode_") and value is True)
    if not chosen and "pooling_mode" in config:
        chosen = [str(config["pooling_mode"])]
    known = {**_MODES, **{str(mode): mode for mode in Pooling}}
    if len(chosen) == 1 and chosen[0] in known:
        return known[chosen[0]]
    said = " and ".join(name.removeprefix("pooling_mode_") for name in chosen) or "none"
    return refuse(file, f"wants a pooling that this backend cannot do ({said}); it can do mean, cls and last token")


def _read_number(file: Path, key: str) -> int | None:
    """A number of a file that need not be there; "no limit" is written as one with 30 digits."""
    value: Any = read_json(file).get(key) if file.is_file() else None
    return value if type(value) is int and 0 < value < 2**31 else None
