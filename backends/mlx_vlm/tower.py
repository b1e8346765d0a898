"""Makes the reading of a picture stoppable: MLX computes a whole vision tower in one call, which nobody can interrupt.

So the tower's smallest modules compute what they return at once, one after another, and look for a cancel between.
Above it: `model`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module

from backends.base import CancelToken


class Stopped(Exception):
    """The cancel came while a picture was read."""


class StoppableTower:
    """Everything of a network but its language model. `every` is how many modules run between two looks."""

    def __init__(self, network: Any, every: int) -> None:
        self._every = every
        self._calls = 0
        self._cancel: CancelToken | None = None
        classes: dict[type, type] = {}
        for name, part in network.children().items():
            if name != "language_model":
                for module in _leaves(part):
                    kind = type(module)
                    if kind not in classes:
                        classes[kind] = self._watched(kind)
                    module.__class__ = classes[kind]

    @contextmanager
    def watching(self, cancel: CancelToken) -> Iterator[None]:
        """Look for this cancel meanwhile; otherwise everything is as mlx-vlm made it. Raises Stopped."""
        self._cancel = cancel
        try:
            yield
        finally:
            self._cancel = None

    def _watched(self, kind: type) -> type:
        """The same class, but its instances report what they return."""

        def call(module: Any, *arguments: Any, **options: Any) -> Any:
            made = kind.__call__(module, *arguments, **options)
            self._look(made)
            return made

        return type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})

    def _look(self, made: Any) -> None:
        """Compute what a module returned, if it is its turn. Raises Stopped."""
        if self._cancel is None:
            return
        self._calls += 1
        if self._calls % self._every == 0 and isinstance(made, mx.array):
            mx.eval(made)
        if self._cancel.cancelled:
            raise Stopped


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
