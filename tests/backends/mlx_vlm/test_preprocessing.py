"""The size to which a picture is scaled, by what a model's image processor says of itself."""

from types import SimpleNamespace

import pytest

from backends.mlx_vlm.preprocessing import LARGEST_AREA, picture_fit

QWEN = SimpleNamespace(
    patch_size=16, merge_size=2, min_pixels=65536, max_pixels=1048576, size={"height": 1, "width": 1}
)
SIGLIP = SimpleNamespace(patch_size=14, size={"height": 224, "width": 336})
OTHER = SimpleNamespace(size={"shortest_edge": 378})


@pytest.mark.parametrize("size", [(10, 10), (640, 480), (4000, 3000), (3000, 40)])
def test_qwen_s_kind_gets_multiples_of_its_patches_within_its_bounds(size: tuple[int, int]) -> None:
    fit = picture_fit(QWEN)
    width, height = fit(*size)
    assert width % 32 == height % 32 == 0
    assert width * height <= 1048576
    assert fit(width, height) == (width, height)


def test_siglip_s_kind_gets_its_one_size() -> None:
    assert picture_fit(SIGLIP)(4000, 3000) == (336, 224)


def test_a_processor_that_says_nothing_gets_no_more_than_it_could_want() -> None:
    fit = picture_fit(OTHER)
    assert fit(640, 480) == (640, 480)
    width, height = fit(8000, 2000)
    assert width == pytest.approx(4 * height, abs=4)
    assert width * height <= LARGEST_AREA * 1.01
