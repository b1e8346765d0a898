"""Kinds whose pictures keep their shape: a token for each patch, or for a square of them."""

from typing import Any

from support.mlx_kind import EXPERTS, HALF, SIGLIP, SQUARE, TOWER, Json, Kind, of, text

# Qwen's and GLM's kind: patches of any picture, positions in three directions
_QWEN_IDS: Json = {
    "vision_start_token_id": "@<|vision_start|>",
    "vision_end_token_id": "@<|vision_end|>",
    "image_token_id": "@<|image_pad|>",
    "video_token_id": "@<|video_pad|>",
}
_QWEN = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_PATCHES: Json = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "out_hidden_size": 64,
    "depth": 2,
    "num_heads": 2,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "image_size": 112,
}
_QWEN_IMAGE: Json = {
    **HALF,
    "image_processor_type": "Qwen2VLImageProcessor",
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "min_pixels": 3136,
    "max_pixels": 32 * 28 * 28,
}
_MROPE: Json = {"type": "mrope", "mrope_section": [2, 3, 3]}


def _qwen(kind: str, language: Json, **vision: Any) -> Kind:
    tower = {**_PATCHES, "model_type": kind, "num_position_embeddings": 64, **vision}
    config = {**of(kind, language, tower, **_QWEN_IDS), **(language if kind == "qwen2_5_vl" else {})}
    marker = "<|vision_start|><|image_pad|><|vision_end|>"
    return Kind(config, _QWEN, marker, _QWEN_IMAGE, {"processor_class": "Qwen3VLProcessor"})


_GLM_IDS: Json = {
    "image_token_id": "@<|image|>",
    "video_token_id": "@<|video|>",
    "image_start_token_id": "@<|begin_of_image|>",
    "image_end_token_id": "@<|end_of_image|>",
}


_GLM_IMAGE: Json = {
    **HALF,
    "image_processor_type": "Glm46VImageProcessor",
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "size": {"shortest_edge": 2 * 3136, "longest_edge": 2 * 32 * 28 * 28},
}


def _glm(kind: str, language: Json, vision: str) -> Kind:
    return Kind(
        of(kind, {**language, "eos_token_id": [2]}, {**_PATCHES, "model_type": vision}, **_GLM_IDS),
        ("<|begin_of_image|>", "<|end_of_image|>", "<|image|>", "<|video|>"),
        "<|begin_of_image|><|image|><|end_of_image|>",
        _GLM_IMAGE,
        {"processor_class": "Glm46VProcessor"},
        {"image_token": "<|image|>", "video_token": "<|video|>"},
    )


_GLM_ROPE: Json = {"rope_type": "default", "mrope_section": [2, 3, 3], "partial_rotary_factor": 1.0, "rope_theta": 1e4}
_GLM_OCR = {
    name: value for name, value in text("glm_ocr_text", rope_parameters=_GLM_ROPE).items() if name != "rope_theta"
}
_GLM_MOE = text(
    "glm4v_moe_text",
    **EXPERTS,
    n_routed_experts=4,
    n_shared_experts=1,
    n_group=1,
    topk_group=1,
    first_k_dense_replace=1,
    routed_scaling_factor=1.0,
    use_qk_norm=False,
    attention_bias=False,
    partial_rotary_factor=0.5,
    rope_scaling={"rope_type": "default", "mrope_section": [1, 1, 2]},
)
_PADDLE_ROPE: Json = {"type": "default", "rope_type": "default", "mrope_section": [2, 3, 3]}
_PADDLE = {**text("paddleocr_vl", rope_scaling=_PADDLE_ROPE, use_bias=False), "hidden_size": 1024}

# Gemma's kind
_GEMMA = (
    *("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
    *("<start_of_audio>", "<end_of_audio>", "<audio_soft_token>", "<video>"),
)
_GEMMA_NAMES: Json = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
    "boa_token": "<start_of_audio>",
    "eoa_token": "<end_of_audio>",
    "audio_token": "<audio_soft_token>",
}
_LAYERS = ["sliding_attention", "full_attention"]


