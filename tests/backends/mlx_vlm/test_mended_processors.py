"""What mlx-vlm's image processors do wrong to pictures, and that it is mended."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_vlm
import pytest
from mlx_vlm.utils import prepare_inputs
from PIL import Image
from support.mlx_kind_folders import painting, write_kind
from support.mlx_kinds import KINDS

from backends.mlx_vlm.mended_processors import mend

ONE, EQUAL, LARGE = painting((112, 84), 1), painting((112, 84), 2), painting((300, 170), 3)


def mended(folder: Path, name: str) -> tuple[Any, Any]:
    """A kind's network, and its processor."""
    network, processor = mlx_vlm.load(str(write_kind(folder, KINDS[name])), trust_remote_code=False)
    mend(processor)
    return network, processor


def looked_at(processor: Any, marker: str, *pictures: Image.Image) -> dict[str, Any]:
    return dict(prepare_inputs(processor, images=list(pictures), prompts=marker * len(pictures) + "Hi"))


@pytest.mark.parametrize("second", [EQUAL, LARGE], ids=["of the same size", "of another size"])
def test_each_of_paddle_s_pictures_has_the_patches_that_it_has_alone(tmp_path: Path, second: Image.Image) -> None:
    _, processor = mended(tmp_path / "model", "paddleocr_vl")
    marker = KINDS["paddleocr_vl"].marker
    both, *alone = (looked_at(processor, marker, *pictures) for pictures in ([ONE, second], [ONE], [second]))
    for name, axis in (("pixel_values", 1), ("image_grid_thw", 0)):
        assert mx.array_equal(both[name], mx.concatenate([one[name] for one in alone], axis=axis))


def test_llava_s_pictures_are_read_with_transformers_5(tmp_path: Path) -> None:
    _, processor = mended(tmp_path / "model", "llava")
    assert looked_at(processor, KINDS["llava"].marker, ONE, LARGE)["pixel_values"].shape == (2, 3, 56, 56)


@pytest.mark.parametrize("pictures", [[ONE], [LARGE], [LARGE, ONE, LARGE]], ids=len)
def test_llama_4_has_a_vector_for_each_of_a_picture_s_tokens(tmp_path: Path, pictures: list[Image.Image]) -> None:
    network, processor = mended(tmp_path / "model", "llama4")
    inputs = looked_at(processor, KINDS["llama4"].marker, *pictures)
    vectors = network.get_image_features(
        pixel_values=inputs["pixel_values"], vision_feature_layer=-1, vision_feature_select_strategy="default"
    )
    tokens = inputs["input_ids"] == network.config.image_token_id
    assert vectors.shape[0] * vectors.shape[1] == tokens.sum().item()
