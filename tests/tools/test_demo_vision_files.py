"""The exported files of the demo vision model: small, free of a machine's paths, and one network in both."""

from __future__ import annotations

import json
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tools.demo_vision.engines import GGUF_FILE, MLX_FOLDER, PROJECTOR_FILE
from tools.demo_vision.export_gguf import language_name, vision_tensors

MOST_BYTES = 5_000_000
MLX_FILES = sorted(MLX_FOLDER.iterdir())


@pytest.fixture(scope="module")
def folder() -> dict[str, NDArray[Any]]:
    """The tensors of the folder for MLX, under their names in a Hugging Face checkpoint."""
    tensors: dict[str, NDArray[Any]] = load_file(MLX_FOLDER / "model.safetensors")
    return tensors


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((MLX_FOLDER / "config.json").read_text("utf-8"))
    return content


def values(path: str) -> dict[str, NDArray[Any]]:
    """The tensors of a GGUF file, no longer quantised."""
    tensors = gguf.GGUFReader(path).tensors
    return {one.name: gguf.quants.dequantize(one.data, one.tensor_type).reshape(one.shape[::-1]) for one in tensors}


def field(path: str, key: str) -> Any:
    return gguf.GGUFReader(path).fields[key].contents()


def test_each_form_is_under_five_megabytes() -> None:
    assert GGUF_FILE.stat().st_size + PROJECTOR_FILE.stat().st_size < MOST_BYTES
    assert sum(file.stat().st_size for file in MLX_FILES) < MOST_BYTES


def test_no_file_names_a_place_on_the_machine_that_made_it() -> None:
    for file in (GGUF_FILE, PROJECTOR_FILE, *MLX_FILES):
        content = file.read_bytes()
        for place in (b"/tmp/", b"/home/", b"/work/", b"/root/", b"/Users/"):
            assert place not in content, f"{file.name} holds {place!r}"


def test_no_file_names_code_to_run() -> None:
    assert not [file.name for file in MLX_FILES if file.suffix == ".py"]
    for file in MLX_FILES:
        if file.suffix == ".json":
            assert not {"auto_map", "model_file"} & json.loads(file.read_text("utf-8")).keys()


def test_the_language_model_is_the_same_in_both_but_for_float16_s_rounding(folder: dict[str, NDArray[Any]]) -> None:
    found = values(str(GGUF_FILE))
    wanted = {language_name(name): tensor for name, tensor in folder.items() if name.startswith("model.")}
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(found[name].astype(np.float16), tensor, err_msg=name)


def test_the_vision_part_is_the_same_in_both_but_for_float16_s_rounding(folder: dict[str, NDArray[Any]]) -> None:
    found = values(str(PROJECTOR_FILE))
    wanted: dict[str, NDArray[Any]] = {}
    for name, tensor in folder.items():
        if name.startswith("visual."):
            wanted |= vision_tensors(name, tensor)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(found[name].astype(np.float16), tensor, err_msg=name)


def test_both_frames_of_a_still_picture_have_the_same_kernel(folder: dict[str, NDArray[Any]]) -> None:
    kernel = folder["visual.patch_embed.proj.weight"]
    np.testing.assert_array_equal(kernel[:, :, 0], kernel[:, :, 1])


def test_both_have_the_same_tokens_and_template() -> None:
    described = json.loads((MLX_FOLDER / "tokenizer.json").read_text("utf-8"))
    tokens = sorted(described["model"]["vocab"], key=described["model"]["vocab"].__getitem__)
    assert field(str(GGUF_FILE), "tokenizer.ggml.tokens") == tokens
    template = (MLX_FOLDER / "chat_template.jinja").read_text("utf-8")
    assert field(str(GGUF_FILE), "tokenizer.chat_template") == template


def test_both_tell_the_same_bounds_of_a_picture_and_the_same_sizes(config: dict[str, Any]) -> None:
    preprocessor = json.loads((MLX_FOLDER / "preprocessor_config.json").read_text("utf-8"))
    for key, name in (("min_pixels", "image_min_pixels"), ("max_pixels", "image_max_pixels")):
        assert field(str(PROJECTOR_FILE), f"clip.vision.{name}") == preprocessor[key]
    assert field(str(PROJECTOR_FILE), "clip.vision.projection_dim") == config["hidden_size"]
    assert field(str(GGUF_FILE), "qwen2vl.embedding_length") == config["hidden_size"]
    sections = field(str(GGUF_FILE), "qwen2vl.rope.dimension_sections")
    assert sections == [*config["rope_scaling"]["mrope_section"], 0]
    assert 2 * sum(sections) == config["hidden_size"] // config["num_attention_heads"]
