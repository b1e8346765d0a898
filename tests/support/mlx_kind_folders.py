"""Folders of the kinds in `support.mlx_kinds` with random weights, and what mlx-vlm's own loop makes of a prompt."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_vlm
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_vlm.models.fastvlm.config import VisionConfig as FastVlmTower
from mlx_vlm.models.gemma3n import vision
from mlx_vlm.models.gemma3n.vision import _er, _uir
from mlx_vlm.utils import get_model_and_args, load_config, update_module_configs
from numpy.typing import NDArray
from PIL import Image
from support.mlx_kind import SPECIAL_TOKENS, Kind

from backends.mlx_vlm import mended_networks, mended_processors
from backends.mlx_vlm.prompt import EncodedPrompt
from tools.make_genai import tokenizer_json
from tools.make_mlx import CHAT_TEMPLATE, tokenizer_config

QWEN_MARKER = "<|vision_start|><|image_pad|><|vision_end|>"
WORDS_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOP = 8
PARTS = ["text", "vision", "perceiver", "audio"]
LIVELY = ("embed", "class", "newline", "query", "gate", "separator")
"""Parts of the names of weights that are nothing in a new network, and something in a trained one."""


def write_kind(folder: Path, kind: Kind) -> Path:
    """Write a kind's folder; its answers show what was read."""
    folder.mkdir(parents=True)
    specials = (*SPECIAL_TOKENS, *kind.specials)
    template = WORDS_TEMPLATE if kind.takes_words else CHAT_TEMPLATE.replace(QWEN_MARKER, kind.marker)
    names = {"bos_token": "<|endoftext|>", "extra_special_tokens": kind.names, "chat_template": template}
    files = {
        "tokenizer.json": tokenizer_json(512, specials),
        "tokenizer_config.json": {**tokenizer_config(), **names},
        "preprocessor_config.json": kind.image,
        "processor_config.json": kind.processor,
        "config.json": {**_numbered(kind.config, specials), "eos_token_id": 2},
    }
    for name, content in files.items():
        if content:
            (folder / name).write_text(json.dumps(content))
    weights = _weights(folder, len(specials))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    return folder


def shrink_mobilenet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tower of Gemma 3n, whose sizes no config says, of four narrow blocks."""
    stages = [_er(3, 16, 2), _uir(3, 5, 16, 2, 1.0), _uir(5, 5, 16, 2, 1.0), _uir(5, 5, 16, 2, 1.0)]
    adapter = vision.MobileNetV5MultiScaleFusionAdapter
    monkeypatch.setattr(vision, "gemma3n_mobilenet_def", lambda: [[stage] for stage in stages])
    monkeypatch.setattr(vision, adapter.__name__, lambda in_chs, **options: adapter([32], **options))


def shrink_fastvit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tower of FastVLM, whose sizes no config says, of five narrow blocks."""
    monkeypatch.setattr(FastVlmTower, "layers", [1] * 5)
    monkeypatch.setattr(FastVlmTower, "embed_dims", [8, 8, 8, 32, 32])


class Reference:
    """mlx-vlm's own loop over a folder, with a processor and a network that are mended as the backend's are."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        self._model, self._processor = mlx_vlm.load(str(folder), trust_remote_code=False)
        mended_processors.mend(self._processor)
        mended_networks.mend(self._model)
        self._marker = kind.marker
        self.makes_more = kind.makes_more

    def answer(
        self, turns: Sequence[tuple[str, str]], pictures: Sequence[Image.Image], max_tokens: int
    ) -> tuple[int, list[float]]:
        """Tokens of the prompt, and the log-probabilities of the likeliest `TOP` at each place of the greedy answer.

        `<picture>` stands for one.
        """
        said = "".join(f"<|im_start|>{role}\n{words}<|im_end|>\n" for role, words in turns)
        rendered = f"{said}<|im_start|>assistant\n".replace("<picture>", self._marker)
        return self._answer(rendered, max_tokens, image=list(pictures) or None)

    def answer_to(self, prompt: EncodedPrompt, max_tokens: int) -> tuple[int, list[float]]:
        """The same for a prompt's own tokens."""
        inputs = {name: value for name, value in prompt.inputs.items() if name not in ("input_ids", "attention_mask")}
        tokens = mx.array([prompt.tokens])
        return self._answer("", max_tokens, input_ids=tokens, mask=mx.ones_like(tokens), **inputs)

    def _answer(self, rendered: str, max_tokens: int, **inputs: Any) -> tuple[int, list[float]]:
        options = {"max_tokens": max_tokens, "temperature": 0.0, **inputs}
        steps = list(mlx_vlm.stream_generate(self._model, self._processor, rendered, **options))
        return steps[-1].prompt_tokens, [score for step in steps[:-1] for score in _largest(step.logprobs)]


def _largest(scores: mx.array) -> list[float]:
    """The largest scores, descending."""
    return list(map(float, np.sort(np.array(scores.astype(mx.float32)).reshape(-1))[: -TOP - 1 : -1]))


def painting(size: tuple[int, int], seed: int) -> Image.Image:
    """A picture of soft patches of many colours."""
    colours = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize(size, Image.Resampling.BILINEAR)


def _numbered(value: Any, specials: Sequence[str]) -> Any:
    """A config with the numbers of special tokens in the places of their spellings."""
    if isinstance(value, dict):
        return {name: _numbered(one, specials) for name, one in value.items()}
    return specials.index(value[1:]) if isinstance(value, str) and value.startswith("@") else value


def _weights(folder: Path, specials: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    weights: dict[str, Any] = dict(tree_flatten(_network(folder).parameters()))
    for name, value in weights.items():
        if name.endswith("embed_tokens.weight"):
            weights[name] = mx.array(_rows(random.standard_normal(value.shape), specials, 0.3))
        elif name.endswith("lm_head.weight"):
            weights[name] = mx.array(_rows(8 * np.array(value), specials, 0))
        elif "reparam" in name and value.ndim == 4:
            weights[name] = 4 * value
        elif any(part in name for part in LIVELY) and not mx.any(value).item():
            weights[name] = mx.array(0.5 * random.standard_normal(value.shape).astype(np.float32))
    return weights


def _rows(weights: NDArray[Any], specials: int, scale: float) -> NDArray[np.float32]:
    """Weights whose first rows are scaled, so that no special token is written."""
    weights[:specials] *= scale
    return weights.astype(np.float32)


def _network(folder: Path) -> Any:
    config = load_config(folder)
    classes, _ = get_model_and_args(config)
    for part in PARTS:
        config.setdefault(f"{part}_config", {})
    made = classes.ModelConfig.from_dict(config)
    mx.random.seed(1)
    return classes.Model(update_module_configs(made, classes, config, PARTS))
