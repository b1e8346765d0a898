"""What one of mlx-vlm's networks makes of a prompt's words, and how it is mended (0.7.10).

Gemma 3n's gives the vectors of words as they are in the weights, though it scales those of the tokens that it writes
itself, as Transformers' `modeling_gemma3n` scales all (`Gemma3nTextScaledWordEmbedding`): an answer that is read again
was another one than that which had been written. Above it: `model`.
"""

from dataclasses import replace
from typing import Any

import mlx.core as mx


def mend(network: Any) -> None:
    """Mend a network, where it is that one."""
    kind = type(network)
    if getattr(network.config, "model_type", None) == "gemma3n":
        network.__class__ = type(kind.__name__, (_ScalesWords, kind), {"__module__": kind.__module__})


class _ScalesWords:
    """Scales the vectors of words, and leaves those of pictures and sounds, whose tokens are behind all words."""

    def get_input_embeddings(self, input_ids: mx.array, pixel_values: Any = None, **options: Any) -> Any:
        network: Any = self
        features = super().get_input_embeddings(input_ids, pixel_values, **options)  # type: ignore[misc]
        vectors = features.inputs_embeds
        words = (input_ids < network.embed_vision.vocab_offset)[..., None]
        scale = network.config.text_config.hidden_size**0.5
        return replace(features, inputs_embeds=mx.where(words, vectors * scale, vectors))
