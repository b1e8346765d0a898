"""Makes Hugging Face folders for mlx-vlm with random weights: a Qwen2-VL, which takes pictures, and a Llama.

    python -m tools.make_mlx vision OUT        2 layers, for tests (0.7 MB)
    python -m tools.make_mlx text OUT          the same without pictures
    python -m tools.make_mlx bench OUT         20 million parameters and a vision tower, for benchmarks

Needs numpy, onnx (for the tokenizer's module) and safetensors. The weights come from a fixed seed. With a script the
greedy answer to every prompt is that script, which then ends; without one the model never ends by itself.
"""

import argparse
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tools.make_genai import byte_alphabet, tokenizer_json
from tools.model_files import folder_size, write_json

VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *VISION_TOKENS)
END_TOKENS = (2, 0)
PATCH, MERGE, TEMPORAL = 14, 2, 2
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Tower:
    """A vision tower's sizes: width in values, pictures' area in pixels after scaling."""

    width: int = 32
    depth: int = 2
    heads: int = 2
    mlp_ratio: int = 2
    min_pixels: int = 56 * 56
    max_pixels: int = 64 * 28 * 28


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's sizes: widths in values, vocabulary and context in tokens; `script` is a fixed answer, in tokens."""

    hidden: int = 64
    intermediate: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    vocab: int = 512
    context: int = 4096
    tower: Tower | None = None
    script: tuple[str, ...] = ()
    seed: int = 0

    @property
    def head_size(self) -> int:
        """Values a head."""
        return self.hidden // self.heads


PRESETS = {
    "text": Shape(),
    "vision": Shape(tower=Tower()),
    "bench": Shape(
        hidden=512,
        intermediate=1408,
        layers=6,
        heads=8,
        kv_heads=4,
        vocab=4096,
        tower=Tower(width=256, depth=6, heads=4, mlp_ratio=4, max_pixels=1280 * 28 * 28),
    ),
}


class _Random:
    """Random weights whose products keep the size of what goes in."""

    def __init__(self, seed: int) -> None:
        self._numbers = np.random.default_rng(seed)

    def matrix(self, *shape: int) -> NDArray[np.float32]:
        """Weights `(out, in, ...)`."""
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        return np.asarray(self._numbers.standard_normal(shape) * scale, dtype=np.float32)

    def vectors(self, count: int, width: int) -> NDArray[np.float32]:
        """Rows of unit variance."""
        return self._numbers.standard_normal((count, width)).astype(np.float32)


def decoder_weights(shape: Shape) -> Weights:
    """The language model's, named as in Hugging Face's Llama and Qwen2-VL; Qwen2 has biases in its attention."""
    random, weights = _Random(shape.seed), Weights()
    kv_width, width = shape.head_size * shape.kv_heads, shape.hidden
    weights["model.embed_tokens.weight"] = random.vectors(shape.vocab, width)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        for name, out in (("q", width), ("k", kv_width), ("v", kv_width)):
            weights[f"{prefix}self_attn.{name}_proj.weight"] = random.matrix(out, width)
            if shape.tower is not None:
                weights[f"{prefix}self_attn.{name}_proj.bias"] = np.zeros(out, np.float32)
        weights[f"{prefix}self_attn.o_proj.weight"] = random.matrix(width, width)
        weights[f"{prefix}mlp.gate_proj.weight"] = random.matrix(shape.intermediate, width)
        weights[f"{prefix}mlp.up_proj.weight"] = random.matrix(shape.intermediate, width)
        weights[f"{prefix}mlp.down_proj.weight"] = random.matrix(width, shape.intermediate)
        weights[f"{prefix}input_layernorm.weight"] = np.ones(width, np.float32)
        weights[f"{prefix}post_attention_layernorm.weight"] = np.ones(width, np.float32)
    weights["model.norm.weight"] = np.ones(width, np.float32)
    weights["lm_head.weight"] = _readable(random.matrix(shape.vocab, width) * 4)
    return weights


def _readable(head: NDArray[np.float32]) -> NDArray[np.float32]:
    """An output matrix of which only printable ASCII is ever the largest: other rows give 0, far below."""
    alphabet = list(byte_alphabet().values())
    rows = [len(SPECIAL_TOKENS) + alphabet.index(chr(code)) for code in range(33, 127)]
    kept = np.zeros_like(head)
    kept[rows] = head[rows]
    return kept


def script_weights(weights: Weights, chain: list[int]) -> None:
    """Make the next token depend on the last one alone, and follow `chain`, which repeats none.

    Raises ValueError if it does.
    """
    if len(set(chain)) != len(chain):
        raise ValueError("a script must not repeat a token")
    for name, value in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")) and name.startswith("model."):
            value[:] = 0
    embeddings = weights["model.embed_tokens.weight"]
    normed = embeddings / np.sqrt((embeddings**2).mean(-1, keepdims=True))
    head = np.zeros_like(weights["lm_head.weight"])
    for token, following in pairwise(chain):
        head[following] = normed[token]
    weights["lm_head.weight"] = head


