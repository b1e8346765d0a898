"""What multiplying a batch of tokens with a model's weights takes on an x86 processor, by the weights' types.

Above: `batch_filling` and `attention`. Below: the file's `header`. Measured on an AMD EPYC with one thread, with models
of 30 and 360 million weights and llama.cpp compiled with AVX-512 and with AVX2 alone: how long a token takes depends on
the type, and what a few tokens more take on how the type is multiplied.
"""

import re
from dataclasses import dataclass
from math import prod
from typing import Self

import llama_cpp

from backends.llamacpp.header import Header

_F32, _F16, _Q4_0, _Q5_0, _Q8_0, _Q2_K, _Q3_K, _Q4_K, _Q5_K, _Q6_K = 0, 1, 2, 6, 8, 10, 11, 12, 13, 14
_IQ4_NL, _IQ4_XS, _BF16, _MXFP4 = 20, 23, 30, 39

_REPACKED = frozenset({_Q4_0, _Q4_K, _IQ4_NL, _MXFP4})
_REPACKED_512 = _REPACKED | {_Q2_K}
"""Types of weights that are packed anew when a model is loaded, on processors with AVX2, and with AVX-512
(ggml-cpu/repack.cpp, `ggml_repack_get_optimal_repack_type`)."""

_FLOATS = frozenset({_F32, _F16, _BF16})
_IN_FOURS = _FLOATS | {_Q4_0, _Q5_0, _Q8_0, _IQ4_NL}
"""Types of which four tokens are multiplied at once with AVX-512 (ggml-cpu/llamafile/sgemm.cpp)."""

_QUICK = frozenset({_Q2_K, _Q3_K, _Q4_0, _Q4_K, _Q5_K, _Q6_K, _IQ4_NL, _IQ4_XS, _MXFP4})
_QUICK_COST = 0.5
"""Types of which a weight takes half as long as one of the others, such as Q8_0's."""

_CACHED_BYTES = 64 << 20
"""Weights that a processor's cache may hold from one block of tokens to the next; more are read from memory again."""

_REST_OF_FOUR, _REREAD_REST = (0, 2, 3, 4), (0, 4, 4.3, 5.3)
"""What one to three tokens more than a multiple of four take, in tokens of four: as such, and if that reads the weights
from memory once more."""

_PACKED_FOUR, _PACKED_ONE, _PACKED_ONE_512 = 4.9, 1.65, 2.7
"""What four more than a multiple of 16 take of repacked weights, and one more than a multiple of four without and with
AVX-512, in tokens of sixteen."""

_MULTIPLIED = re.compile(r"blk\.\d+\..*\.weight")
_EXPERTS = 3
"""Extents of a tensor that has several experts' weights: each token is multiplied with those of few, by itself."""


@dataclass(frozen=True, slots=True)
class Products:
    """A model's weights that each token is multiplied with, in weights of a type such as Q8_0 that take as long.

    Those packed anew, those multiplied in fours, those of them that a rest reads once more, and others. left_over is
    what a token takes that is left over of those packed anew, in tokens of a whole block.
    """

    packed: float = 0
    in_fours: float = 0
    reread: float = 0
    others: float = 0
    left_over: float = _PACKED_ONE_512

    @classmethod
    def of(cls, header: Header, *, repacks: bool) -> Self:
        """Those of a file; `repacks` if llama.cpp may pack weights anew."""
        features = llama_cpp.llama_print_system_info()
        wide = b"AVX512 = 1" in features
        packed = (_REPACKED_512 if wide else _REPACKED) if repacks and b"AVX2 = 1" in features else frozenset()
        sums = {"packed": 0.0, "in_fours": 0.0, "reread": 0.0, "others": 0.0}
        for name, shape in header.tensors.items():
            if len(shape) > 1 and _MULTIPLIED.fullmatch(name):
                kind = header.tensor_types[name]
                weights = prod(shape) * (_QUICK_COST if kind in _QUICK else 1)
                if len(shape) == _EXPERTS:
                    sums["others"] += weights * _share_of_experts(header)
                elif kind in packed:
                    sums["packed"] += weights
                elif not wide or kind not in _IN_FOURS:
                    sums["others"] += weights
                else:
                    is_cached = kind in _FLOATS or header.tensor_bytes <= _CACHED_BYTES
                    sums["in_fours" if is_cached else "reread"] += weights
        return cls(**sums, left_over=_PACKED_ONE_512 if wide else _PACKED_ONE)

    @property
    def weights(self) -> float:
        """All that a token is multiplied with, in weights of a type such as Q8_0."""
        return self.packed + self.in_fours + self.reread + self.others

    def cost(self, tokens: int) -> float:
        """What a batch of so many tokens takes, in weights that one token is multiplied with."""
        rest = tokens % 4
        fours = tokens - rest
        packed = tokens - tokens % 16 + _PACKED_FOUR * (tokens % 16 // 4) + self.left_over * rest
        in_fours = self.in_fours * (fours + _REST_OF_FOUR[rest]) + self.reread * (fours + _REREAD_REST[rest])
        return self.packed * packed + in_fours + self.others * tokens


def _share_of_experts(header: Header) -> float:
    """How much of all experts' weights a token is multiplied with."""
    kind = header.text("general.architecture")
    used, count = (header.metadata.get(f"{kind}.expert{name}_count", 0) for name in ("_used", ""))
    if not isinstance(used, int) or not isinstance(count, int) or not 0 < used <= count:
        return 1.0
    return used / count
