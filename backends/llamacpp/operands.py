"""Tensors of a model or a projector that are computed with as F32 alone: norms, biases, rotary factors and the like.

Above it: `backend` and `projector`. Below it: `header`. ggml ends the process over others (binary-ops.cpp, `binary_op`,
and assertions in ops.cpp; llama-cpp-python 0.3.36), though some GPUs compute with most of them (ggml-vulkan.cpp,
`supports_op`). Its converters write F32.
"""

import re

from backends.llamacpp.header import GET_ANOTHER, Header, invalid_model

_F32 = 0
_NO_OPERANDS = re.compile(r"d2t|blk\.\d+\.ffn_gate_inp_shexp\.weight")
"""Tensors of one extent that are no operands: numbers to look up, and a matrix of one row (llama-model.cpp)."""

_OPERANDS = re.compile(
    r".*\.bias|.*norm[^.]*\.weight|token_types\.weight"
    r"|blk\.\d+\.(?:ssm_[ad]|(?:ssm_conv1d(?:_[qkv])?|shortconv\.conv|ple_conv1d)\.weight"
    r"|(?:time_mix_first|time_mix_lerp_\w+|channel_mix_lerp_\w+)\.weight)"
)
"""Those that may have several extents (llama-arch.cpp, `LLM_TENSOR_INFOS`, by their operations)."""

_ANYWHERE = re.compile(r"rope_(?:freqs|factors_long|factors_short)\.weight|blk\.\d+\.attn_sinks\.weight")
"""Those that no device computes with as anything else (ggml.c, `ggml_rope_impl`, `ggml_flash_attn_ext_add_sinks`)."""

_LAYER = re.compile(r"blk\.(\d+)\.")

_WITH_SQUARES = frozenset({"gemma3", "idefics3", "janus_pro", "lfm2", "phi4"})
_WITH_PATCHES = frozenset(
    {"cogvlm", "glm4v", "glm5v", "granite4_vision", "internvl", "kimik25", "kimivl", "ling3vl", "llama4"}
    | {"muse-glimmer", "nemotron_v2_vl", "paddleocr", "qwen3vl_merger", "step3vl"}
)
_WITH_SOUNDS = frozenset({"glma", "meralion", "musicflamingo", "qwen2a", "ultravox", "voxtral"})
_ADDED_POSITIONS = _WITH_SQUARES | _WITH_PATCHES | _WITH_SOUNDS
"""Kinds that add the table of positions, or scale it, as it is (clip.cpp's `models/`): looked up, it may be any."""


def require_operands(header: Header, *, on_processor: bool) -> None:
    """Refuse a model with an operand that the device cannot compute with; HostError `model_invalid`."""
    _require(
        header,
        [
            name
            for name, shape in header.tensors.items()
            if _is_used(header, name, shape) and (on_processor or _ANYWHERE.fullmatch(name))
        ],
    )


def require_encoder_operands(header: Header, kinds: dict[str, str]) -> None:
    """Refuse a projector with an operand that a processor cannot compute with; HostError `model_invalid`.

    kinds are those of its encoders, by the first letter of their tensors' names.
    """
    tables = {f"{letter}.position_embd.weight" for letter, kind in kinds.items() if kind in _ADDED_POSITIONS}
    tables.add("v.class_embd")
    operands = [name for name, shape in header.tensors.items() if len(shape) == 1 or name.endswith(".bias")]
    _require(header, [*operands, *(tables & header.tensors.keys())])


def _require(header: Header, names: list[str]) -> None:
    for name in names:
        kind = header.tensor_types[name]
        if kind != _F32:
            reason = f"has {name!r} in ggml's type {kind}, and it is computed with in F32 alone"
            raise invalid_model(header.path, reason, GET_ANOTHER)


def _is_used(header: Header, name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is such an operand, of a layer that runs: those that predict further tokens do not."""
    if not (_OPERANDS.fullmatch(name) or (len(shape) == 1 and not _NO_OPERANDS.fullmatch(name))):
        return False
    layer = _LAYER.match(name)
    return layer is None or int(layer[1]) < _number(header, "block_count") - _number(header, "nextn_predict_layers")


def _number(header: Header, name: str) -> int:
    value = header.metadata.get(f"{header.text('general.architecture')}.{name}", 0)
    return value if isinstance(value, int) else 0
