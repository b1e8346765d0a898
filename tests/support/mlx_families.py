"""Small models of other families than `tools.make_mlx` makes: mlx-vlm's own classes with random weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.nn.layers.quantized import quantize
from mlx.utils import tree_flatten
from mlx_vlm.utils import get_model_and_args, load_config, update_module_configs

from tools.make_mlx import SPECIAL_TOKENS

SPECIALS = len(SPECIAL_TOKENS)

TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 512,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
_TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "out_hidden_size": 64,
    "num_heads": 2,
    "patch_size": 14,
    "spatial_patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
_MARKERS = {"vision_start_token_id": 3, "vision_end_token_id": 4, "image_token_id": 6, "video_token_id": 7}
_ROPE = {"type": "mrope", "mrope_section": [2, 3, 3]}
_QWEN3_VL = {
    **_MARKERS,
    "text_config": {**TEXT, "model_type": "qwen3_vl_text", "rope_scaling": _ROPE},
    "vision_config": {
        **_TOWER,
        "model_type": "qwen3_vl",
        "depth": 3,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1, 2],
    },
}
_QWEN2_5_VL = {
    **TEXT,
    **_MARKERS,
    "rope_scaling": _ROPE,
    "vision_config": {
        **_TOWER,
        "model_type": "qwen2_5_vl",
        "depth": 2,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    },
}
CONFIGS: dict[str, dict[str, Any]] = {
    "qwen3_vl": _QWEN3_VL,
    "qwen2_5_vl": _QWEN2_5_VL,
    "gemma3_text": {**TEXT, "sliding_window": 32, "sliding_window_pattern": 2, "query_pre_attn_scalar": 16},
    "mamba2": {
        "hidden_size": 64,
        "num_heads": 4,
        "head_dim": 32,
        "vocab_size": 512,
        "state_size": 16,
        "ssm_state_size": 16,
        "num_hidden_layers": 2,
        "layer_norm_epsilon": 1e-5,
        "expand": 2,
        "conv_kernel": 4,
        "n_groups": 1,
        "use_bias": False,
        "use_conv_bias": True,
        "tie_word_embeddings": False,
        "time_step_limit": [0.0, 100.0],
        "time_step_rank": "auto",
        "max_position_embeddings": 4096,
    },
    "qwen3": TEXT,
}
"""A picture's features in several layers, windows in the tower, a sliding window, no attention at all, plain text."""

GEMMA4: dict[str, Any] = {
    "image_token_id": 6,
    "video_token_id": 7,
    "audio_token_id": 8,
    "text_config": {
        **TEXT,
        "model_type": "gemma4_text",
        "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 512,
        "sliding_window": 256,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "global_head_dim": 16,
        "num_global_key_value_heads": 2,
    },
    "vision_config": {
        "model_type": "gemma4_vision",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "patch_size": 4,
        "pooling_kernel_size": 2,
        "default_output_length": 4,
        "position_embedding_size": 64,
    },
}
"""A network that makes of each token a vector for every layer."""

GLM4V: dict[str, Any] = {
    **_MARKERS,
    "image_token_index": 6,
    "video_token_index": 7,
    "text_config": {
        **TEXT,
        "model_type": "glm4v_text",
        "eos_token_id": [2],
        "partial_rotary_factor": 0.5,
        "rope_scaling": {"rope_type": "default", "mrope_section": [1, 1, 2]},
    },
    "vision_config": {
        "model_type": "glm4v",
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "patch_size": 14,
        "out_hidden_size": 64,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "image_size": 112,
    },
}
"""A network that tells nobody which positions it gave a picture's tokens."""

PALIGEMMA: dict[str, Any] = {
    "image_token_index": 6,
    "hidden_size": 64,
    "pad_token_id": 0,
    "projection_dim": 64,
    "text_config": {**TEXT, "model_type": "gemma"},
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 14,
        "image_size": 56,
        "num_channels": 3,
        "projection_dim": 64,
    },
}
"""A network in which each token of a prompt sees those after it."""

