"""Cuts the reading of a picture into parts: MLX would compute a whole vision tower in one call, silent and unstoppable.

A network's modules only write down what is to be computed. Those of the tower are watched meanwhile, so that what the
smallest of them return can be computed one after another. Above it: `model`.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module

Parts = deque[mx.array]
"""What a tower's modules return, in order, nothing of it computed yet."""


class WatchedTower:
    """Everything of a network but its language model."""

    def __init__(self, network: Any) -> None:
        self._take: Callable[[mx.array], None] | None = None
        classes: dict[type, type] = {}
        for name, part in network.children().items():
            if name != "language_model":
                for module in _leaves(part):
                    kind = type(module)
                    if kind not in classes:
                        classes[kind] = self._watched(kind)
                    module.__class__ = classes[kind]

    @contextmanager
    def recorded(self) -> Iterator[Parts]:
        """What the modules return meanwhile."""
        parts: Parts = deque()
        with self.watched(parts.append):
            yield parts

    @contextmanager
    def watched(self, take: Callable[[mx.array], None]) -> Iterator[None]:
        """While it lasts, `take` is handed what the modules return."""
        self._take = take
        try:
            yield
        finally:
            self._take = None

    def _watched(self, kind: type) -> type:
        """The same class, but its instances tell what they return."""

        def call(module: Any, *arguments: Any, **options: Any) -> Any:
            made = kind.__call__(module, *arguments, **options)
            if self._take is not None and isinstance(made, mx.array):
                self._take(made)
            return made

        return type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})


def computed(parts: Parts, every: int) -> Iterator[float]:
    """Compute the parts, `every` at a time, and tell after each time how much is done, 0 to 1.

    Each is let go once it is computed: only what follows from it still holds it.
    """
    total = len(parts)
    while parts:
        for _ in range(min(every, len(parts))):
            part = parts.popleft()
        mx.eval(part)
        del part
        yield 1 - len(parts) / total


def _leaves(part: Any) -> list[Module]:
    """The modules of a part that have no modules of their own."""
    if isinstance(part, list | tuple):
        return [leaf for one in part for leaf in _leaves(one)]
    if isinstance(part, dict) and not isinstance(part, Module):
        return [leaf for one in part.values() for leaf in _leaves(one)]
    if not isinstance(part, Module):
        return []
    modules: list[Any] = part.modules()  # type: ignore[no-untyped-call]
    return [module for module in modules if not module.children()]
