"""Kinds whose pictures are scaled to one size, or to several tiles of it."""

from typing import Any

from support.mlx_kind import CLIP, HALF, IMAGE, SIGLIP, SQUARE, TEXT, TOWER, Json, Kind, of, text

# Llava's kind, and those whose pictures become tiles of one size
_GRID = [[56, 112], [112, 56], [112, 112]]
_LLAVA: Json = {**IMAGE, "vision_feature_layer": -2, "vision_feature_select_strategy": "default"}
_LLAVA_IMAGE: Json = {
    **HALF,
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 56},
    "crop_size": {"height": 56, "width": 56},
}
_LLAVA_NEXT_IMAGE: Json = {
    **_LLAVA_IMAGE,
    "image_processor_type": "LlavaNextImageProcessor",
    "image_grid_pinpoints": _GRID,
}


def _llava(config: Json, image: Json, strategy: str, most: int = 2, **processor: Any) -> Kind:
    processor = {"patch_size": 14, "vision_feature_select_strategy": strategy, **processor}
    return Kind(config, ("<image>", "<video>"), "<image>\n", image, processor, most=most, makes_more=most == 1)


_GRANITE = text(
    "granite", embedding_multiplier=1.0, attention_multiplier=0.25, residual_multiplier=1.0, logits_scaling=1.0
)
_TILES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5))
_IDEFICS_NAMES: Json = {
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "image_boundary_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
    "video_token": "<video>",
}


def _idefics(kind: str, processor: str, language: str, tower: str, size: Json, **more: Any) -> Kind:
    image = {**HALF, "image_processor_type": processor, "size": size, "max_image_size": {"longest_edge": 56}}
    config = of(kind, text(language), {**TOWER, "model_type": tower}, image_token_id="@<image>", **more)
    specials = (*dict.fromkeys(_IDEFICS_NAMES.values()), *_TILES)
    return Kind(config, specials, "<image>", image, {"image_seq_len": 4}, _IDEFICS_NAMES)


_INTERN = ("<img>", "</img>", "<IMG_CONTEXT>", "<image>")
_INTERN_NAMES: Json = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<image>",
}
_GOT: Json = {**SQUARE, "image_processor_type": "GotOcr2ImageProcessor", "crop_to_patches": True, "max_patches": 6}
_MLLAMA_TOWER: Json = {
    **TOWER,
    "model_type": "mllama_vision_model",
    "num_hidden_layers": 2,
    "num_global_layers": 1,
    "max_num_tiles": 4,
    "vision_output_dim": 96,
    "intermediate_layers_indices": [0, 1],
    "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
}
_LLAMA4_TOWER: Json = {
    **TOWER,
    "model_type": "llama4_vision_model",
    "intermediate_size": 128,
    "initializer_range": 0.02,
    "norm_eps": 1e-5,
    "num_channels": 3,
    "pixel_shuffle_ratio": 0.5,
    "projector_dropout": 0.0,
    "projector_input_dim": 64,
    "projector_output_dim": 64,
    "rope_theta": 10000,
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "default",
    "vision_output_dim": 64,
}
_LLAMA4 = ("<|image_start|>", "<|image_end|>", "<|image|>", "<|patch|>", "<|tile_x_separator|>", "<|tile_y_separator|>")
_LLAMA4_TEXT = text(
    "llama4_text",
    num_local_experts=4,
    num_experts_per_tok=1,
    intermediate_size_mlp=128,
    interleave_moe_layer_step=2,
    attention_chunk_size=256,
)
_AYA = ("<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE", "TILE_GLOBAL")
_AYA_TEXT = text("cohere2", layer_norm_eps=1e-5, sliding_window=512, sliding_window_pattern=2)
_PERCEIVER: Json = {
    "model_type": "idefics2",
    "num_key_value_heads": 2,
    "resampler_depth": 1,
    "resampler_head_dim": 16,
    "resampler_n_heads": 4,
    "resampler_n_latents": 4,
}
_MOLMO: Json = {
    "d_model": 64,
    "n_heads": 4,
    "n_kv_heads": 2,
    "n_layers": 2,
    "mlp_hidden_size": 128,
    "vocab_size": 512,
    "embedding_size": 512,
    "additional_vocab_size": 8,
    "num_attention_heads": 4,
}
_MOLMO_TOWER: Json = {
    "image_default_input_size": [56, 56],
    "hidden_size": 128,
    "image_emb_dim": 32,
    "image_num_heads": 2,
    "image_num_key_value_heads": 2,
    "image_num_layers": 3,
    "image_head_dim": 16,
    "image_mlp_dim": 64,
    "image_num_pos": 17,
    "d_model": 64,
    "vit_layers": [-1, -2],
    "intermediate_size": 588,
}