def tower_weights(tower: Tower, hidden: int, seed: int) -> Weights:
    """The vision tower's, named as in Hugging Face's Qwen2-VL."""
    random, weights, width = _Random(seed + 1), Weights(), tower.width
    weights["visual.patch_embed.proj.weight"] = random.matrix(width, 3, TEMPORAL, PATCH, PATCH)
    inner, merged = width * tower.mlp_ratio, width * MERGE * MERGE
    for block in range(tower.depth):
        prefix = f"visual.blocks.{block}."
        for name, out, into in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", inner, width),
            ("mlp.fc2", width, inner),
        ):
            _linear(weights, f"{prefix}{name}", random.matrix(out, into))
        for name in ("norm1", "norm2"):
            _linear(weights, f"{prefix}{name}", np.ones(width, np.float32))
    _linear(weights, "visual.merger.ln_q", np.ones(width, np.float32))
    _linear(weights, "visual.merger.mlp.0", random.matrix(merged, merged))
    _linear(weights, "visual.merger.mlp.2", random.matrix(hidden, merged) * 2)
    return weights


def _linear(weights: Weights, name: str, weight: NDArray[np.float32]) -> None:
    weights[f"{name}.weight"], weights[f"{name}.bias"] = weight, np.zeros(weight.shape[0], np.float32)


def config(shape: Shape) -> dict[str, Any]:
    """The `config.json` of a Qwen2-VL where there is a vision tower, else of a Llama."""
    common = {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "vocab_size": shape.vocab,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "torch_dtype": "float32",
        "eos_token_id": END_TOKENS[0],
    }
    if shape.tower is None:
        llama = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "head_dim": shape.head_size}
        return {**common, **llama}
    return {**common, **_vision_config(shape, shape.tower)}


def _vision_config(shape: Shape, tower: Tower) -> dict[str, Any]:
    tokens = {name: SPECIAL_TOKENS.index(f"<|{name}|>") for name in ("vision_start", "vision_end", "image_pad")}
    half = shape.head_size // 2
    sections = [half - 2 * (3 * half // 8), 3 * half // 8, 3 * half // 8]
    return {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "image_token_id": tokens["image_pad"],
        "video_token_id": SPECIAL_TOKENS.index("<|video_pad|>"),
        "vision_start_token_id": tokens["vision_start"],
        "vision_end_token_id": tokens["vision_end"],
        "use_sliding_window": False,
        "rope_scaling": {"type": "mrope", "mrope_section": sections},
        "vision_config": {
            "model_type": "qwen2_vl",
            "depth": tower.depth,
            "embed_dim": tower.width,
            "hidden_size": shape.hidden,
            "num_heads": tower.heads,
            "mlp_ratio": tower.mlp_ratio,
            "in_channels": 3,
            "patch_size": PATCH,
            "spatial_patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TEMPORAL,
        },
    }


def preprocessor_config(tower: Tower) -> dict[str, Any]:
    """How pictures become patches."""
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor",
        "patch_size": PATCH,
        "temporal_patch_size": TEMPORAL,
        "merge_size": MERGE,
        "min_pixels": tower.min_pixels,
        "max_pixels": tower.max_pixels,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }


def tokenizer(shape: Shape) -> dict[str, Any]:
    """The byte-level tokenizer, the script's words in the place of unused ones."""
    made = tokenizer_json(shape.vocab, SPECIAL_TOKENS)
    vocab: dict[str, int] = made["model"]["vocab"]
    for index, word in enumerate(map(_spelled, shape.script)):
        if word not in vocab:
            vocab[word] = vocab.pop(f"<unused{index}>")
    return made


def _spelled(word: str) -> str:
    """A word as a byte-level vocabulary has it; a lone surrogate stands for a byte, as in Python's surrogateescape."""
    return "".join(byte_alphabet()[byte] for byte in word.encode("utf-8", "surrogateescape"))


def tokenizer_config() -> dict[str, Any]:
    """What is read beside tokenizer.json: the special tokens and the chat template."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def write_folder(folder: Path, shape: Shape) -> None:
    """Write the whole folder, `config.json` last: where it is, the folder is complete. ValueError for a bad script."""
    folder.mkdir(parents=True, exist_ok=True)
    weights, words = decoder_weights(shape), tokenizer(shape)
    if shape.script:
        vocab = words["model"]["vocab"]
        script_weights(weights, [vocab["Ċ"], *(vocab[_spelled(word)] for word in shape.script), END_TOKENS[0]])
    files = {
        "tokenizer.json": words,
        "tokenizer_config.json": tokenizer_config(),
        "generation_config.json": {"eos_token_id": list(END_TOKENS)},
    }
    if shape.tower is not None:
        weights |= tower_weights(shape.tower, shape.hidden, shape.seed)
        files["preprocessor_config.json"] = preprocessor_config(shape.tower)
        files["processor_config.json"] = {"processor_class": "Qwen2VLProcessor"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder, {**files, "config.json": config(shape)})


def main() -> None:
    """Write the preset that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=sorted(PRESETS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--script", nargs="+", default=(), help="the answer, in pieces that become a token each")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_folder(
        arguments.folder, replace(PRESETS[arguments.preset], script=tuple(arguments.script), seed=arguments.seed)
    )
    print(folder_size(arguments.folder))


if __name__ == "__main__":
    main()
