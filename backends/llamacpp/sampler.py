"""Chooses the next token with llama.cpp's own samplers, in the order of its `common/sampling.cpp`.

Above it: `generation`. With a grammar, a token is chosen as without one and only then held against the grammar; all
others are looked at only if it does not fit, since that takes a hundred times as long.
"""

import ctypes
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from messages.errors import ErrorCode, HostError
from messages.settings import InferenceSettings

PENALTY_TOKENS = 64
"""How many of the latest tokens, the prompt's included, the penalties look at (llama.cpp's default)."""

_MIN_KEEP = 1
_RANDOM_SEED = 0xFFFFFFFF
"""LLAMA_DEFAULT_SEED: the engine takes it for "choose one", so it is never passed on."""

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""`struct llama_token_data` (llama.h)."""

Sample = Callable[[], int]


class LastLogits:
    """The scores of a context's last decode, `(vocabulary_size,) float32`."""

    def __init__(self, context: Any, vocabulary_size: int) -> None:
        self.context = context
        self.vocabulary_size = vocabulary_size
        self._view = np.empty(0, np.float32)
        self._address = 0
        self._get = llama_cpp.llama_get_logits_ith

    def read(self) -> npt.NDArray[np.float32]:
        """The engine's own array, not to be written to; it stays in one place until the engine names another."""
        pointer = self._get(self.context, -1)
        address = ctypes.addressof(pointer.contents)
        if address != self._address:
            self._view = np.ctypeslib.as_array(pointer, (self.vocabulary_size,))
            self._address = address
        return self._view

    def likeliest(self) -> int:
        """The token with the highest score, the first of several.

        The engine's greedy sampler takes several times as long: it copies all scores into a list of candidates before.
        """
        return int(self.read().argmax())


@contextmanager
def sampling(logits: LastLogits, settings: InferenceSettings, prompt: Sequence[int], grammar: Any) -> Iterator[Sample]:
    """A function that returns the next token, from the logits of the last decode.

    Negative numbers in the prompt are pictures, which no penalty looks at. grammar is a grammar sampler or None; it is
    freed at the end, as everything else is.
    """
    if grammar is None and settings.temperature == 0 and not _has_penalties(settings):
        yield logits.likeliest
        return
    chain = _chain(settings, logits.vocabulary_size)
    try:
        if _has_penalties(settings):
            _accept_all(chain, [token for token in prompt if token >= 0][-PENALTY_TOKENS:])
        if grammar is None:
            sample, context = llama_cpp.llama_sampler_sample, logits.context
            yield lambda: sample(chain, context, -1)
        else:
            yield _ConstrainedSampler(logits, chain, grammar).sample
    finally:
        llama_cpp.llama_sampler_free(chain)
        if grammar is not None:
            llama_cpp.llama_sampler_free(grammar)


def _chain(settings: InferenceSettings, vocabulary_size: int) -> Any:
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for sampler in _samplers(settings, vocabulary_size):
        llama_cpp.llama_sampler_chain_add(chain, sampler)
    return chain


def _samplers(settings: InferenceSettings, vocabulary_size: int) -> Iterator[Any]:
    if _has_penalties(settings):
        yield llama_cpp.llama_sampler_init_penalties(
            vocabulary_size,
            PENALTY_TOKENS,
            settings.repeat_penalty,
            settings.frequency_penalty,
            settings.presence_penalty,
        )
    if settings.temperature == 0:
        yield llama_cpp.llama_sampler_init_greedy()
        return
    if settings.top_k > 0:
        yield llama_cpp.llama_sampler_init_top_k(settings.top_k)
    if settings.top_p < 1:
        yield llama_cpp.llama_sampler_init_top_p(settings.top_p, _MIN_KEEP)
    if settings.min_p > 0:
        yield llama_cpp.llama_sampler_init_min_p(settings.min_p, _MIN_KEEP)
    yield llama_cpp.llama_sampler_init_temp(settings.temperature)
    yield llama_cpp.llama_sampler_init_dist(_seed(settings))


def _seed(settings: InferenceSettings) -> int:
    seed = secrets.randbits(32) if settings.seed is None else settings.seed
    return min(seed, _RANDOM_SEED - 1)


def _has_penalties(settings: InferenceSettings) -> bool:
    return (settings.repeat_penalty, settings.frequency_penalty, settings.presence_penalty) != (1, 0, 0)


def _accept_all(sampler: Any, tokens: Iterable[int]) -> None:
    for token in tokens:
        llama_cpp.llama_sampler_accept(sampler, token)


class _ConstrainedSampler:
    """Samples with a chain what a grammar allows."""

    def __init__(self, logits: LastLogits, chain: Any, grammar: Any) -> None:
        self._logits = logits
        self._chain = chain
        self._grammar = grammar
        self._ids = np.arange(logits.vocabulary_size, dtype=np.int32)
        self._candidates = np.zeros(logits.vocabulary_size, _CANDIDATE)
        self._one = np.zeros(1, _CANDIDATE)

    def sample(self) -> int:
        """The next token; HostError `invalid_request` if the grammar allows none that the model has."""
        token = self._apply(self._all_candidates(), self._chain)
        if not self._allows(token):
            candidates = self._all_candidates()
            self._apply(candidates, self._grammar)
            if not np.isfinite(self._candidates["logit"]).any():
                text = "The grammar has come to a point where it allows none of the model's tokens."
                raise HostError(ErrorCode.INVALID_REQUEST, text, fields=["response_format: allows none of the tokens"])
            token = self._apply(candidates, self._chain)
        llama_cpp.llama_sampler_accept(self._grammar, token)
        llama_cpp.llama_sampler_accept(self._chain, token)
        return token

    def _allows(self, token: int) -> bool:
        self._one[0] = (token, 1.0, 0.0)
        self._apply(_array(self._one), self._grammar)
        return bool(np.isfinite(self._one["logit"][0]))

    def _all_candidates(self) -> Any:
        self._candidates["id"] = self._ids
        self._candidates["logit"] = self._logits.read()
        self._candidates["p"] = 0.0
        return _array(self._candidates)

    @staticmethod
    def _apply(candidates: Any, sampler: Any) -> int:
        """Run a sampler over candidates and return the token it selected, or -1 if it selects none."""
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(candidates))
        return int(candidates.data[candidates.selected].id) if candidates.selected >= 0 else -1


def _array(candidates: Any) -> Any:
    data = candidates.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
    return llama_cpp.llama_token_data_array(data, candidates.shape[0], -1, False)