def _gemma3(window: int) -> Kind:
    language = text(
        "gemma3_text", sliding_window=window, sliding_window_pattern=2, query_pre_attn_scalar=16, mm_tokens_per_image=4
    )
    config = of("gemma3", language, SIGLIP, image_token_index="@<image_soft_token>", hidden_size=64)
    image = {**SQUARE, "image_processor_type": "Gemma3ImageProcessor", "image_seq_length": 4}
    return Kind(config, _GEMMA, "<start_of_image>", image, {"image_seq_length": 4}, _GEMMA_NAMES)


def _gemma4(sees_both_ways: str | None) -> Kind:
    language = text(
        "gemma4_text",
        num_kv_shared_layers=0,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=512,
        sliding_window=256,
        layer_types=_LAYERS,
        global_head_dim=16,
        num_global_key_value_heads=2,
        use_bidirectional_attention=sees_both_ways,
    )
    vision = {
        **TOWER,
        "model_type": "gemma4_vision",
        "num_key_value_heads": 2,
        "head_dim": 16,
        "patch_size": 8,
        "pooling_kernel_size": 2,
        "default_output_length": 70,
        "position_embedding_size": 256,
    }
    ids = {
        "image_token_id": "@<image_soft_token>",
        "audio_token_id": "@<audio_soft_token>",
        "video_token_id": "@<video>",
    }
    audio = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = of("gemma4", language, vision, **ids, audio_config=audio, vision_soft_tokens_per_image=70)
    image = {"patch_size": 8, "max_soft_tokens": 70, "pooling_kernel_size": 2}
    processor = {"image_processor": image, "image_seq_length": 70}
    return Kind(config, _GEMMA, "<image_soft_token>", processor=processor, names=_GEMMA_NAMES)


def _gemma3n() -> Kind:
    language = text(
        "gemma3n_text",
        vocab_size_per_layer_input=500,
        hidden_size_per_layer_input=8,
        laurel_rank=8,
        altup_num_inputs=2,
        sliding_window=512,
        num_hidden_layers=4,
        num_kv_shared_layers=2,
        layer_types=_LAYERS * 2,
        activation_sparsity_pattern=[0.5, 0.0, 0.0, 0.0],
    )
    language["intermediate_size"] = [128] * 4
    vision = {"model_type": "gemma3n_vision", "vocab_offset": 500, "vocab_size": 4}
    audio = {"vocab_offset": 504, "vocab_size": 4, "conf_num_hidden_layers": 1, "conf_num_attention_heads": 2}
    ids = {"image_token_id": "@<image_soft_token>", "audio_token_id": "@<audio_soft_token>"}
    config = of(
        "gemma3n", language, vision, **ids, audio_config={**audio, "conf_num_attention_heads": 2}, hidden_size=64
    )
    image = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 256, "width": 256}}
    return Kind(config, _GEMMA, "<image_soft_token>", image, {"image_seq_length": 256}, _GEMMA_NAMES)


# Mistral's kind: a token at the end of each row
_ROWS = ("[IMG]", "[IMG_BREAK]", "[IMG_END]")
_ROWS_TOWER: Json = {**TOWER, "model_type": "pixtral", "head_dim": 16, "image_size": 112}


def _mistral(kind: str, merged: int) -> Kind:
    ids = {"image_token_index": "@[IMG]", "vision_feature_layer": -1, "spatial_merge_size": merged}
    image = {**HALF, "size": {"longest_edge": 112}, "patch_size": {"height": 14, "width": 14}}
    processor = {"patch_size": 14, "spatial_merge_size": merged}
    return Kind(of(kind, text("mistral"), _ROWS_TOWER, **ids), _ROWS, "[IMG]", image, processor)


