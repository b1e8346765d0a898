"""What mlx-vlm's networks do wrong to words, and that it is mended."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_vlm
import pytest
from mlx_vlm.models.cache import make_prompt_cache
from mlx_vlm.utils import prepare_inputs
from PIL import Image
from support.mlx_kind_folders import painting, shrink_mobilenet, write_kind
from support.mlx_kinds import KINDS

from backends.mlx_vlm.mended_networks import mend


def read_and_written(network: Any, token: int) -> tuple[mx.array, mx.array]:
    """The scores after a token of a prompt, and after the same one as the last that was written."""
    tokens = mx.array([[token]])
    features = network.get_input_embeddings(tokens, None)
    vectors, layers = features.inputs_embeds, features.per_layer_inputs
    read = network.language_model(tokens, inputs_embeds=vectors, per_layer_inputs=layers).logits
    return read, network.language_model(tokens).logits


def test_gemma_3n_reads_a_word_as_it_writes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_mobilenet(monkeypatch)
    network, _ = mlx_vlm.load(str(write_kind(tmp_path / "model", KINDS["gemma3n"])), trust_remote_code=False)
    assert not mx.allclose(*read_and_written(network, 100), atol=1e-2)
    mend(network)
    assert mx.allclose(*read_and_written(network, 100), atol=1e-4)


def next_scores(network: Any, tokens: list[int], inputs: dict[str, Any], written: int) -> mx.array:
    """The scores after tokens, of which the last `written` are given one by one as those that were written."""
    prompt, rest = mx.array([tokens[: len(tokens) - written]]), tokens[len(tokens) - written :]
    arrays = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
    if "cross_attention_mask" in arrays:
        arrays["cross_attention_mask"] = arrays["cross_attention_mask"][:, : prompt.shape[1]]
    made = network.get_input_embeddings(prompt, **arrays).to_dict()
    states, cache = made["cross_attention_states"], make_prompt_cache(network.language_model)
    scores: mx.array = network.language_model(prompt, cache=cache, **made).logits
    for token in rest:
        scores = network.language_model(mx.array([[token]]), cache=cache, cross_attention_states=states).logits
    return scores[:, -1]


def both(network: Any, tokens: list[int], inputs: dict[str, Any]) -> tuple[mx.array, mx.array]:
    return next_scores(network, tokens, inputs, 0), next_scores(network, tokens, inputs, 4)


@pytest.mark.parametrize("pictures", [[], [painting((60, 50), 1)]], ids=["words", "a picture of one tile"])
def test_llama_3_2_vision_writes_a_token_as_it_reads_it(tmp_path: Path, pictures: list[Image.Image]) -> None:
    network, processor = mlx_vlm.load(str(write_kind(tmp_path / "model", KINDS["mllama"])), trust_remote_code=False)
    text = "<|endoftext|>" + "<|image|>" * len(pictures) + "The quick brown fox"
    inputs = dict(prepare_inputs(processor, images=pictures or None, prompts=text))
    tokens = inputs["input_ids"].flatten().tolist()
    assert not mx.allclose(*both(network, tokens, inputs), atol=1e-3)
    mend(network)
    assert mx.allclose(*both(network, tokens, inputs), atol=1e-4)


def test_llama_3_2_vision_s_layers_for_pictures_change_nothing_of_words(tmp_path: Path) -> None:
    network, _ = mlx_vlm.load(str(write_kind(tmp_path / "model", KINDS["mllama"])), trust_remote_code=False)
    mend(network)
    tokens, model = mx.array([[50, 60, 70]]), network.language_model.model
    scores = network.language_model(tokens).logits
    model.layers[1].cross_attn_attn_gate = mx.array([3.0])
    model.layers[1].cross_attn_mlp_gate = mx.array([3.0])
    assert mx.array_equal(network.language_model(tokens).logits, scores)
