"""Writes and reads the trained network as a Hugging Face checkpoint of Qwen2-VL: float32, one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from tools.demo_vision.model import EPS, TEXT_THETA, Shape, VisionLanguageModel
from tools.demo_vision.patches import FRAMES, MAX_PIXELS, MERGE, MIN_PIXELS, PATCH
from tools.demo_vision.tokenizer import (
    CONTEXT_LENGTH,
    END_OF_TEXT,
    IM_END,
    IMAGE_PAD,
    VIDEO_PAD,
    VISION_END,
    VISION_PAD,
    VISION_START,
)

WEIGHTS = "model.safetensors"


def vision_config(shape: Shape) -> dict[str, Any]:
    """The part of config.json about pictures."""
    return {
        "model_type": "qwen2_vl",
        "depth": shape.vision_depth,
        "embed_dim": shape.vision_width,
        "hidden_size": shape.width,
        "num_heads": shape.vision_heads,
        "mlp_ratio": shape.vision_ratio,
        "hidden_act": "quick_gelu",
        "in_channels": 3,
        "in_chans": 3,
        "patch_size": PATCH,
        "spatial_patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": FRAMES,
    }


def config_of(shape: Shape, tokenizer: Tokenizer) -> dict[str, Any]:
    """config.json of the checkpoint."""
    token = tokenizer.token_to_id
    return {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": CONTEXT_LENGTH,
        "rms_norm_eps": EPS,
        "rope_theta": TEXT_THETA,
        "rope_scaling": {"type": "mrope", "mrope_section": list(shape.sections)},
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "use_sliding_window": False,
        "sliding_window": CONTEXT_LENGTH,
        "torch_dtype": "float32",
        "bos_token_id": token(END_OF_TEXT),
        "eos_token_id": token(IM_END),
        "pad_token_id": token(END_OF_TEXT),
        "image_token_id": token(IMAGE_PAD),
        "video_token_id": token(VIDEO_PAD),
        "vision_start_token_id": token(VISION_START),
        "vision_end_token_id": token(VISION_END),
        "vision_token_id": token(VISION_PAD),
        "vision_config": vision_config(shape),
    }


def preprocessor_config() -> dict[str, Any]:
    """preprocessor_config.json: sizes in pixels, and how pixels become numbers in -1..1."""
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor",
        "patch_size": PATCH,
        "temporal_patch_size": FRAMES,
        "merge_size": MERGE,
        "min_pixels": MIN_PIXELS,
        "max_pixels": MAX_PIXELS,
        "size": {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS},
        "do_convert_rgb": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON with a line end."""
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def save_checkpoint(model: VisionLanguageModel, folder: Path) -> None:
    """Write weights and configuration; the tokenizer lies there already."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    write_json(folder / "config.json", config_of(model.shape, tokenizer))
    write_json(folder / "preprocessor_config.json", preprocessor_config())
    ends = {name: tokenizer.token_to_id(token) for name, token in (("bos", END_OF_TEXT), ("pad", END_OF_TEXT))}
    eos = [tokenizer.token_to_id(IM_END), tokenizer.token_to_id(END_OF_TEXT)]
    write_json(
        folder / "generation_config.json",
        {"bos_token_id": ends["bos"], "eos_token_id": eos, "pad_token_id": ends["pad"]},
    )
    save_file(model.checkpoint(), folder / WEIGHTS, metadata={"format": "pt"})


def load_model(folder: Path) -> VisionLanguageModel:
    """The network of a checkpoint, ready to predict."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tensors = load_file(folder / WEIGHTS)
    kernel = tensors.pop("visual.patch_embed.proj.weight")
    tensors["visual.patch_embed.proj.weight"] = kernel.sum(2).flatten(1)
    model = VisionLanguageModel(Shape(tokenizer.get_vocab_size()), int(tokenizer.token_to_id(IMAGE_PAD)))
    model.load_state_dict(tensors)
    return model.eval()
