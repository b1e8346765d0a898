"""Reads and checks a folder in onnxruntime-genai's layout, without the engine: `GenaiFolder`.

What is wrong is a HostError `model_invalid` that names the file. A folder is foreign: every file it names must lie in
it, and it must not bring code of its own (`custom_ops_library` is a shared library that the engine would load).
Keys are those of `src/config.cpp` of onnxruntime-genai 0.18.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from backends.huggingface.files import is_inside, read_json, refuse, require_tokens
from backends.onnx.folder import external_size, externals, read_onnx
from backends.onnx.limits import PIECE, WORKING_BYTES, choose_context
from backends.onnx.onnx_file import OnnxHeader, TensorType

ROPE_SWITCH = {"phi3": 4096, "phimoe": 4096, "phi3small": 8192}
"""Model types whose rotary factors change behind so many tokens, which makes the KV cache before it wrong
(onnxruntime-genai, `Generator::InitializePhi3RopeThreshold`). They are run below it."""

NOT_REWINDABLE = frozenset({"decoder-pipeline", "lfm2"})
"""Model types that the engine cannot rewind (onnxruntime-genai, `Generator::RewindToLength`)."""

_ELEMENT_BYTES = {1: 4, 2: 1, 3: 1, 10: 2, 16: 2, 17: 1}
_OTHER_MODALITIES = ("encoder", "vision", "speech", "embedding")
_FILE_KEYS = ("filename", "_path", "_dir", "_file")

_MOST_TOKENS = 2**22
"""Bound of the tokens' numbers: the engine takes memory for as many as the largest one says."""

_Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


class _Decoder(BaseModel):
    filename: str = "model.onnx"
    inputs: dict[str, str] = {}
    session_options: dict[str, Any] = {}
    pipeline: list[Any] = []


class _Model(BaseModel):
    type: str
    context_length: _Count
    vocab_size: _Count
    bos_token_id: int | None = None
    eos_token_id: int | list[int]
    decoder: _Decoder


class _Search(BaseModel):
    past_present_share_buffer: bool = False


class _Config(BaseModel):
    model: _Model
    search: _Search = _Search()


@dataclass(frozen=True, slots=True)
class GenaiFolder:
    """A checked folder. Sizes are bytes; `token_bytes` is what one token takes in the KV cache.

    adapted are the inputs that a LoRA adapter may fill, providers what the folder asks for, best first.
    """

    path: Path
    graphs: tuple[Path, ...]
    model_type: str
    context_length: int
    vocab_size: int
    bos_token: int | None
    eos_tokens: tuple[int, ...]
    weights_bytes: int
    token_bytes: int
    share_buffer: bool
    providers: tuple[str, ...]
    adapted: Mapping[str, TensorType]

    @property
    def rewindable(self) -> bool:
        """True if the engine can drop tokens from the end of this model's KV cache."""
        return self.model_type not in NOT_REWINDABLE

    def context_for(self, wanted: int | None) -> int:
        """Tokens of context to load with; HostError `invalid_request` if more is wanted than there is."""
        largest = min(self.context_length, ROPE_SWITCH.get(self.model_type, self.context_length))
        return choose_context(wanted, largest)

    def needed_bytes(self, context: int) -> int:
        """Memory for the weights, a KV cache of `context` tokens, and the logits of one piece of a prompt."""
        return self.weights_bytes + context * self.token_bytes + PIECE * self.vocab_size * 4 + WORKING_BYTES


def read_folder(path: Path) -> GenaiFolder:
    """Read and check a folder; HostError `model_invalid`."""
    try:
        return _read_folder(path)
    except OSError as error:
        refuse(Path(error.filename or path), f"cannot be read ({error.strerror})", error)


