"""What a kind of network with pictures consists of, and the parts that kinds share.

A string "@..." in a config stands for the number of that special token. Above it: `support.mlx_kinds`.
"""

from dataclasses import dataclass, field
from typing import Any

from support import mlx_families

Json = dict[str, Any]
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Those that every kind has, before its own."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A folder's parts.

    specials are its own special tokens, marker is what its chat template writes for a picture, image and processor are
    its preprocessor_config.json and processor_config.json, names are attributes of its tokenizer; most is how many of
    two pictures it takes in a request, and makes_more says that a picture's vectors are more than its tokens;
    takes_words says that its template takes words alone, in which the marker is written.
    """

    config: Json
    specials: tuple[str, ...]
    marker: str
    image: Json = field(default_factory=dict)
    processor: Json = field(default_factory=dict)
    names: Json = field(default_factory=dict)
    most: int = 2
    makes_more: bool = False
    takes_words: bool = False


HALF: Json = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
SQUARE: Json = {**HALF, "size": {"height": 56, "width": 56}}
TEXT: Json = {**mlx_families.TEXT, "num_hidden_layers": 2}
TOWER: Json = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "patch_size": 14,
    "image_size": 56,
}
EXPERTS: Json = {"num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True}
SIGLIP: Json = {**TOWER, "model_type": "siglip_vision_model"}
CLIP: Json = {**TOWER, "model_type": "clip_vision_model", "projection_dim": 64}
IMAGE: Json = {"image_token_index": "@<image>"}


def of(kind: str, text: Json, vision: Json, **more: Any) -> Json:
    """A config of two parts."""
    return {"model_type": kind, "text_config": text, "vision_config": vision, **more}


def text(kind: str, **more: Any) -> Json:
    """A language model of a kind."""
    return {**TEXT, "model_type": kind, **more}
