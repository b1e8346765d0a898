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

_SAME_SIZES = (("patch_size", "patch_size"), ("merge_size", "spatial_merge_size"))
"""What both a preprocessor's config and `vision_config` say for Qwen2-VL's kind, by their names for it."""

_BOUNDS = ("min_pixels", "max_pixels")
"""Between what areas such a preprocessor scales pictures."""

_LAYER_COUNTS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer", "depth", "layers")
"""How many layers a part of a model has, by the names of the families that mlx-vlm 0.7.10 knows."""

_CODE_KEYS = ("auto_map",)
_TOKENIZER_FILES = ("tokenizer_config.json",)
_VALUE_BYTES = {"float32": 4, "float64": 8}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that was found whole. sizes are bytes, contexts tokens.

    sees is False where the part for pictures was taken out; scales is False where pictures are taken and no file says
    how they are scaled.
    """

    path: Path
    config: dict[str, Any]
    files: tuple[Path, ...]
    eos_tokens: frozenset[int]
    sees: bool = True
    scales: bool = True

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
    described = bool(config.get("vision_config"))
    names = tensor_names(files)
    _require_possible_layers(file, config, len(names))
    has_weights = any(word in name for name in names for word in _VISION_WORDS)
    scaling = _require_vision(folder, config, has_weights) if described else {}
    sees, scales = has_weights or not described, bool(scaling) or not described
    return Checkpoint(folder, config, tuple(files), tokens, sees, scales)


def _require_possible_layers(file: Path, config: dict[str, Any], tensors: int) -> None:
    """A layer has a tensor at least. mlx-vlm makes every layer that a config names before it looks at the weights."""
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key in _LAYER_COUNTS:
            if (_whole(part.get(key)) or 0) > tensors:
                refuse(file, f"says {key} {part[key]}, and the weights have {tensors} tensors")


def _refuse_code(file: Path) -> None:
    if file.is_file() and any(read_json(file).get(key) for key in _CODE_KEYS):
        refuse(file, "wants to run Python of its own (auto_map); the host runs no code of a model", damaged=False)


def _require_vision(folder: Path, config: dict[str, Any], has_weights: bool) -> dict[str, Any]:
    """What the folder says of the scaling of pictures, empty if nothing; refuse one whose parts do not fit together.

    A folder that says so and has no weights for pictures is not whole; one that says nothing is a text model.
    """
    file, scaling = _scaling(folder)
    if scaling and not has_weights:
        refuse(folder / "config.json", "describes a model that sees pictures, and the weights of that part are missing")
    vision = config["vision_config"]
    if not isinstance(vision, dict):
        refuse(folder / "config.json", "describes no model that sees pictures: its vision_config is no JSON object")
    for name in _BOUNDS:
        pixels = scaling.get(name)
        if isinstance(pixels, int | float) and pixels <= 0:
            refuse(file, f"says {name} {pixels}: no picture can be scaled to that")
    pairs = [(name, scaling.get(name), vision.get(theirs)) for name, theirs in _SAME_SIZES]
    if all(_whole(size) is not None for _, *sizes in pairs for size in sizes):
        for name, ours, theirs in pairs:
            if ours != theirs:
                refuse(file, f"says {name} {ours} and config.json {theirs}: they are of two models")
    return scaling


def _scaling(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file that says how pictures are scaled, and what it says; Transformers 5 writes it into another one."""
    own, shared = folder / "preprocessor_config.json", folder / "processor_config.json"
    if own.is_file():
        return own, read_json(own)
    found = read_json(shared).get("image_processor") if shared.is_file() else None
    return shared, found if isinstance(found, dict) else {}


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
