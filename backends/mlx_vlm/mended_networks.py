"""What two of mlx-vlm's networks make of words, and how it is mended (0.7.10): as Transformers' do.

Gemma 3n's gives the vectors of a prompt's words as they are in the weights, though it scales those of the tokens that
it writes itself (`Gemma3nTextScaledWordEmbedding` scales all). Llama 3.2 Vision's has its layers for pictures look at
words where there is no picture (`modeling_mllama` passes them over), and forgets while it writes which of a picture's
tiles are padding. Above it: `model`.
"""

from dataclasses import replace
from typing import Any

import mlx.core as mx

from backends.mlx_vlm.mending import become


def mend(network: Any) -> None:
    """Mend a network, where it is one of those."""
    kind = getattr(network.config, "model_type", None)
    if kind == "gemma3n":
        become(network, _ScalesWords)
    elif kind == "mllama":
        language = network.language_model
        language.last_rows = _LastRows()
        become(language, _KeepsMasks)
        for place in language.config.cross_attention_layers:
            become(language.model.layers[place], _PassesOverWords)


class _ScalesWords:
    """Scales the vectors of words, and leaves those of pictures and sounds, whose tokens are behind all words."""

    def get_input_embeddings(self, input_ids: mx.array, pixel_values: Any = None, **options: Any) -> Any:
        network: Any = self
        features = super().get_input_embeddings(input_ids, pixel_values, **options)  # type: ignore[misc]
        vectors = features.inputs_embeds
        words = (input_ids < network.embed_vision.vocab_offset)[..., None]
        scale = network.config.text_config.hidden_size**0.5
        return replace(features, inputs_embeds=mx.where(words, vectors * scale, vectors))


class _LastRows:
    """The masks' rows of a prompt's last token. No module keeps them itself: arrays in one count as weights."""

    masks: tuple[Any, ...] = (None, None)


class _KeepsMasks:
    """Gives the tokens behind a prompt the masks of its last one."""

    last_rows: _LastRows

    def __call__(
        self,
        *arguments: Any,
        cross_attention_states: Any = None,
        cross_attention_mask: Any = None,
        full_text_row_masked_out_mask: Any = None,
        **options: Any,
    ) -> Any:
        masks = (cross_attention_mask, full_text_row_masked_out_mask)
        if cross_attention_mask is not None or cross_attention_states is None:
            self.last_rows.masks = tuple(mask if mask is None else mask[:, :, -1:] for mask in masks)
        else:
            masks = self.last_rows.masks
        options |= dict(zip(("cross_attention_mask", "full_text_row_masked_out_mask"), masks, strict=True))
        run: Any = super().__call__  # type: ignore[misc]
        return run(*arguments, cross_attention_states=cross_attention_states, **options)


class _PassesOverWords:
    """A layer for pictures that leaves words alone where there is no picture."""

    def __call__(self, hidden_states: mx.array, cross_attention_states: Any = None, **options: Any) -> Any:
        if cross_attention_states is None:
            return hidden_states
        run: Any = super().__call__  # type: ignore[misc]
        return run(hidden_states, cross_attention_states=cross_attention_states, **options)
