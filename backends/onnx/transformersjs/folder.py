"""Reads and checks a folder in the layout of Transformers.js, without the engine: `TransformersJsFolder`.

`config.json`, `tokenizer.json` and the graphs in `onnx/` (or beside the config). What is wrong is a HostError
`model_invalid` that names the file. Keys are those of Transformers' `PretrainedConfig` and `GenerationConfig`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from backends.huggingface.files import read_json, refuse, require_tokens
from backends.onnx.folder import external_size, externals, read_onnx
from backends.onnx.limits import WORKING_BYTES, choose_context
from backends.onnx.transformersjs.dtypes import SUFFIXES

EMBEDDING_OUTPUTS = frozenset({"last_hidden_state", "token_embeddings", "sentence_embedding"})
"""Outputs of which an embedding can be made."""

_DECODERS = ("decoder_model_merged", "model")
_ENCODER = "encoder_model"
_SPLIT_DECODERS = ("decoder_model", "decoder_with_past_model")

_Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


class FolderKind(StrEnum):
    """What a folder's model does."""

    DECODER = "decoder"
    ENCODER_DECODER = "encoder-decoder"
    EMBEDDER = "embedder"


class ModelConfig(BaseModel):
    """The parts of `config.json` that we go by; many models have their own names for the same number."""

    model_type: str = ""
    is_encoder_decoder: bool = False
    vocab_size: _Count | None = None
    max_position_embeddings: _Count | None = None
    n_positions: _Count | None = None
    hidden_size: _Count | None = None
    d_model: _Count | None = None
    d_kv: _Count | None = None
    head_dim: _Count | None = None
    num_attention_heads: _Count | None = None
    num_key_value_heads: _Count | None = None
    num_hidden_layers: _Count | None = None
    num_layers: _Count | None = None
    num_decoder_layers: _Count | None = None
    decoder_layers: _Count | None = None
    num_heads: _Count | None = None
    decoder_attention_heads: _Count | None = None
    bos_token_id: int | list[int] | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    decoder_start_token_id: int | None = None

    @property
    def context_length(self) -> int | None:
        """Tokens that the model was trained on, if it says."""
        return self.max_position_embeddings or self.n_positions

    @property
    def head_size(self) -> int:
        """The width of an attention head; 1 if it cannot be told."""
        if self.head_dim or self.d_kv:
            return self.head_dim or self.d_kv or 1
        return max(1, (self.hidden_size or 1) // (self.num_attention_heads or 1))


@dataclass(frozen=True, slots=True)
class TransformersJsFolder:
    """A checked folder. graphs has each graph's files by its stem and dtype: `graphs["model"]["q4"]`."""

    path: Path
    kind: FolderKind
    config: ModelConfig
    eos_tokens: tuple[int, ...]
    bos_token: int | None
    graphs: dict[str, dict[str, Path]]

    @property
    def decoder(self) -> str:
        """The stem of the decoder's graph."""
        return next(stem for stem in _DECODERS if stem in self.graphs)

    @property
    def dtypes(self) -> set[str]:
        """The dtypes of which every graph has a file."""
        return set.intersection(*(set(files) for files in self.graphs.values()))

    def require_eos(self) -> tuple[int, ...]:
        """The tokens that end an answer; HostError `model_invalid` if the folder names none, or impossible ones."""
        if not self.eos_tokens:
            refuse(self.path / "config.json", "names no eos_token_id, so no answer would ever end")
        require_tokens(self.path / "config.json", self.eos_tokens, self.config.vocab_size)
        return self.eos_tokens

    def files(self, dtype: str) -> list[Path]:
        """The graphs' files of a dtype."""
        return [files[dtype] for files in self.graphs.values()]

    def weights_bytes(self, dtype: str) -> int:
        """Bytes of all files of a dtype, external data included; HostError `model_invalid` if one is damaged."""
        return sum(graph_bytes(file) for file in self.files(dtype))

    def context_for(self, wanted: int | None) -> int:
        """Tokens of context to load with; HostError `invalid_request` if more is wanted than there is."""
        return choose_context(wanted, self.config.context_length)

    def needed_bytes(self, dtype: str, context: int, token_bytes: int) -> int:
        """Memory for the weights, a KV cache of `context` tokens twice (old and new), and working space."""
        return self.weights_bytes(dtype) + 2 * context * token_bytes + WORKING_BYTES


def read_folder(path: Path) -> TransformersJsFolder:
    """Read and check a folder; HostError `model_invalid`."""
    try:
        return _read_folder(path)
    except OSError as error:
        refuse(Path(error.filename or path), f"cannot be read ({error.strerror})", error)


def graph_bytes(file: Path) -> int:
    """Bytes of a graph with its external data; HostError `model_invalid` for data that is missing or elsewhere."""
    header = read_onnx(file)
    data = [external_size(file, name, needed) for name, needed in externals([header]).items()]
    return file.stat().st_size + sum(data)


def _read_folder(path: Path) -> TransformersJsFolder:
    config = _parse(path / "config.json", read_json(path / "config.json"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        read_json(path / name)
    generation = read_generation_config(path)
    graphs = dict(_graphs(path))
    return TransformersJsFolder(
        path=path,
        kind=_kind(path, config, graphs),
        config=config,
        eos_tokens=_tokens(generation.get("eos_token_id", config.eos_token_id)),
        bos_token=next(iter(_tokens(generation.get("bos_token_id", config.bos_token_id))), None),
        graphs=graphs,
    )


def _parse(file: Path, raw: dict[str, Any]) -> ModelConfig:
    text = raw.get("text_config")
    merged = {**raw, **text} if isinstance(text, dict) else raw
    try:
        return ModelConfig.model_validate(merged)
    except ValidationError as error:
        places = [".".join(map(str, problem["loc"])) + ": " + problem["msg"] for problem in error.errors()]
        refuse(file, f"is not complete ({'; '.join(places[:3])})", error)


def read_generation_config(path: Path) -> dict[str, Any]:
    """What `generation_config.json` says, nulls left out; empty if there is none."""
    file = path / "generation_config.json"
    given = read_json(file) if file.is_file() else {}
    return {key: value for key, value in given.items() if value is not None}


def _tokens(value: Any) -> tuple[int, ...]:
    """Token ids out of a number, a list of numbers, or nothing."""
    values = value if isinstance(value, list) else [value]
    return tuple(token for token in values if isinstance(token, int))


def _graphs(path: Path) -> Iterator[tuple[str, dict[str, Path]]]:
    """Each graph's stem, and its files by dtype."""
    folder = graph_folder(path)
    for stem in (*_DECODERS, _ENCODER, *_SPLIT_DECODERS):
        files = {dtype: folder / f"{stem}{suffix}.onnx" for dtype, suffix in SUFFIXES.items()}
        found = {dtype: file for dtype, file in files.items() if file.is_file()}
        if found:
            yield stem, found


def graph_folder(path: Path) -> Path:
    """Where a folder has its graphs: `onnx/`, or beside the config."""
    return path / "onnx" if (path / "onnx").is_dir() else path


def _kind(path: Path, config: ModelConfig, graphs: dict[str, dict[str, Path]]) -> FolderKind:
    """What the folder's model does, which decides what graphs are used; the others are dropped from `graphs`."""
    if _ENCODER in graphs:
        return _encoder_decoder(path, graphs)
    if config.is_encoder_decoder:
        refuse(graph_folder(path) / f"{_ENCODER}.onnx", "is missing, and the config is an encoder-decoder's")
    stem = next((stem for stem in _DECODERS if stem in graphs), None)
    if stem is None:
        have = ", ".join(sorted(file.name for file in graph_folder(path).glob("*.onnx"))) or "no graph at all"
        refuse(graph_folder(path) / "model.onnx", f"is missing (there is: {have})")
    for other in set(graphs) - {stem}:
        del graphs[other]
    return _single_kind(next(iter(graphs[stem].values())))


def _single_kind(file: Path) -> FolderKind:
    """What one graph does, by its outputs; whether a decoder's is complete is the loader's question."""
    header = read_onnx(file)
    if "logits" in header.outputs:
        return FolderKind.DECODER
    if header.outputs.keys() & EMBEDDING_OUTPUTS:
        return FolderKind.EMBEDDER
    given = ", ".join(header.outputs)
    reason = f"is neither a text decoder (no output logits) nor an embedding model; it gives: {given}"
    return refuse(file, reason, damaged=False)


def _encoder_decoder(path: Path, graphs: dict[str, dict[str, Path]]) -> FolderKind:
    decoders = ("decoder_model_merged",) if "decoder_model_merged" in graphs else _SPLIT_DECODERS
    wanted = {_ENCODER, *decoders}
    missing = sorted(wanted - set(graphs))
    if missing:
        refuse(graph_folder(path) / f"{missing[0]}.onnx", "is missing (or decoder_model_merged.onnx in its place)")
    for other in set(graphs) - wanted:
        del graphs[other]
    if not set.intersection(*(set(files) for files in graphs.values())):
        have = "; ".join(f"{stem}: {', '.join(files)}" for stem, files in graphs.items())
        refuse(next(iter(graphs[decoders[0]].values())), f"is of another dtype than the other graphs ({have})")
    return FolderKind.ENCODER_DECODER
