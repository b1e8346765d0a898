"""What mlx-vlm's networks do wrong to words, and that it is mended."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_vlm
import pytest
from support.mlx_kind_folders import shrink_mobilenet, write_kind
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
