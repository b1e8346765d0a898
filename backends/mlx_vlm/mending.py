"""How an object of mlx-vlm's is mended: it becomes one of a class in front of its own.

Above it: `mended_networks` and `mended_processors`.
"""

from typing import Any


def become(thing: Any, mended: type) -> None:
    """Put a class in front of an object's own, whose name and module stay: mlx-vlm and Transformers look at them."""
    kind = type(thing)
    thing.__class__ = type(kind.__name__, (mended, kind), {"__module__": kind.__module__})
