"""The sizes of GGML's tensor types, so that a file's header can be held against the file's length."""

import re

BLOCKS: dict[int, tuple[int, int]] = {
    0: (1, 4),  # F32
    1: (1, 2),  # F16
    2: (32, 18),  # Q4_0
    3: (32, 20),  # Q4_1
    6: (32, 22),  # Q5_0
    7: (32, 24),  # Q5_1
    8: (32, 34),  # Q8_0
    9: (32, 36),  # Q8_1
    10: (256, 84),  # Q2_K
    11: (256, 110),  # Q3_K
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    15: (256, 292),  # Q8_K
    16: (256, 66),  # IQ2_XXS
    17: (256, 74),  # IQ2_XS
    18: (256, 98),  # IQ3_XXS
    19: (256, 50),  # IQ1_S
    20: (32, 18),  # IQ4_NL
    21: (256, 110),  # IQ3_S
    22: (256, 82),  # IQ2_S
    23: (256, 136),  # IQ4_XS
    24: (1, 1),  # I8
    25: (1, 2),  # I16
    26: (1, 4),  # I32
    27: (1, 8),  # I64
    28: (1, 8),  # F64
    29: (256, 56),  # IQ1_M
    30: (1, 2),  # BF16
    34: (256, 54),  # TQ1_0
    35: (256, 66),  # TQ2_0
    39: (32, 17),  # MXFP4
    40: (64, 36),  # NVFP4
    41: (128, 18),  # Q1_0
    42: (64, 18),  # Q2_0
}
"""Values and bytes of one block of each type, by the type's number (ggml.h, `ggml_type`; ggml.c, `type_traits`)."""

_NO_WEIGHTS = frozenset({9, 15, 24, 25, 28})
"""Q8_1, Q8_K, I8, I16, F64: types of what is computed in between, or of nothing. The engine ends its process over
weights of such a type (ggml-cpu.c, `type_traits_cpu`)."""

_NUMBERS = frozenset({26, 27})
"""I32, I64: types of tables of numbers, which are copied or looked up and never computed with."""

_TABLES = re.compile(r"d2t|blk\.\d+\.ffn_gate_tid2eid\.weight")
"""The tensors that are such tables: tokens of a draft's vocabulary (EAGLE 3, DFlash), experts by token (DeepSeek 4).
No other model's converter writes one (llama-cpp-python 0.3.36, `conversion/`)."""


def holds_weights(kind: int, name: str) -> bool:
    """Whether a tensor of this name can be of this type: the engine ends its process over weights of some."""
    return kind not in _NO_WEIGHTS and (kind not in _NUMBERS or _TABLES.fullmatch(name) is not None)
