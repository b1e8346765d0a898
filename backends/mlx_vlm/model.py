"""A loaded model: mlx-vlm's network and processor, how a prompt is read into its KV cache, and how it goes on.

Decoding is mlx-vlm's own `generate_step`, the loop inside its `stream_generate`. Reading a prompt is done here, with
the calls that are made there (0.7.10, `generate/ar.py`), because that neither tells how far it is nor can be stopped.
Everything runs in the one engine thread that has loaded the model. Above it: `backend`.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx_vlm import apc, load
from mlx_vlm.generate.ar import generate_step
from mlx_vlm.generate.common import generation_stream, wired_limit
from mlx_vlm.generate.diffusion import is_diffusion_model
from mlx_vlm.models.cache import make_prompt_cache

from backends.base import CancelToken
from backends.damage import WORTHLESS, is_damaged
from backends.mlx_vlm.checkpoint import Checkpoint
from backends.mlx_vlm.devices import MlxDevice
from backends.mlx_vlm.failures import EngineError, engine_errors
from backends.mlx_vlm.foreign_code import forbid_foreign_code
from backends.mlx_vlm.kv_cache import Entries
from backends.mlx_vlm.mended_networks import mend
from backends.mlx_vlm.new_pictures import arrays_behind, padded
from backends.mlx_vlm.prompt import EncodedPrompt
from backends.mlx_vlm.sampler import LogitsProcessor
from backends.mlx_vlm.tower import WatchedTower, computed
from backends.mlx_vlm.whole_reading import Stopped, stoppable

_LOOKING_SHARE = 0.8
"""What part of a picture's reading counts as done once it was looked at and none of its tokens is read."""

_OF_ITS_PLACE = frozenset({"position_ids", "rope_deltas", "visual_pos_masks", "deepstack_visual_embeds"})
"""What networks make of pictures beside vectors, and apply to each token by its place in the whole prompt."""

_PER_LAYER = "per_layer_inputs"
"""What Gemma's smaller networks make of each token for every layer."""

_WHOLE = frozenset({"mllama"})
"""Kinds (mlx-vlm 0.7.10) that say nothing of it and have to see a prompt whole.

A mask of pictures that mllama has made ready for a piece would be made ready again for the next.
"""

_OF_TILES = frozenset({"llava_next", "granite_vision"})
"""Kinds (mlx-vlm 0.7.10) that put whole tiles in the places of a picture's first tokens: more vectors than tokens."""

_NOT_FOR_THE_NETWORK = ("input_ids", "pixel_values", "attention_mask")


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """How to choose tokens, and the most of them."""

    sampler: Callable[[mx.array], mx.array]
    processors: list[LogitsProcessor]
    limit: int


class MlxModel:
    """The network and its processor. `vocab_size` is the logits' own length."""

    def __init__(self, checkpoint: Checkpoint, device: MlxDevice) -> None:
        """Load a checkpoint and run it once. Raises EngineError."""
        forbid_foreign_code()
        with engine_errors():
            self.network, self.processor = load(str(checkpoint.path), trust_remote_code=False)
            if not hasattr(self.network, "language_model"):
                raise EngineError("it is of a kind that writes no text")
            if is_diffusion_model(self.network):
                raise EngineError("it is a diffusion model, which does not write one token after another")
            mend(self.network)
        self.tokenizer = getattr(self.processor, "tokenizer", self.processor)
        self.media_tokens = frozenset(apc.multimodal_token_ids_from_config(self.network.config))
        self.device = device
        with engine_errors():
            self.hides_positions = self._hides_positions()
        """True for a network that holds the positions of what it reads, which pictures shift, and tells none of them.

        Those of a piece or of a rest are then not to be had: it reads a prompt whole, and goes on from no other one.
        """
        self.vocab_size = self._try_out()
        self.tower = WatchedTower(self.network)

    @property
    def config(self) -> Any:
        """mlx-vlm's config of the model."""
        return self.network.config

    @property
    def kind(self) -> str:
        """mlx-vlm's name of the network's kind."""
        return str(getattr(self.config, "model_type", ""))

    def make_cache(self) -> Entries:
        """An empty KV cache."""
        return list(make_prompt_cache(self.network.language_model))

    def wired(self) -> AbstractContextManager[None]:
        """While it lasts, Metal keeps the weights in memory; nothing elsewhere."""
        limit: AbstractContextManager[None] = wired_limit(self.network, [generation_stream])
        return limit

    def length(self, prompt: EncodedPrompt) -> int:
        """Tokens that a prompt takes in the cache. A few networks put many in the place of a picture's only one."""
        pictures = sum(token in self.media_tokens for token in prompt.tokens)
        if not prompt.digests or (pictures != len(prompt.digests) and self.kind not in _OF_TILES):
            return len(prompt.tokens)
        with engine_errors():
            return PromptReading(self, prompt, [], 0).measure()

    def read(self, prompt: EncodedPrompt, entries: Entries, cached: int) -> "PromptReading":
        """A prompt to be read into a cache that has its first `cached` tokens. Raises EngineError."""
        with engine_errors():
            return PromptReading(self, prompt, entries, cached)

    def decode(
        self, reading: "PromptReading", settings: DecodeSettings, cancel: CancelToken
    ) -> Generator[int, None, None]:
        """Tokens after a prompt that was read; the cache has each by the time it is yielded. Raises EngineError.

        There are none if it is cancelled while a prompt is read that has to be seen whole.
        """
        steps = generate_step(
            reading.rest,
            self.network,
            reading.rest_pixels,
            reading.mask,
            prompt_cache=reading.entries,
            max_tokens=settings.limit,
            sampler=settings.sampler,
            logits_processors=settings.processors,
            prefill_step_size=max(self.device.step, reading.rest.shape[1]),
            **reading.carried,
        )
        with engine_errors(), closing(steps), suppress(Stopped):
            if reading.rest.shape[1] > 1:
                with stoppable(reading.entries, self.tower, self.device.look, cancel):
                    first = next(steps)
                yield int(first[0])
            for token, _ in steps:
                yield int(token)

    def _try_out(self) -> int:
        """Run the model over a token, so that parts that do not fit show now; the logits' length."""
        sizes: list[int] = []

        def score(token: int) -> npt.NDArray[np.float32]:
            scores = self._score(token)
            sizes.append(scores.size)
            return scores

        with engine_errors():
            if is_damaged(score, 0):
                raise EngineError(WORTHLESS)
        return sizes[0]

    def _hides_positions(self) -> bool:
        if not (self.media_tokens and _holds_positions(self.network.language_model)):
            return False
        token = mx.array([[0]])
        return self.network.get_input_embeddings(token, None, mask=mx.ones_like(token)).position_ids is None

    def _score(self, number: int) -> npt.NDArray[np.float32]:
        """The scores after one token with nothing before it."""
        token = mx.array([[number]])
        features = self.network.get_input_embeddings(token, None, mask=mx.ones_like(token))
        output = self.network.language_model(token, inputs_embeds=features.inputs_embeds, cache=self.make_cache())
        scores: npt.NDArray[np.float32] = np.array(output.logits.astype(mx.float32))
        return scores.reshape(-1)[-scores.shape[-1] :]