KINDS: dict[str, Kind] = {
    "llava": _llava(of("llava", text("llama"), CLIP, **_LLAVA), _LLAVA_IMAGE, "default", num_additional_image_tokens=1),
    "llava_next": _llava(
        of("llava_next", text("llama"), CLIP, **_LLAVA, image_grid_pinpoints=_GRID),
        _LLAVA_NEXT_IMAGE,
        "default",
        most=1,
        num_additional_image_tokens=1,
    ),
    "granite_vision": _llava(
        of("granite_vision", _GRANITE, SIGLIP, **IMAGE, image_grid_pinpoints=_GRID), _LLAVA_NEXT_IMAGE, "full", most=1
    ),
    "llava_onevision": _llava(
        of("llava_onevision", text("qwen2"), SIGLIP, **IMAGE, video_token_index="@<video>", image_grid_pinpoints=_GRID),
        {**SQUARE, "image_processor_type": "LlavaOnevisionImageProcessor", "image_grid_pinpoints": _GRID},
        "full",
        num_image_tokens=16,
    ),
    "idefics2": _idefics(
        "idefics2",
        "Idefics2ImageProcessor",
        "mistral",
        "idefics2",
        {"longest_edge": 56, "shortest_edge": 28},
        perceiver_config=_PERCEIVER,
    ),
    "idefics3": _idefics(
        "idefics3", "Idefics3ImageProcessor", "llama", "idefics3_vision", {"longest_edge": 112}, scale_factor=2
    ),
    "smolvlm": _idefics(
        "smolvlm", "SmolVLMImageProcessor", "llama", "smolvlm_vision", {"longest_edge": 112}, scale_factor=2
    ),
    "internvl_chat": Kind(
        {
            **of("internvl_chat", text("qwen2"), {**SIGLIP, "model_type": "intern_vit_6b"}, downsample_ratio=0.5),
            "image_token_index": "@<IMG_CONTEXT>",
            "llm_config": text("qwen2"),
        },
        _INTERN,
        "<image>\n",
        {**HALF, "image_processor_type": "CLIPFeatureExtractor", "size": 56, "crop_size": 56},
    ),
    "internvl": Kind(
        of("internvl", text("qwen3"), {**TOWER, "model_type": "internvl_vision"}, image_token_id="@<IMG_CONTEXT>"),
        _INTERN,
        "<IMG_CONTEXT>\n",
        _GOT,
        {"image_seq_length": 4},
        _INTERN_NAMES,
    ),
    "aya_vision": Kind(
        of("aya_vision", _AYA_TEXT, SIGLIP, image_token_index="@<|IMG_PATCH|>", alignment_intermediate_size=64),
        _AYA,
        "<image>",
        _GOT,
        {"img_size": 56, "patch_size": 14, "downsample_factor": 2},
        {"image_token": "<image>"},
    ),
    "llava_qwen2": Kind(
        {**TEXT, "model_type": "llava_qwen2", "mm_hidden_size": 64, "image_token_index": -200},
        (),
        "<image>\n",
        {"size": {"shortest_edge": 128}, "crop_size": {"height": 128, "width": 128}},
        makes_more=True,
        takes_words=True,
    ),
    "mllama": Kind(
        of(
            "mllama",
            text("mllama_text_model", cross_attention_layers=[1]),
            _MLLAMA_TOWER,
            image_token_index="@<|image|>",
        ),
        ("<|image|>", "<|python_tag|>"),
        "<|image|>",
        {**SQUARE, "image_processor_type": "MllamaImageProcessor", "max_image_tiles": 4},
    ),
    "llama4": Kind(
        of("llama4", _LLAMA4_TEXT, _LLAMA4_TOWER, image_token_id="@<|patch|>"),
        _LLAMA4,
        "<|image|>",
        {**SQUARE, "image_processor_type": "Llama4ImageProcessorFast", "max_patches": 4},
        {"patch_size": 14},
    ),
    "molmo": Kind(
        {"model_type": "molmo", "text_config": _MOLMO, "vision_config": _MOLMO_TOWER},
        ("<im_patch>", "<im_start>", "<im_end>", "<im_col>", "<|image|>"),
        "<|image|>",
        {
            "max_crops": 3,
            "base_image_input_size": [56, 56],
            "image_token_length_w": 2,
            "image_token_length_h": 2,
            "image_patch_size": 14,
            "overlap_margins": [0, 0],
        },
        most=1,
    ),
}
