"""The pictures of a prompt that are not in the KV cache yet, told apart from those that are, to be looked at alone.

Qwen's networks take the patches of all pictures in one array, and a grid of patches for each. Above it: `model`.
"""

from typing import Any

import mlx.core as mx

from backends.mlx_vlm.prompt import EncodedPrompt

_APART = frozenset({"qwen2_vl", "qwen2_5_vl", "qwen3_vl"})
"""Kinds (mlx-vlm 0.7.10) whose network makes of a picture the same whatever pictures stand before it."""


def arrays_behind(kind: str, prompt: EncodedPrompt, held: int, media: frozenset[int]) -> dict[str, Any] | None:
    """The arrays of the pictures behind a prompt's first `held` tokens; None where they cannot be told apart.

    kind is mlx-vlm's name of the network's kind, media are the tokens that stand for pictures.
    """
    grids, patches = prompt.inputs.get("image_grid_thw"), prompt.inputs.get("pixel_values")
    if kind not in _APART or grids is None or patches is None:
        return None
    sizes = [int(frames * height * width) for frames, height, width in grids.tolist()]
    places = [token in media for token in prompt.tokens]
    reached = sum(places[:held]) * (sum(sizes) // sum(places))
    before = [sum(sizes[:index]) for index in range(len(sizes))]
    if sum(sizes) % sum(places) or reached not in before:
        return None
    return {"image_grid_thw": grids[before.index(reached) :], "pixel_values": patches[reached:]}


def padded(mask: mx.array, held: int) -> mx.array:
    """A mask `(1, n)` of the tokens behind the first `held`, as one of the whole prompt."""
    return mx.concatenate([mx.zeros((1, held), dtype=mask.dtype), mask], axis=1)
