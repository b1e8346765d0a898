"""The KV cache that outlives a turn: whose tokens and pictures are in it, and how much of it a prompt can go on from.

mlx-vlm's own `PromptCacheState` goes wrong after a generation that was cut short and after another picture under equal
tokens (0.7.10). Here a cache is kept only with the tokens that are known to be in it and with its pictures' digests.
Above it: `engine`.
"""

from collections.abc import Callable, Sequence
from typing import Any

Entries = list[Any]
"""mlx-vlm's cache: an object for each layer."""


class KvCache:
    """At most one conversation's keys and values."""

    def __init__(self, make: Callable[[], Entries]) -> None:
        self._make = make
        self._entries: Entries | None = None
        self._tokens: list[int] = []
        self._digests: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Tokens in the cache."""
        return len(self._tokens)

    def take(self, tokens: Sequence[int], digests: tuple[str, ...], media: frozenset[int]) -> tuple[Entries, int]:
        """The cache to read a prompt into, and how many of the prompt's tokens are in it already.

        It is the caller's until he gives it back with `keep`: what happens to it meanwhile, nobody has to undo.
        At least the last token is always left to be read. `media` are the tokens that stand for pictures; a prompt
        with pictures for a model that does not name them is read from the beginning.
        """
        entries, cached = self._entries, self._common(tokens, digests, media)
        surplus = len(self._tokens) - cached
        self.clear()
        if entries is None or not cached or not _trimmed(entries, surplus):
            return self._make(), 0
        return entries, cached

    def keep(self, entries: Entries, tokens: list[int], digests: tuple[str, ...]) -> None:
        """Keep a cache that holds exactly these tokens; one that holds another number of them is dropped."""
        if tokens and _lengths(entries) <= {len(tokens)}:
            self._entries, self._tokens, self._digests = entries, tokens, digests

    def clear(self) -> None:
        """Throw everything away."""
        self._entries, self._tokens, self._digests = None, [], ()

    def _common(self, tokens: Sequence[int], digests: tuple[str, ...], media: frozenset[int]) -> int:
        """Tokens that are the same and stand for the same: not more than those before the first picture if one differs.

        Where all pictures of one of the two conversations are the other's first ones, equal tokens are equal pictures.
        """
        if digests and not media:
            return 0
        same_pictures = all(mine == theirs for mine, theirs in zip(self._digests, digests, strict=False))
        common = 0
        for cached, wanted in zip(self._tokens, tokens[:-1], strict=False):
            if cached != wanted or (wanted in media and not same_pictures):
                break
            common += 1
        return common


def _lengths(entries: Entries) -> set[int]:
    """How many tokens the layers say they have seen; layers with a state of fixed size do not say."""
    return {entry.offset for entry in entries if isinstance(getattr(entry, "offset", None), int)}


def _trimmed(entries: Entries, surplus: int) -> bool:
    """Drop the last tokens from every layer; False, with nothing done, if a layer cannot do it."""
    if surplus == 0:
        return True
    if not all(entry.is_trimmable() and _holds_all(entry) for entry in entries):
        return False
    return all(entry.trim(surplus) == surplus for entry in entries)


def _holds_all(entry: Any) -> bool:
    """True if a layer still has its first token: a sliding window that has moved cannot be brought back."""
    inner = getattr(entry, "caches", None)
    if inner is not None:
        return all(_holds_all(part) for part in inner)
    if int(getattr(entry, "start_position", None) or 0) > 0:
        return False
    largest = getattr(entry, "max_size", None)
    return largest is None or int(entry.offset) <= int(largest)