def _read_folder(path: Path) -> GenaiFolder:
    raw = read_json(path / "genai_config.json")
    _refuse_foreign_code(path, raw)
    config = _parse(path, raw)
    decoder = config.model.decoder
    files = _decoder_files(path, decoder)
    headers = {name: read_onnx(path / name) for name in files}
    sizes = [(path / name).stat().st_size for name in files]
    sizes += [external_size(path / files[0], name, needed) for name, needed in externals(headers.values()).items()]
    read_json(path / "tokenizer_config.json")
    _check_tokenizer(path / "tokenizer.json")
    eos = config.model.eos_token_id
    eos_tokens = tuple(eos) if isinstance(eos, list) else (eos,)
    require_tokens(path / "genai_config.json", eos_tokens, config.model.vocab_size)
    return GenaiFolder(
        path=path,
        graphs=tuple(path / name for name in files),
        model_type=config.model.type,
        context_length=config.model.context_length,
        vocab_size=config.model.vocab_size,
        bos_token=config.model.bos_token_id,
        eos_tokens=eos_tokens,
        weights_bytes=sum(sizes),
        token_bytes=_token_bytes(decoder, headers.values()),
        share_buffer=config.search.past_present_share_buffer,
        providers=_providers(path / "genai_config.json", decoder.session_options),
        adapted={name: kind for header in headers.values() for name, kind in header.optional.items()},
    )


def _parse(path: Path, raw: dict[str, Any]) -> _Config:
    file = path / "genai_config.json"
    model = raw.get("model")
    others = [name for name in _OTHER_MODALITIES if isinstance(model, dict) and name in model]
    if others:
        refuse(file, f"is of a model with {', '.join(others)}, and this backend runs text models only", damaged=False)
    try:
        return _Config.model_validate(raw)
    except ValidationError as error:
        places = [".".join(map(str, problem["loc"])) + ": " + problem["msg"] for problem in error.errors()]
        refuse(file, f"is not complete ({'; '.join(places[:3])})", error)


def _refuse_foreign_code(path: Path, raw: dict[str, Any]) -> None:
    file = path / "genai_config.json"
    for key, value in _strings(raw):
        if key == "custom_ops_library":
            reason = "asks for a library of code (custom_ops_library), which is never loaded from a model's folder"
            refuse(file, reason, damaged=False)
        if key.endswith(_FILE_KEYS) and not is_inside(path, value):
            refuse(file, f"names a file outside the folder ({key}: {value})", damaged=False)


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a JSON value, with the key that it stands under."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, key)
    elif isinstance(value, str):
        yield key, value


def _check_tokenizer(file: Path) -> None:
    """Refuse a tokenizer without what the engine reads unlooked: it then crashes, or not (genai 0.18)."""
    model = read_json(file).get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    merges = model.get("merges") if isinstance(model, dict) else None
    if isinstance(vocabulary, list):
        return
    if not isinstance(vocabulary, dict) or not isinstance(merges, list):
        refuse(file, "has no vocabulary that the engine can read (model.vocab, model.merges)")
    if any(not isinstance(number, int) or number >= _MOST_TOKENS for number in vocabulary.values()):
        refuse(file, f"has a token whose number is none below {_MOST_TOKENS} (model.vocab)")


def _decoder_files(path: Path, decoder: _Decoder) -> list[str]:
    stages = [stage for entry in decoder.pipeline if isinstance(entry, dict) for stage in entry.values()]
    names = [
        stage["filename"] for stage in stages if isinstance(stage, dict) and isinstance(stage.get("filename"), str)
    ]
    for name in names or [decoder.filename]:
        if not (path / name).is_file():
            refuse(path / name, "is missing")
    return names or [decoder.filename]


def _token_bytes(decoder: _Decoder, headers: Iterable[OnnxHeader]) -> int:
    """Keys and values of one token: of the graph's own inputs, since the engine believes them and not the config."""
    patterns = [decoder.inputs.get(f"past_{kind}_names", f"past_key_values.%d.{kind}") for kind in ("key", "value")]
    names = re.compile("|".join(re.escape(pattern).replace("%d", r"\d+") for pattern in patterns))
    caches = [kind for header in headers for name, kind in header.inputs.items() if names.fullmatch(name)]
    return sum(
        _ELEMENT_BYTES.get(kind.element, 4) * prod(size if isinstance(size, int) else 1 for size in kind.shape)
        for kind in caches
    )


def _providers(file: Path, options: dict[str, Any]) -> tuple[str, ...]:
    entries = options.get("provider_options") or []
    if not isinstance(entries, list):
        refuse(file, "is not complete (model.decoder.session_options.provider_options: should be a list)")
    return tuple(name for entry in entries if isinstance(entry, dict) for name in entry)
