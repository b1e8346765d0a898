"""The size to which a picture is scaled, by what a model's image processor says of itself."""

from types import SimpleNamespace

import pytest
from mlx_vlm.models.gemma4.processing_gemma4 import Gemma4ImageProcessor
from mlx_vlm.models.glm_ocr.processing import Glm46VImageProcessor
from PIL import Image
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil as SmolVLMImageProcessor

from backends.mlx_vlm.preprocessing import LARGEST_AREA, picture_fit

QWEN = SimpleNamespace(
    patch_size=16, merge_size=2, min_pixels=65536, max_pixels=1048576, size={"height": 1, "width": 1}
)
OTHER = SimpleNamespace(size={"shortest_edge": 378})


@pytest.mark.parametrize("size", [(10, 10), (640, 480), (4000, 3000), (3000, 40)])
def test_qwen_s_kind_gets_multiples_of_its_patches_within_its_bounds(size: tuple[int, int]) -> None:
    fit = picture_fit(QWEN)
    width, height = fit(*size)
    assert width % 32 == height % 32 == 0
    assert width * height <= 1048576
    assert fit(width, height) == (width, height)


@pytest.mark.parametrize("size", [(60, 40), (112, 84), (640, 480), (3000, 500), (4000, 3000)])
def test_glm_s_kind_gets_what_it_leaves_as_it_is(size: tuple[int, int]) -> None:
    images = Glm46VImageProcessor()
    width, height = picture_fit(images)(*size)
    for given in (size, (width, height)):
        _, rows, columns = images([Image.new("RGB", given)])["image_grid_thw"].tolist()[0]
        assert (14 * columns, 14 * rows) == (width, height)


def test_a_size_to_which_a_processor_does_not_scale_is_not_given_to_a_picture() -> None:
    images = Gemma4ImageProcessor()
    assert images.size == {"height": 224, "width": 224}
    assert picture_fit(images)(1200, 300) == (1200, 300)


def test_a_processor_that_says_nothing_gets_no_more_than_it_could_want() -> None:
    fit = picture_fit(OTHER)
    assert fit(640, 480) == (640, 480)
    width, height = fit(8000, 2000)
    assert width == pytest.approx(4 * height, abs=4)
    assert width * height <= LARGEST_AREA * 1.01


def test_a_large_picture_keeps_what_smolvlm_looks_at() -> None:
    images = SmolVLMImageProcessor(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512})
    width, height = picture_fit(images)(4000, 3000)
    assert (width, height) == (2048, 1536)
    tiles = [images([[Image.new("RGB", size)]])["pixel_values"].shape for size in ((4000, 3000), (width, height))]
    assert tiles[0] == tiles[1]
    assert picture_fit(images)(1500, 1000) == (1500, 1000)
