"""Norms and biases of a GGUF, which a processor multiplies by and adds as F32 alone.

Above it: `backend`. Below it: `header`. ggml ends the process over others (ggml-cpu/binary-ops.cpp, `binary_op`;
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


def require_operands(header: Header) -> None:
    """Refuse a norm or a bias that a processor cannot compute with; HostError `model_invalid`."""
    for name, kind in header.tensor_types.items():
        if kind != _F32 and _is_used(header, name):
            reason = f"has a norm or bias that is not F32, with which a processor cannot compute ({kind}): {name!r}"
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
