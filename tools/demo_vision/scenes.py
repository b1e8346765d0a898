"""What a drawing shows: one to three shapes on a ground, drawn by lot from a seed, and its one right description."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tools.demo_vision.patches import CELL, fit

KINDS = ("circle", "square", "triangle")
SIZES = ("small", "large")
GROUND_COLOURS = ("white", "black", "yellow", "green", "blue", "red")
PLAIN_GROUND_RATE = 0.5

# How often a drawing comes to so many tokens across and down. Most drawings are square or 4 : 3.
GRIDS: dict[tuple[int, int], float] = {
    (4, 4): 0.56,
    (4, 3): 0.14,
    (5, 3): 0.1,
    (3, 4): 0.06,
    (3, 3): 0.05,
    (3, 5): 0.05,
    (5, 2): 0.02,
    (2, 5): 0.02,
}

# Hue in degrees, saturation and value: the shades that go by a colour's name. CSS's own red, green, ... lie inside.
SHADES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-6, 6), (0.82, 1.0), (0.75, 1.0)),
    "orange": ((27, 40), (0.88, 1.0), (0.92, 1.0)),
    "yellow": ((53, 62), (0.75, 1.0), (0.92, 1.0)),
    "green": ((110, 145), (0.65, 1.0), (0.48, 1.0)),
    "blue": ((217, 243), (0.75, 1.0), (0.65, 1.0)),
    "purple": ((277, 302), (0.6, 1.0), (0.45, 0.8)),
    "black": ((0, 360), (0.0, 0.3), (0.0, 0.1)),
    "white": ((0, 360), (0.0, 0.03), (0.95, 1.0)),
}
COLOURS = tuple(SHADES)

# Width of a shape over the square root of the picture's area: the two sizes are far apart.
EXTENTS = {"small": (0.16, 0.24), "large": (0.36, 0.47)}
GAP = 0.03
CENTRE_GAP = 0.08
PLACING_TRIES = 30


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape; centre, width and height in pixels of the drawing, the colour as RGB (0..255)."""

    kind: str
    colour: str
    size: str
    x: float
    y: float
    width: float
    height: float
    shade: tuple[float, float, float]

    def distance_to(self, other: Shape) -> float:
        """The gap between the bounding boxes along the axis where it is wider, in pixels; negative: they overlap."""
        across = abs(self.x - other.x) - (self.width + other.width) / 2
        down = abs(self.y - other.y) - (self.height + other.height) / 2
        return max(across, down)


@dataclass(frozen=True, slots=True)
class Scene:
    """A whole drawing, `width` by `height` pixels; the shapes are sorted from left to right."""

    width: int
    height: int
    ground: str
    shade: tuple[float, float, float]
    shapes: tuple[Shape, ...]

    @property
    def sentence(self) -> str:
        """The one right description: shapes from left to right by their centres, then the ground."""
        names = [f"a {shape.size} {shape.colour} {shape.kind}" for shape in self.shapes]
        listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        return f"{listed} on {self.ground}"


def draw_shade(rng: np.random.Generator, colour: str) -> tuple[float, float, float]:
    """A shade of the colour by lot, RGB 0..255."""
    hue, saturation, value = (rng.uniform(low, high) for low, high in SHADES[colour])
    red, green, blue = colorsys.hsv_to_rgb((hue / 360) % 1.0, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def place(rng: np.random.Generator, width: int, height: int, placed: list[Shape], ground: str) -> Shape | None:
    """One more shape beside those placed already, or None where no room was found."""
    unit = math.sqrt(width * height)
    kind, size = str(rng.choice(KINDS)), str(rng.choice(SIZES))
    colour = str(rng.choice([colour for colour in COLOURS if colour != ground]))
    across = rng.uniform(*EXTENTS[size]) * unit
    down = across * rng.uniform(0.82, 1.0) if kind == "triangle" else across
    shade = draw_shade(rng, colour)
    margin = 0.01 * unit
    for _ in range(PLACING_TRIES):
        x = rng.uniform(across / 2 + margin, width - across / 2 - margin)
        y = rng.uniform(down / 2 + margin, height - down / 2 - margin)
        shape = Shape(kind, colour, size, x, y, across, down, shade)
        if all(_apart(shape, other, unit) for other in placed):
            return shape
    return None


def _apart(shape: Shape, other: Shape, unit: float) -> bool:
    return shape.distance_to(other) >= GAP * unit and abs(shape.x - other.x) >= CENTRE_GAP * unit


def draw_scene(rng: np.random.Generator, width: int, height: int) -> Scene:
    """A scene by lot; half of the grounds are white or black, as most drawings are."""
    plain = rng.random() < PLAIN_GROUND_RATE
    ground = str(rng.choice(GROUND_COLOURS[:2] if plain else GROUND_COLOURS))
    shade = draw_shade(rng, ground)
    wanted, shapes = int(rng.integers(1, 4)), list[Shape]()
    while len(shapes) < wanted:
        shape = place(rng, width, height, shapes, ground)
        shapes = [*shapes, shape] if shape is not None else []
    return Scene(width, height, ground, shade, tuple(sorted(shapes, key=lambda shape: shape.x)))


def sizes_by_lot(rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Sizes of drawings in pixels, without end: the longer side 96 to 512, small ones likelier, up to 2 : 1."""
    while True:
        longer = math.exp(rng.uniform(math.log(96), math.log(512)))
        ratio = math.exp(rng.uniform(-0.75, 0.75)) if rng.random() < 0.7 else 1.0
        width, height = (longer, longer / ratio) if ratio >= 1 else (longer * ratio, longer)
        yield round(width), round(height)


def draw_grid(rng: np.random.Generator) -> tuple[int, int]:
    """A grid by lot: tokens across, tokens down."""
    return list(GRIDS)[int(rng.choice(len(GRIDS), p=list(GRIDS.values())))]


def scenes_by_lot(rng: np.random.Generator, grid: tuple[int, int]) -> Iterator[Scene]:
    """Scenes without end, of sizes that are all scaled to this grid."""
    wanted = (grid[0] * CELL, grid[1] * CELL)
    for width, height in sizes_by_lot(rng):
        if fit(width, height) == wanted:
            yield draw_scene(rng, width, height)
