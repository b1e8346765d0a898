"""Draws on a canvas in the extension's chat page, and drops the picture there, as a person drops a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from support.browsers.page import Page

_DRAW = """(async ({ground, shapes}, side) => {
  const canvas = Object.assign(document.createElement("canvas"), {width: side, height: side});
  const context = canvas.getContext("2d");
  context.fillStyle = ground;
  context.fillRect(0, 0, side, side);
  for (const [kind, colour, x, y, width] of shapes) {
    const half = width / 2;
    context.fillStyle = colour;
    context.beginPath();
    if (kind === "circle") context.arc(x, y, half, 0, 2 * Math.PI);
    else if (kind === "square") context.rect(x - half, y - half, width, width);
    else {
      const tall = width * 0.45;
      context.moveTo(x, y - tall);
      context.lineTo(x + half, y + tall);
      context.lineTo(x - half, y + tall);
    }
    context.fill();
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const data = new DataTransfer();
  data.items.add(new File([blob], "drawing.png", {type: "image/png"}));
  document.querySelector("#log").dispatchEvent(
    new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
})"""


@dataclass(frozen=True)
class Drawing:
    """A ground's colour, and shapes on it: circle, square or triangle, colour, middle x and y, width in pixels."""

    ground: str
    shapes: tuple[tuple[str, str, int, int, int], ...]


def drop_drawing(page: Page, drawing: Drawing, side: int) -> None:
    """Draw on a square canvas with sides of ``side`` pixels, and wait until the page shows it beside the composer."""
    page.evaluate(f"{_DRAW}({json.dumps(asdict(drawing))}, {side})")
    page.wait_for("document.querySelectorAll('#pictures li').length === 1")
