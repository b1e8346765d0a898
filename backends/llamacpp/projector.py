"""The projector of a model: the file that turns pictures and sounds into embeddings ("mmproj"), found and checked.

Above it: `describe` and `backend`. Only headers are read here; the engine gets a file that fits, or none.

Source: llama.cpp's `tools/mtmd/clip.cpp`, its keys and what it computes from them.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from operator import eq
from pathlib import Path

from backends.formats import is_gguf_projector
from backends.llamacpp.header import (
    BOOL,
    FLOAT32,
    STRING,
    UINT32,
    Header,
    invalid_model,
    read_header,
    require_epsilons,
)
from backends.llamacpp.operands import require_encoder_operands
from backends.llamacpp.projector_shapes import require_matching_shapes
from messages.errors import ErrorCode, HostError

ARCHITECTURE = "clip"

_ENCODERS = ("vision", "audio")
_SIZES = ("embedding_length", "feed_forward_length", "block_count", "projection_dim", "attention.head_count")
_OWN_SIZES = {"vision": ("image_size", "patch_size", "spatial_merge_size"), "audio": ("num_mel_bins",)}
"""Sizes that only one of the encoders has."""

_KINDS: dict[str, int] = {
    **{f"clip.has_{encoder}_encoder": BOOL for encoder in _ENCODERS},
    **dict.fromkeys(("general.name", "general.description", "clip.projector_type"), STRING),
}
_ENCODER_KINDS: dict[str, dict[str, int]] = {
    encoder: {
        f"clip.{encoder}.projector_type": STRING,
        f"clip.{encoder}.attention.layer_norm_epsilon": FLOAT32,
        **{f"clip.{encoder}.{size}": UINT32 for size in (*_SIZES, *_OWN_SIZES[encoder])},
    }
    for encoder in _ENCODERS
}
"""Types of the values that clip.cpp reads of every projector, and of its encoders: another type ends its process."""

_MOST_LAYERS = 1000
_SMART_KINDS = {"qwen2vl_merger": 2, "qwen2.5vl_merger": 2, "qwen3vl_merger": 2}
"""Projectors that take any multiple of their patches, and how many patches a side they merge unless they say."""

_TEXT_ARCHITECTURES = {
    "qwen2vl_merger": {"qwen2vl"},
    "qwen2.5vl_merger": {"qwen2vl"},
    "qwen3vl_merger": {"qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe"},
    "gemma3": {"gemma3"},
}
"""Language models of projectors that no other model understands, though its width be the same."""

_OLD_KINDS = {"", "mlp", "ldp", "ldpv2", "resampler", "adapter"}
"""Projectors whose projection_dim is not always the language model's width."""

_LEAST_TOKENS, _MOST_TOKENS = 8, 4096
"""Bounds of clip.cpp for a picture of the smart kinds, in tokens."""

_CONTEXT_SHARE = 4
"""A picture takes at most this part of the context, so that one photograph does not fill all of it."""