_LFM: Json = {"encoder_patch_size": 16, "tile_size": 128, "max_image_tokens": 16, "min_image_tokens": 4}
_LFM_NAMES: Json = {
    "image_token": "<image>",
    "image_start_token": "<|image_start|>",
    "image_end_token": "<|image_end|>",
    "image_thumbnail": "<|img_thumbnail|>",
}
_LFM_ROWS = tuple(f"<|img_row_{row}_col_{column}|>" for row in range(1, 5) for column in range(1, 5))
_LFM_TEXT = text(
    "lfm2",
    layer_types=["conv", "full_attention"],
    conv_L_cache=3,
    block_dim=64,
    conv_dim=64,
    conv_dim_out=64,
    num_heads=4,
    block_ff_dim=128,
    block_auto_adjust_ff_dim=False,
    norm_eps=1e-5,
)
_LFM_TOWER: Json = {**TOWER, "model_type": "siglip2_vision_model", "patch_size": 16, "num_patches": 64}
_KIMI = ("<|media_start|>", "<|media_content|>", "<|media_pad|>", "<|media_end|>", "<|im_assistant|>")
_KIMI_TEXT = text(
    "deepseek_v3",
    **EXPERTS,
    kv_lora_rank=16,
    q_lora_rank=None,
    qk_rope_head_dim=8,
    qk_nope_head_dim=16,
    v_head_dim=16,
    n_routed_experts=4,
    n_shared_experts=1,
    n_group=1,
    topk_group=1,
    first_k_dense_replace=1,
)
_MOONVIT: Json = {
    **_PATCHES,
    "model_type": "moonvit",
    "embed_dim": 32,
    "init_pos_emb_height": 8,
    "init_pos_emb_width": 8,
}
_DELTA_NET: Json = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 2,
    "rope_parameters": {
        "type": "default",
        "mrope_section": [2, 1, 1],
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
    },
}
_MOE: Json = {**EXPERTS, "num_experts": 4, "decoder_sparse_step": 1, "mlp_only_layers": [], "rope_scaling": _MROPE}


KINDS: dict[str, Kind] = {
    "qwen2_5_vl": _qwen(
        "qwen2_5_vl", text("qwen2_5_vl", rope_scaling=_MROPE), window_size=56, fullatt_block_indexes=[1]
    ),
    "qwen3_vl": _qwen("qwen3_vl", text("qwen3_vl_text", rope_scaling=_MROPE), deepstack_visual_indexes=[0, 1]),
    "qwen3_vl_moe": _qwen("qwen3_vl_moe", text("qwen3_vl_moe_text", **_MOE), deepstack_visual_indexes=[0, 1]),
    "qwen3_5": _qwen("qwen3_5", text("qwen3_5_text", **_DELTA_NET), deepstack_visual_indexes=[]),
    "glm4v_moe": _glm("glm4v_moe", _GLM_MOE, "glm4v_moe"),
    "glm_ocr": _glm("glm_ocr", _GLM_OCR, "glm_ocr_vision"),
    "paddleocr_vl": Kind(
        {
            **of("paddleocr_vl", _PADDLE, {**TOWER, "model_type": "paddleocr_vl", "spatial_merge_size": 2}, **_PADDLE),
            "image_token_id": "@<|IMAGE_PLACEHOLDER|>",
            "video_token_id": "@<|video_pad|>",
            "vision_start_token_id": "@<|IMAGE_START|>",
        },
        ("<|IMAGE_START|>", "<|IMAGE_END|>", "<|IMAGE_PLACEHOLDER|>", "<|video_pad|>"),
        "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>",
        {**_QWEN_IMAGE, "image_processor_type": "PaddleOCRVLImageProcessor", "temporal_patch_size": 1},
        names={"image_token": "<|IMAGE_PLACEHOLDER|>"},
    ),
    "gemma3": _gemma3(window=512),
    "gemma3 with a window that moves": _gemma3(window=32),
    "gemma4": _gemma4(None),
    "gemma4 that sees pictures both ways": _gemma4("vision"),
    "gemma3n": _gemma3n(),
    "pixtral": _mistral("pixtral", 1),
    "mistral3": _mistral("mistral3", 2),
    "lfm2_vl": Kind(
        of("lfm2_vl", _LFM_TEXT, _LFM_TOWER, **_LFM, image_token_id="@<image>", max_num_patches=64),
        (*_LFM_NAMES.values(), *_LFM_ROWS),
        "<image>",
        {**HALF, **_LFM, "image_processor_type": "Lfm2VlImageProcessorFast", "max_num_patches": 64, "max_tiles": 4},
        names=_LFM_NAMES,
    ),
    "kimi_vl": Kind(
        of("kimi_vl", _KIMI_TEXT, _MOONVIT, media_placeholder_token_id="@<|media_pad|>"),
        _KIMI,
        "<|media_start|>image<|media_content|><|media_pad|><|media_end|>",
        {**HALF, "patch_size": 14, "in_token_limit": 64, "merge_kernel_size": [2, 2]},
    ),
}
