"""A Hugging Face folder as mlx-vlm reads it, looked at without the engine: what it is, whether it is whole and safe.

The folder is foreign. Whatever would run Python of its own is refused here, whatever is cut off too, with a HostError
`model_invalid` that names the file. Above it: `describe` and `backend`. Standard library only.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.huggingface.files import read_json, refuse, require_tokens
from backends.mlx_vlm.safetensors import tensor_names, weight_files
from messages.errors import ErrorCode, HostError

DEFAULT_CONTEXT = 16_384
"""Tokens of context where the load does not say and the model could do more; the KV cache grows as it is needed."""

WORKING_BYTES = 128 * 1024 * 1024
"""Memory that the engine takes beside weights and KV cache."""

_VISION_WORDS = ("vis", "image", "img", "siglip", "clip", "patch_embed")
"""What names of a vision tower's tensors contain, in the families that mlx-vlm 0.7.10 knows."""

_CODE_KEYS = ("auto_map",)
_TOKENIZER_FILES = ("tokenizer_config.json",)
_VALUE_BYTES = {"float32": 4, "float64": 8}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that was found whole. sizes are bytes, contexts tokens."""

    path: Path
    config: dict[str, Any]
    files: tuple[Path, ...]
    eos_tokens: frozenset[int]

    @property
    def text_config(self) -> dict[str, Any]:
        """The language model's part of the config."""
        part = self.config.get("text_config") or self.config.get("llm_config")
        return part if isinstance(part, dict) and part else self.config

    @property
    def weights_bytes(self) -> int:
        """The weights' size on disk."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def trained_context(self) -> int | None:
        """The longest context that the model was trained on."""
        return _whole(self.text_config.get("max_position_embeddings"))

    @property
    def token_bytes(self) -> int:
        """Bytes of KV cache a token, 0 where the config does not say."""
        config = self.text_config
        heads = _whole(config.get("num_attention_heads")) or 0
        hidden = _whole(config.get("hidden_size")) or 0
        layers = _whole(config.get("num_hidden_layers")) or 0
        head_size = _whole(config.get("head_dim")) or (hidden // heads if heads else 0)
        kv_heads = _whole(config.get("num_key_value_heads")) or heads
        dtype = config.get("torch_dtype") or config.get("dtype") or self.config.get("torch_dtype")
        return 2 * layers * kv_heads * head_size * _VALUE_BYTES.get(str(dtype), 2)

    def context_for(self, wanted: int | None) -> int:
        """Tokens of context to load with; HostError `invalid_request` if more is wanted than there is."""
        trained = self.trained_context
        if wanted is None:
            return min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
        if trained is not None and wanted > trained:
            raise HostError(
                ErrorCode.INVALID_REQUEST,
                f"The model was trained on contexts of up to {trained} tokens; {wanted} is more than it can use.",
                fields=[f"options.context_length: must be <= {trained}"],
                trained_context=trained,
            )
        return wanted

    def needed_bytes(self, context: int) -> int:
        """Memory that the model takes with a context."""
        return self.weights_bytes + context * self.token_bytes + WORKING_BYTES


def read_checkpoint(folder: Path) -> Checkpoint:
    """Look through a folder; HostError `model_invalid` for one that is broken, or that brings code to run."""
    file = folder / "config.json"
    config = read_json(file)
    if config.get("model_file"):
        refuse(file, "names a Python file that would run (model_file); the host runs no code of a model", damaged=False)
    if not isinstance(config.get("model_type"), str):
        refuse(file, "does not say what kind of model it is (model_type)")
    for name in _TOKENIZER_FILES:
        _refuse_code(folder / name)
    tokens = _eos_tokens(folder, config)
    read_json(folder / "tokenizer.json")
    files = weight_files(folder)
    if not files:
        refuse(folder / "model.safetensors", "is missing (it holds weights)")
    _require_vision(folder, config, tensor_names(files))
    return Checkpoint(folder, config, tuple(files), tokens)


def _refuse_code(file: Path) -> None:
    if file.is_file() and any(read_json(file).get(key) for key in _CODE_KEYS):
        refuse(file, "wants to run Python of its own (auto_map); the host runs no code of a model", damaged=False)


def _require_vision(folder: Path, config: dict[str, Any], names: set[str]) -> None:
    """Refuse a folder that is to take pictures, by its configs, and has no weights for it."""
    takes_pictures = bool(config.get("vision_config")) and (folder / "preprocessor_config.json").is_file()
    if takes_pictures and not any(word in name for name in names for word in _VISION_WORDS):
        refuse(folder / "config.json", "describes a model that sees pictures, and the weights of that part are missing")


def _eos_tokens(folder: Path, config: dict[str, Any]) -> frozenset[int]:
    """The end tokens that the configs name; the tokenizer's own comes from the engine."""
    text = config.get("text_config")
    sources: list[tuple[Path, dict[str, Any]]] = [(folder / "config.json", config)]
    if isinstance(text, dict):
        sources.append((folder / "config.json", text))
    if (folder / "generation_config.json").is_file():
        sources.append((folder / "generation_config.json", read_json(folder / "generation_config.json")))
    vocab_size = _whole((text if isinstance(text, dict) else config).get("vocab_size"))
    found: set[int] = set()
    for file, source in sources:
        value = source.get("eos_token_id")
        tokens = [
            token for one in (value if isinstance(value, list) else [value]) if (token := _whole(one)) is not None
        ]
        require_tokens(file, tokens, vocab_size)
        found.update(tokens)
    return frozenset(found)


def _whole(value: Any) -> int | None:
    """A JSON number that is a whole one and not negative, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