class PromptReading:
    """A prompt on its way into the KV cache: all of it but its last token, with which decoding begins.

    A few networks have to see a prompt whole (paligemma, florence2, glm4v, mllama). With those nothing is read here,
    decoding begins with all of it (`whole_reading` hears a stop), and no other prompt goes on from it, unless it is for
    the pictures alone (gemma4).
    Pictures that are not in the cache yet are looked at alone where a network's kind allows it, else together with
    those that are: what it makes of them stands in the order of the whole prompt.
    """

    def __init__(self, model: "MlxModel", prompt: EncodedPrompt, entries: Entries, cached: int) -> None:
        self._model = model
        self._network = model.network
        self._tower = model.tower
        self._device = model.device
        self._media = {name: value for name, value in prompt.inputs.items() if name not in _NOT_FOR_THE_NETWORK}
        self.tokens = prompt.tokens
        self.entries = entries
        given = prompt.inputs.get("attention_mask")
        self.mask = mx.ones((1, len(self.tokens)), dtype=mx.int32) if given is None else given
        """Which tokens count: all of them, `(1, n_tokens)`."""
        self._pictures = sum(token in model.media_tokens for token in self.tokens[cached:-1])
        self._apart = self._new_arrays(prompt, cached) if cached and self._pictures else None
        whole = not cached or (self._pictures > 0 and self._apart is None)
        self._held = cached if whole else 0
        self.cached = 0 if whole else cached
        """Tokens that are in the cache from before; not told until `run` has begun where all pictures are read."""
        self.rest = mx.array([self.tokens])[:, 0 if whole else cached :]
        """Tokens that are not in the cache yet, `(1, n)`; until `run` has looked at new pictures, all of them."""
        self.rest_pixels = prompt.inputs.get("pixel_values") if whole else (self._apart or {}).get("pixel_values")
        if not whole:
            self._media |= self._positions()
        self.carried = self._media
        """What of the prompt the first decoding step needs: positions, masks of pictures, cross attention."""
        self.reusable = True
        """False once it is known that the network wants words whole too."""

    def run(self, cancel: CancelToken) -> Iterator[int]:
        """Read piece by piece, and tell how many tokens the cache has; ends early if cancelled. Raises EngineError.

        Where there are pictures the number is an estimate, since they are looked at before a token is read.
        """
        with engine_errors():
            with self._tower.recorded() as parts:
                embeddings, made = self._embed()
            if not self._may_be_cut(self.rest, embeddings, made):
                self.reusable = self._may_be_cut(self.rest[:, -1:], embeddings[:, -1:], {})
                self._start_anew()
                return
            embeddings = self._pass_over_held(embeddings, made)
            self.carried, self.rest_pixels = made, None
            before = self.cached
            seen = int(_LOOKING_SHARE * self._pictures)
            for share in computed(parts, self._device.look):
                if cancel.cancelled:
                    return
                yield before + int(seen * share)
            mx.eval(embeddings)
            yield from self._read(embeddings, before, seen, cancel)

    def measure(self) -> int:
        """Vectors of the whole prompt, none of them computed. Raises what the network does."""
        embeddings, _ = self._embed()
        return embeddings.shape[1]

    def _read(self, embeddings: mx.array, before: int, seen: int, cancel: CancelToken) -> Iterator[int]:
        """Bring the vectors into the cache; of those after `before`, `seen` count as read already."""
        whole, read = embeddings.shape[1] - 1, 0
        while read < whole and not cancel.cancelled:
            length = min(self._device.step, whole - read)
            self._append(self.rest[:, :length], embeddings[:, :length], read)
            self.rest, embeddings = self.rest[:, length:], embeddings[:, length:]
            read += length
            yield before + seen + (whole - seen) * read // whole
        self.rest = mx.array([self.tokens[-1:]])

    def _embed(self) -> tuple[mx.array, dict[str, Any]]:
        """The tokens' vectors, pictures in their places, and what else the network made of them."""
        mask, media = self.mask, self._media
        if self._apart is not None:
            mask, media = mask[:, self.cached :], {**media, "image_grid_thw": self._apart["image_grid_thw"]}
        with mx.stream(generation_stream):
            features = self._network.get_input_embeddings(self.rest, self.rest_pixels, mask=mask, **media).to_dict()
        embeddings: mx.array = features.pop("inputs_embeds")
        if self._apart is not None and features["visual_pos_masks"] is not None:
            features["visual_pos_masks"] = padded(features["visual_pos_masks"], self.cached)
        told = {name: self._media[name] for name in ("position_ids", "rope_deltas") if name in self._media}
        return embeddings, {**self._media, **{name: one for name, one in features.items() if one is not None}, **told}

    def _new_arrays(self, prompt: EncodedPrompt, cached: int) -> dict[str, Any] | None:
        return arrays_behind(self._model.kind, prompt, cached, self._model.media_tokens)

    def _pass_over_held(self, embeddings: mx.array, made: dict[str, Any]) -> mx.array:
        """Leave out what is in the cache, where a new picture changes nothing of the tokens before it."""
        if not made.keys() - self._media.keys() <= _OF_ITS_PLACE:
            self._start_anew()
        self.cached += self._held
        self.rest = self.rest[:, self._held :]
        return embeddings[:, self._held :]

    def _start_anew(self) -> None:
        """Take an empty cache in place of one that the network cannot go on from."""
        if self._held:
            self.entries, self._held = self._model.make_cache(), 0

    def _positions(self) -> dict[str, Any]:
        """Positions of the whole prompt, where a picture's tokens share them (M-RoPE): the rest alone would miscount.

        As `_prime_cached_prefix_rope_state` in mlx-vlm's `generate/dispatch.py`.
        """
        language = self._network.language_model
        compute = getattr(language, "get_rope_index", None)
        if compute is None or not _holds_positions(language):
            return {}
        grids = (self._media.get("image_grid_thw"), self._media.get("video_grid_thw"))
        positions, deltas = compute(mx.array([self.tokens]), *grids, self.mask)
        for name, value in (("_position_ids", positions), ("_rope_deltas", deltas)):
            if hasattr(language, name):
                setattr(language, name, value)
        return {"position_ids": positions, "rope_deltas": deltas}

    def _may_be_cut(self, ids: mx.array, embeddings: mx.array, made: dict[str, Any]) -> bool:
        """False for a network that has to see these tokens whole: by its word or its kind, or as it hides positions."""
        if self._model.hides_positions or self._model.kind in _WHOLE:
            return False
        parts = (self._network, self._network.language_model)
        for part in parts:
            policy = getattr(part, "chunked_prefill_policy", None)
            if callable(policy):
                answer = policy(
                    input_ids=ids,
                    inputs_embeds=embeddings,
                    prompt_cache=self.entries,
                    draft_model=None,
                    draft_kind=None,
                    prefill_kwargs=made,
                )
                return bool(getattr(answer, "enabled", answer))
        return not any(getattr(part, "no_chunked_prefill", False) for part in parts)

    def _append(self, ids: mx.array, embeddings: mx.array, read: int) -> None:
        """Run the network over tokens, for the cache alone; `read` are those that this reading has brought in."""
        with mx.stream(generation_stream):
            self._network.language_model(
                inputs=ids,
                inputs_embeds=embeddings,
                cache=self.entries,
                n_to_process=ids.shape[1],
                logits_to_keep=1,
                **self._carried_by(slice(read, read + embeddings.shape[1])),
            )
            mx.eval([entry.state for entry in self.entries])
        mx.clear_cache()

    def _carried_by(self, piece: slice) -> dict[str, Any]:
        """What a piece needs beside its vectors.

        Gemma's networks count vectors for their layers from the prompt's beginning, and these are of the rest alone.
        """
        layers = self.carried.get(_PER_LAYER)
        return self.carried if layers is None else {**self.carried, _PER_LAYER: layers[:, piece]}


def _holds_positions(language: Any) -> bool:
    return hasattr(language, "_rope_deltas") or hasattr(language, "_position_ids")
