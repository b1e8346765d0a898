"""The drawings of the demo vision model: the same each time, as their sentence says, and none of them trained on."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from PIL import Image

from tools.demo_vision import held_out
from tools.demo_vision.drawing import coverage, render, scaled
from tools.demo_vision.evaluate import mistakes
from tools.demo_vision.held_out import HeldOut, held_out_pictures
from tools.demo_vision.patches import CELL, MAX_PIXELS, MIN_PIXELS, fit, positions_of, to_patches
from tools.demo_vision.scenes import (
    COLOURS,
    EXTENTS,
    GRIDS,
    GROUND_COLOURS,
    KINDS,
    SHADES,
    SIZES,
    Scene,
    Shape,
    draw_grid,
    scenes_by_lot,
    sizes_by_lot,
)

FEWEST_HELD_OUT = 200
CSS = {
    "red": (255, 0, 0),
    "orange": (255, 165, 0),
    "yellow": (255, 255, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "purple": (128, 0, 128),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
}


@pytest.fixture(scope="module")
def pictures() -> list[HeldOut]:
    return list(held_out_pictures())


def shape(kind: str, x: float, size: str = "small", colour: str = "red") -> Shape:
    return Shape(kind, colour, size, x, 50, 20, 20, (255, 0, 0))


def scene(*shapes: Shape) -> Scene:
    return Scene(100, 100, "white", (255, 255, 255), shapes)


def test_one_two_and_three_shapes_each_have_their_one_sentence() -> None:
    first, second, third = shape("circle", 20, "large"), shape("square", 50, colour="blue"), shape("triangle", 80)
    assert scene(first).sentence == "a large red circle on white"
    assert scene(first, second).sentence == "a large red circle and a small blue square on white"
    three = "a large red circle, a small blue square and a small red triangle on white"
    assert scene(first, second, third).sentence == three


def test_the_same_seed_draws_the_same_picture() -> None:
    for index in (0, 7, 41):
        first, second = held_out.held_out(index), held_out.held_out(index)
        assert first.scene == second.scene
        assert first.data_url == second.data_url


def test_there_are_enough_held_out_pictures_and_no_two_are_equal(pictures: list[HeldOut]) -> None:
    assert len(pictures) >= FEWEST_HELD_OUT
    assert len({item.data_url for item in pictures}) == len(pictures)


def test_held_out_pictures_come_from_a_seed_that_no_training_step_has(pictures: list[HeldOut]) -> None:
    assert held_out.SEED != held_out.TRAINING_SEED
    trained = set()
    for step in range(300):
        rng = np.random.default_rng([held_out.TRAINING_SEED, step])
        trained |= set(itertools.islice(scenes_by_lot(rng, draw_grid(rng)), 3))
    assert trained.isdisjoint(item.scene for item in pictures)


def test_the_held_out_pictures_have_every_kind_colour_size_ground_and_number_of_shapes(pictures: list[HeldOut]) -> None:
    shapes = [shape for item in pictures for shape in item.scene.shapes]
    assert {shape.kind for shape in shapes} == set(KINDS)
    assert {shape.colour for shape in shapes} == set(COLOURS)
    assert {shape.size for shape in shapes} == set(SIZES)
    assert {item.scene.ground for item in pictures} == set(GROUND_COLOURS)
    assert {len(item.scene.shapes) for item in pictures} == {1, 2, 3}


def test_shapes_lie_inside_apart_and_sorted_and_never_have_the_ground_s_colour(pictures: list[HeldOut]) -> None:
    for scene in (item.scene for item in pictures):
        for one in scene.shapes:
            assert one.width / 2 <= one.x <= scene.width - one.width / 2
            assert one.height / 2 <= one.y <= scene.height - one.height / 2
            assert one.colour != scene.ground
            low, high = EXTENTS[one.size]
            assert low <= one.width / math.sqrt(scene.width * scene.height) <= high
        for left, right in itertools.pairwise(scene.shapes):
            assert left.x < right.x
        for one, other in itertools.combinations(scene.shapes, 2):
            assert one.distance_to(other) > 0


def test_pixels_are_those_of_the_shape_in_its_middle_and_of_the_ground_in_the_corners(pictures: list[HeldOut]) -> None:
    for scene in (item.scene for item in pictures[:60]):
        pixels = np.asarray(render(scene), np.float32)
        for one in scene.shapes:
            assert np.abs(pixels[int(one.y), int(one.x)] - one.shade).max() <= 1
        for corner in (pixels[0, 0], pixels[0, -1], pixels[-1, 0], pixels[-1, -1]):
            assert np.abs(corner - scene.shade).max() <= 1


@pytest.mark.parametrize(("kind", "area"), [("circle", math.pi / 4), ("square", 1.0), ("triangle", 0.5)])
def test_a_shape_covers_as_much_as_its_kind_does(kind: str, area: float) -> None:
    middles = np.arange(100, dtype=np.float32) + 0.5
    one = Shape(kind, "red", "large", 50.3, 49.6, 60, 60, (255, 0, 0))
    assert coverage(one, middles, middles).sum() == pytest.approx(area * 60 * 60, rel=0.01)


def test_a_triangle_has_its_tip_at_the_top() -> None:
    middles = np.arange(100, dtype=np.float32) + 0.5
    rows = coverage(Shape("triangle", "red", "large", 50, 50, 60, 60, (255, 0, 0)), middles, middles).sum(1)
    assert 0 < rows[25] < rows[50] < rows[75]


def test_css_s_own_colours_are_among_the_shades_that_go_by_their_names() -> None:
    for name, (red, green, blue) in CSS.items():
        hue, saturation, value = _hsv(red, green, blue)
        hues, saturations, values = SHADES[name]
        assert hues[0] <= hue <= hues[1], name
        assert saturations[0] <= saturation <= saturations[1], name
        assert values[0] <= value <= values[1], name


def _hsv(*rgb: int) -> tuple[float, float, float]:
    import colorsys

    hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255 for part in rgb))
    return 360 * hue, saturation, value


def test_every_size_drawn_comes_to_a_known_grid_or_is_drawn_again() -> None:
    rng = np.random.default_rng(3)
    for grid in GRIDS:
        one = next(scenes_by_lot(rng, grid))
        assert fit(one.width, one.height) == (grid[0] * CELL, grid[1] * CELL)


def test_a_fitted_size_fits_as_it_is_and_is_within_the_bounds() -> None:
    for width, height in itertools.islice(sizes_by_lot(np.random.default_rng(4)), 500):
        fitted = fit(width, height)
        assert fit(*fitted) == fitted
        assert MIN_PIXELS <= fitted[0] * fitted[1] <= MAX_PIXELS


def test_patches_are_in_blocks_of_two_by_two() -> None:
    pixels = np.zeros((56, 84, 3), np.uint8)
    pixels[14:28, 28:42] = 255
    patches = to_patches(Image.fromarray(pixels))
    assert patches.shape == (24, 588)
    white = [index for index, patch in enumerate(patches) if patch.min() == 1.0]
    assert white == [6]  # the second block's lower left one


def test_a_picture_counts_as_its_longer_side_in_positions() -> None:
    positions = positions_of([5, 9, 9, 9, 9, 9, 9, 5], image_token=9, rows=2, columns=3)
    assert positions.tolist() == [
        [0, 1, 1, 1, 1, 1, 1, 4],
        [0, 1, 1, 1, 2, 2, 2, 4],
        [0, 1, 2, 3, 1, 2, 3, 4],
    ]


def test_a_scaled_picture_has_the_size_that_the_model_takes(pictures: list[HeldOut]) -> None:
    for item in pictures[:20]:
        assert scaled(item.picture).size == fit(item.scene.width, item.scene.height)


def test_mistakes_are_told_word_by_word() -> None:
    assert mistakes("a large red circle on white", "a small red circle on white") == [("large", "small")]
    assert mistakes("a large red circle on white", "a large red circle on white") == []