FASTVLM: dict[str, Any] = {**TEXT, "mm_hidden_size": 128, "vision_config": {"hidden_size": 64}}


def write_family(
    folder: Path, like: Path, family: str, config: dict[str, Any] | None = None, *, four_bit: bool = False
) -> Path:
    """Write a folder of a family with the tokenizer and the preprocessor of another folder."""
    shutil.copytree(like, folder)
    config = {**(config or CONFIGS[family]), "model_type": family, "eos_token_id": 2}
    if four_bit:
        config["quantization"] = {"group_size": 32, "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    model = _build(folder)
    if four_bit:
        quantize(model, group_size=32, bits=4, class_predicate=_is_of_the_decoder)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), {"format": "mlx"})
    return folder


def write_lively(folder: Path, like: Path, family: str, config: dict[str, Any], size: float, gain: float = 1.0) -> Path:
    """Write a folder whose answers show what was read, and have no special token if embeddings are not the head too.

    Embeddings are of a size; what layers look for, and what they add, is larger by a gain.
    """
    write_family(folder, like, family, config)
    file = folder / "model.safetensors"
    weights: Any = mx.load(str(file))
    for name, value in weights.items():
        if name.endswith("embed_tokens.weight"):
            weights[name] = size * mx.random.normal(value.shape)
        elif name.endswith(("o_proj.weight", "down_proj.weight", "q_proj.weight", "k_proj.weight")):
            weights[name] = gain * value
        elif name.endswith("lm_head.weight"):
            weights[name] = mx.concatenate([mx.zeros_like(value[:SPECIALS]), 20 * value[SPECIALS:]])
    mx.save_safetensors(str(file), weights, {"format": "mlx"})
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["extra_special_tokens"] = {"image_token": "<|image_pad|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def write_fastvlm(folder: Path, like: Path) -> Path:
    """Write a FastVLM, whose network puts 256 vectors in the place of a picture's one token, which has no spelling."""
    write_family(folder, like, "llava_qwen2", FASTVLM)
    (folder / "processor_config.json").unlink()
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    picture = "<|vision_start|><|image_pad|><|vision_end|>"
    settings["chat_template"] = settings["chat_template"].replace(picture, "<image>\n")
    file.write_text(json.dumps({**settings, "tokenizer_class": "Qwen2Tokenizer"}))
    scaling = {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "LlavaProcessor",
        "size": {"shortest_edge": 1024},
        "crop_size": {"height": 1024, "width": 1024},
        "image_mean": [0.0] * 3,
        "image_std": [1.0] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(scaling))
    return folder


def write_paligemma(folder: Path, like: Path) -> Path:
    """Write a PaliGemma; its processor knows a picture's token by this spelling alone, and takes one picture."""
    write_lively(folder, like, "paligemma", PALIGEMMA, 0.1, 10)
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("<|image_pad|>", "<image>"))
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text().replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>"))
    settings |= {"bos_token": "<|endoftext|>", "extra_special_tokens": {"image_token": "<image>"}}
    file.write_text(json.dumps(settings))
    scaling = {
        "image_processor_type": "SiglipImageProcessor",
        "size": {"height": 56, "width": 56},
        "image_seq_length": 16,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(scaling))
    return folder


def _build(folder: Path) -> Any:
    config = load_config(folder)
    classes, _ = get_model_and_args(config)
    config.setdefault("text_config", {})
    config.setdefault("vision_config", {})
    made = classes.ModelConfig.from_dict(config)
    mx.random.seed(1)
    return classes.Model(update_module_configs(made, classes, config, ["text", "vision"]))


def _is_of_the_decoder(path: str, module: Any) -> bool:
    return hasattr(module, "to_quantized") and path.startswith("language_model") and module.weight.shape[-1] % 32 == 0