@dataclass(frozen=True, slots=True)
class Smart:
    """The rule of the smart kinds: sides are multiples of `factor` pixels, a picture has so many pixels at most."""

    factor: int
    most_pixels: int

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest area of a picture, in pixels."""
        return _LEAST_TOKENS * self.factor**2, self.most_pixels


@dataclass(frozen=True, slots=True)
class Projector:
    """A projector whose header is in order. vision and audio say what it has an encoder for."""

    header: Header
    vision: bool
    audio: bool

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.header.path

    @property
    def layers(self) -> int:
        """Layers of its encoder for pictures, or else of that for sounds."""
        return _number(self.header, f"clip.{'vision' if self.vision else 'audio'}.block_count")

    def smart(self, context: int) -> Smart | None:
        """The rule that pictures are scaled by in a context of so many tokens; None where clip scales by its own.

        A file may tell the greatest area that its model was trained on, which clip.cpp does not read for these kinds.
        """
        kind = _kind(self.header, "vision")
        if kind not in _SMART_KINDS:
            return None
        merge = _number(self.header, "clip.vision.spatial_merge_size") or _SMART_KINDS[kind]
        factor = _number(self.header, "clip.vision.patch_size") * merge
        most = min(_MOST_TOKENS, max(_LEAST_TOKENS, context // _CONTEXT_SHARE)) * factor**2
        told = _number(self.header, "clip.vision.image_max_pixels") or most
        return Smart(factor, min(most, max(told, _LEAST_TOKENS * factor**2)))

    def needed_bytes(self, context: int) -> int:
        """The memory that it takes: its weights, and the activations of one picture's encoder.

        The inner width is that of the weights: headers of Qwen2-VL tell the language model's width in its place, and
        the engine does not use what they tell.
        """
        width = _number(self.header, "clip.vision.embedding_length")
        inner = max(self.header.tensors.get("v.blk.0.ffn_up.weight", ()), default=4 * width)
        smart, patch = self.smart(context), _number(self.header, "clip.vision.patch_size")
        side = _number(self.header, "clip.vision.image_size") // (patch or 1)
        patches = smart.most_pixels // patch**2 if smart else side**2
        return self.header.tensor_bytes + 4 * patches * (8 * width + 2 * inner + 3 * patch**2)


def choose_projector(
    path: str | None, model: Header, *, on_processor: bool = False
) -> tuple[Projector | None, tuple[str, ...]]:
    """The projector that was asked for, or else one beside the model; and notes on what does not fit there.

    on_processor refuses those that run on GPUs alone.
    """
    return (read_projector(path, model, on_processor), ()) if path else find_projector(model, on_processor)


def read_projector(path: str, model: Header, on_processor: bool = False) -> Projector:
    """Check the projector that was asked for against its model.

    Raises HostError `invalid_request` for a path that is not absolute, `model_not_found` if it cannot be read,
    `model_invalid` if it is corrupt, no projector, or that of another model.
    """
    projector_path = Path(path).expanduser()
    if not projector_path.is_absolute():
        text = f"The path of a projector must be absolute; {path!r} is not."
        raise HostError(ErrorCode.INVALID_REQUEST, text, fields=["options.projector_path: must be an absolute path"])
    return _checked(read_header(projector_path), model, on_processor)


def find_projector(model: Header, on_processor: bool = False) -> tuple[Projector | None, tuple[str, ...]]:
    """The projector that lies beside a model and fits it, or None; and notes on those that do not fit.

    Of several, the one whose name has most in common with the model's beginning, then the one with most bytes.
    """
    fitting: list[Projector] = []
    notes: list[str] = []
    for path in _projectors_beside(model.path):
        try:
            fitting.append(_checked(read_header(path), model, on_processor))
        except HostError as error:
            notes.append(f"The projector beside the model is not used: {error.message}")
    if not fitting:
        return None, tuple(notes)
    stem = model.path.stem.lower()
    return max(fitting, key=lambda found: (_likeness(stem, found.path.stem), found.header.file_bytes)), ()


def _projectors_beside(model: Path) -> Iterator[Path]:
    with os.scandir(model.parent) as entries:
        others = sorted(entry.path for entry in entries if entry.name != model.name)
    for path in others:
        with contextlib.suppress(OSError):
            found = os.stat(path)
            if _is_projector(path, found.st_mtime_ns, found.st_size):
                yield Path(path)


@lru_cache(maxsize=8192)
def _is_projector(path: str, modified_ns: int, size: int) -> bool:
    """Whether a file as it is now is a projector; `list_models` asks for each file beside each model."""
    return is_gguf_projector(Path(path))


def _likeness(stem: str, name: str) -> int:
    """How many characters of the model's name the projector's has, from the beginning, "mmproj" aside."""
    bare = name.lower().replace("mmproj", "").strip("-_.")
    return sum(1 for _ in takewhile(bool, map(eq, stem, bare)))


def _checked(header: Header, model: Header, on_processor: bool) -> Projector:
    if header.text("general.architecture") != ARCHITECTURE:
        raise invalid_model(header.path, "is not a projector for pictures or sounds")
    _require_kinds(header)
    require_epsilons(header)
    projector = Projector(header, _has(header, "vision"), _has(header, "audio"))
    if not projector.vision and not projector.audio:
        raise invalid_model(header.path, "has no encoder for pictures and none for sounds")
    for kind in _ENCODERS:
        if _has(header, kind):
            _require_fit(header, model, kind)
    if projector.vision:
        _require_sizes(header)
        _require_weights(header)
        _require_shapes(header)
    for encoder in _ENCODERS:
        if _has(header, encoder):
            require_matching_shapes(header, encoder, _kind(header, encoder))
    if on_processor:
        require_encoder_operands(header, {encoder[0]: _kind(header, encoder) for encoder in _ENCODERS})
    return projector


def _require_kinds(header: Header) -> None:
    """Only what the engine reads: `_has` is right once the first of these are."""
    _require_kinds_of(header, _KINDS)
    for encoder in _ENCODERS:
        if _has(header, encoder):
            _require_kinds_of(header, _ENCODER_KINDS[encoder])


def _require_kinds_of(header: Header, kinds: Mapping[str, int]) -> None:
    for key, kind in kinds.items():
        if header.kinds.get(key, kind) != kind:
            raise invalid_model(header.path, f"has a {key} of a wrong type in its header")


def _require_fit(header: Header, model: Header, kind: str) -> None:
    architecture, width = model.text("general.architecture"), _width(model)
    projector, projected = _kind(header, kind), _number(header, f"clip.{kind}.projection_dim")
    if projector not in _OLD_KINDS and projected != width:
        reason = (
            f"is the projector of another model: it makes embeddings of {projected} values, and this one has {width}"
        )
        raise invalid_model(header.path, reason)
    if architecture not in _TEXT_ARCHITECTURES.get(projector, {architecture}):
        raise invalid_model(header.path, f"is a {projector} projector, which {architecture} models do not understand")


def _require_sizes(header: Header) -> None:
    """Sizes that the engine divides by."""
    for name in ("patch_size", "embedding_length", "attention.head_count"):
        if not 0 < _number(header, f"clip.vision.{name}") <= 1 << 20:
            raise invalid_model(header.path, f"has no usable {name} in its header")


def _require_weights(header: Header) -> None:
    """Weights of the smart kinds that the engine takes for granted: without them it crashes at the first picture."""
    if _kind(header, "vision") not in _SMART_KINDS:
        return
    names = {"v.patch_embd.weight", "v.patch_embd.weight.1", "mm.0.weight", "mm.0.bias", "mm.2.weight", "mm.2.bias"}
    for layer in range(min(_number(header, "clip.vision.block_count"), _MOST_LAYERS)):
        together = f"v.blk.{layer}.attn_qkv.weight" in header.tensors
        parts = ("attn_qkv",) if together else ("attn_q", "attn_k", "attn_v")
        names |= {f"v.blk.{layer}.{part}.{kind}" for part in parts for kind in ("weight", "bias")}
        names |= {f"v.blk.{layer}.{part}.weight" for part in ("attn_out", "ln1", "ln2", "ffn_up", "ffn_down")}
    missing = sorted(names - header.tensors.keys())
    if missing:
        raise invalid_model(header.path, f"lacks {len(missing)} of its weights, the first is {missing[0]}")


def _require_shapes(header: Header) -> None:
    """Sizes that the smart kinds' weights have too: the engine crashes at the first picture if the header's differ."""
    if _kind(header, "vision") not in _SMART_KINDS:
        return
    layers, patch, width, heads = (
        _number(header, f"clip.vision.{name}")
        for name in ("block_count", "patch_size", "embedding_length", "attention.head_count")
    )
    merge = _number(header, "clip.vision.spatial_merge_size") or _SMART_KINDS[_kind(header, "vision")]
    shapes = header.tensors
    agree = {
        "block_count": layers > 0 and f"v.blk.{layers}.attn_out.weight" not in shapes,
        "patch_size": shapes["v.patch_embd.weight"][:2] == (patch, patch),
        "embedding_length": shapes["v.patch_embd.weight"][3:] == (width,),
        "attention.head_count": width % heads == 0,
        "spatial_merge_size": shapes["mm.0.weight"][:1] == (width * merge**2,),
    }
    wrong = [name for name, agrees in agree.items() if not agrees]
    if wrong:
        raise invalid_model(header.path, f"has weights of other sizes than its header says ({', '.join(wrong)})")


def _width(model: Header) -> int:
    return _number(model, f"{model.text('general.architecture')}.embedding_length")


def _has(header: Header, kind: str) -> bool:
    return header.metadata.get(f"clip.has_{kind}_encoder") is True


def _kind(header: Header, kind: str) -> str:
    return header.text("clip.projector_type") or header.text(f"clip.{kind}.projector_type") or ""


def _number(header: Header, key: str) -> int:
    value = header.metadata.get(key)
    return value if isinstance(value, int) else 0
