"""Norms and biases of a model or a projector, which a processor multiplies by and adds as F32 alone.

Above it: `backend` and `projector`. Below it: `header`. ggml ends the process over others (binary-ops.cpp, `binary_op`;
llama-cpp-python 0.3.36); some GPUs compute with them (ggml-vulkan.cpp, `supports_op`). Its converters write F32.
"""

import re

from backends.llamacpp.header import GET_ANOTHER, Header, invalid_model

_F32 = 0
_OPERANDS = re.compile(
    r"(?:output|token_embd|blk\.(?P<layer>\d+)\."
    r"(?:attn|ffn|attn_q|attn_k|attn_output|layer_output|post_attention|post_ffw))_norm\.(?:weight|bias)"
    r"|blk\.(?P<biased>\d+)\.(?:attn_(?:qkv|q|k|v|output)|ffn_(?:up|gate|down))\.bias"
)
"""Those that every model which has them computes with (llama-graph.cpp, `build_norm`, `build_qkv`, `build_ffn`)."""


_ENCODER_OPERANDS = re.compile(
    r"[va]\.blk\.0\.(?:ln[12]\.(?:weight|bias)|(?:attn_(?:qkv|q|k|v|out)|ffn_(?:up|gate|down))\.bias)"
)
"""Those of an encoder's first layer, which always runs (clip.cpp; some projectors do without the last ones)."""


def require_operands(header: Header) -> None:
    """Refuse a model's norm or bias that a processor cannot compute with; HostError `model_invalid`."""
    _require(header, [name for name in header.tensor_types if _is_used(header, name)])


def require_encoder_operands(header: Header) -> None:
    """Refuse a projector's norm or bias that a processor cannot compute with; HostError `model_invalid`."""
    _require(header, [name for name in header.tensor_types if _ENCODER_OPERANDS.fullmatch(name)])


def _require(header: Header, names: list[str]) -> None:
    for name in names:
        kind = header.tensor_types[name]
        if kind != _F32:
            reason = f"has {name!r} in ggml's type {kind}; a processor computes with norms and biases in F32 alone"
            raise invalid_model(header.path, reason, GET_ANOTHER)


def _is_used(header: Header, name: str) -> bool:
    """Whether a tensor is such an operand, of a layer that runs: those that predict further tokens do not."""
    found = _OPERANDS.fullmatch(name)
    if found is None:
        return False
    layer = found["layer"] or found["biased"]
    return layer is None or int(layer) < _number(header, "block_count") - _number(header, "nextn_predict_layers")


def _number(header: Header, name: str) -> int:
    value = header.metadata.get(f"{header.text('general.architecture')}.{name}", 0)
    return value if isinstance(value, int) else 0
