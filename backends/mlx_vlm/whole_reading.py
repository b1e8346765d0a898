"""Makes the reading of a prompt stoppable that a network has to see whole.

MLX would compute all of it in one call. While it is watched, what each part of the tower and each layer's cache returns
is computed at once, and that is where a stop is heard. Above it: `model`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx

from backends.base import CancelToken
from backends.mlx_vlm.kv_cache import Entries
from backends.mlx_vlm.tower import WatchedTower


class Stopped(Exception):
    """The generation was cancelled while its prompt was read."""


@contextmanager
def stoppable(entries: Entries, tower: WatchedTower, every: int, cancel: CancelToken) -> Iterator[None]:
    """While it lasts, the network raises Stopped soon after a cancel.

    every is how many parts of the tower are computed at a time.
    """
    seen = 0

    def look(made: Any) -> None:
        mx.eval(made)
        if cancel.cancelled:
            raise Stopped

    def count(made: mx.array) -> None:
        nonlocal seen
        seen += 1
        if seen % every == 0:
            look(made)

    kinds = [type(entry) for entry in entries]
    watched = {kind: _watched(kind, look) for kind in kinds if hasattr(kind, "update_and_fetch")}
    try:
        for entry, kind in zip(entries, kinds, strict=True):
            entry.__class__ = watched.get(kind, kind)
        with tower.watched(count):
            yield
    finally:
        for entry, kind in zip(entries, kinds, strict=True):
            entry.__class__ = kind


def _watched(kind: Any, look: Callable[[Any], None]) -> type:
    """The same class of a layer's cache, but `look` is handed what it returns."""

    def update_and_fetch(entry: Any, *arguments: Any, **options: Any) -> Any:
        made = kind.update_and_fetch(entry, *arguments, **options)
        look(made)
        return made

    return type(kind.__name__, (kind,), {"update_and_fetch": update_and_fetch, "__module__": kind.__module__})
