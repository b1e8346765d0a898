"""What a decoder's attention masks, scales and rotates by, asked of the graph itself: `Questions`.

Above it: `fused_graph`. Below it: `PartialRun`, which runs the part of the graph that knows.
"""

import math
from collections.abc import Sequence

import numpy as np
from onnx import ModelProto

from backends.onnx.transformersjs.attention_pattern import GraphIndex, Layer, NotFusableError
from backends.onnx.transformersjs.partial_run import Array, PartialRun

_PIECE = 1024
_MASKED = -1e4


class Questions:
    """Questions to a graph about a context of so many tokens. All raise NotFusableError and EngineError."""

    def __init__(self, model: ModelProto, index: GraphIndex, layers: Sequence[Layer], heads: int, context: int) -> None:
        self._model = model
        self._index = index
        self._layers = layers
        self._context = context
        self._width = layers[0].key.shape[3]
        self._cuts = _cuts(index, layers, heads)

    def scales(self) -> list[float]:
        """What each layer multiplies its scores by; NotFusableError unless each masks causally, and nothing else."""
        scalars = [layer.attention.scalars for layer in self._layers]
        biases = [layer.attention.bias for layer in self._layers]
        part = self._part(biases + [name for layer in scalars for name, _ in layer])
        try:
            last, several = part.run(self._context - 1, 1), part.run(3, 6)
        finally:
            part.close()
        if not all(_is_causal(last[bias], several[bias]) for bias in biases):
            raise NotFusableError("the mask is not a causal one")
        if any(last[name].size != 1 for layer in scalars for name, _ in layer):
            raise NotFusableError("the scores are scaled by more than a number")
        return [math.prod(float(last[name].item()) ** power for name, power in layer) for layer in scalars]

    def angles(self) -> dict[str, Array]:
        """The cosines and sines, `(context, width / 2)`, by their names in the graph.

        Left out are those that GroupQueryAttention could not use: of a part of a head, or of more than a position.
        """
        names = [name for layer in self._layers if layer.rotary for name in (layer.rotary.cos, layer.rotary.sin)]
        if not names:
            return {}
        part = self._part(names)
        try:
            whole, samples = self._pieces(part), self._samples(part)
        finally:
            part.close()
        tables = {name: _table([piece[name] for piece in whole], self._width) for name in part.wanted}
        return {
            name: table
            for name, table in tables.items()
            if len(table) == self._context
            and all(np.array_equal(_table([angles[name]], self._width), table[places]) for places, angles in samples)
        }

    def _pieces(self, part: PartialRun) -> list[dict[str, Array]]:
        starts = range(0, self._context, _PIECE)
        return [part.run(start, min(_PIECE, self._context - start)) for start in starts]

    def _samples(self, part: PartialRun) -> list[tuple[list[int], dict[str, Array]]]:
        """A few positions in other company: with angles that depend on the text's length they differ."""
        last = self._context - 1
        ranges = [range(past, past + new) for past, new in ((1, 1), (2, 3), (last, 1)) if past + new <= self._context]
        found = [(list(places), part.run(places.start, len(places))) for places in ranges]
        return [*found, ([0, last], part.run(0, 2, [0, last]))] if part.takes_positions else found

    def _part(self, names: Sequence[str]) -> PartialRun:
        return PartialRun(self._model, self._index, self._cuts, names)


def _cuts(index: GraphIndex, layers: Sequence[Layer], heads: int) -> dict[str, tuple[int | str, ...]]:
    """The values of which a mask or a scale needs the shape alone: caches, queries, keys, values, embeddings."""
    cuts: dict[str, tuple[int | str, ...]] = {}
    for layer in layers:
        _, kv_heads, _, width = layer.key.shape
        for cache in (layer.key, layer.value):
            cuts[cache.past] = (1, kv_heads, "past", width)
            cuts[cache.present] = (1, kv_heads, "all", width)
        cuts[layer.attention.query] = (1, heads, "new", width)
        cuts[layer.attention.key] = cuts[layer.attention.value] = (1, kv_heads, "new", width)
    for node in index.readers.get("input_ids", []):
        if node.op_type.startswith("Gather"):
            cuts[node.output[0]] = (1, "new", heads * layers[0].key.shape[3])
    return cuts


def _is_causal(last: Array, several: Array) -> bool:
    """True for masks under which the last token sees the whole text, and each of 6 behind 3 what is before it."""
    causal = np.tril(np.ones((6, 9), dtype=bool), 3)
    if several.ndim != 4 or several.shape[2:] != causal.shape or np.any(last):
        return False
    return bool(np.all((several == 0) == causal) and np.all((several <= _MASKED) == ~causal))


def _table(pieces: Sequence[Array], width: int) -> Array:
    """`(1, 1, length, width)` or so as `(length, width / 2)`; empty unless both halves of a whole head are alike."""
    if any(piece.shape[-1:] != (width,) for piece in pieces):
        return np.empty((0, 0))
    rows, half = np.concatenate([piece.reshape(-1, width) for piece in pieces]), width // 2
    return rows[:, :half] if np.array_equal(rows[:, :half], rows[:, half:]) else np.empty((0, 0))
