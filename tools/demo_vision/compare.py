"""Holds our network against transformers': `python -m tools.demo_vision.compare --checkpoint HF`.

Prints the largest difference of the logits on held-out pictures, one of each grid; a logit is about 10.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

from tools.demo_vision.checkpoint import load_model
from tools.demo_vision.drawing import scaled
from tools.demo_vision.held_out import held_out_pictures
from tools.demo_vision.model import VisionLanguageModel
from tools.demo_vision.patches import CELL, FRAMES, positions_of, to_patches
from tools.demo_vision.requests import PLAIN_REQUEST
from tools.demo_vision.tokenizer import IM_END, IM_START, IMAGE_PAD, VISION_END, VISION_START

COMPARED = 40


def tokens_of(tokenizer: Tokenizer, cells: int, answer: str) -> Tensor:
    """The plain request about one picture of so many cells, and its answer, `(1, length)`."""
    picture = f"{VISION_START}{IMAGE_PAD * cells}{VISION_END}"
    asked = f"{IM_START}user\n{picture}{PLAIN_REQUEST}{IM_END}\n{IM_START}assistant\n"
    return torch.tensor([tokenizer.encode(asked + answer).ids])


def theirs(model: Qwen2VLForConditionalGeneration, tokens: Tensor, patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """The logits of transformers' network, `(1, length, vocabulary)`."""
    frames = patches.reshape(len(patches), 3, 1, -1).repeat(1, 1, FRAMES, 1).flatten(1)
    sizes = torch.tensor([[1, 2 * grid[1], 2 * grid[0]]])
    where = (tokens == model.config.image_token_id).int()
    logits: Tensor = model(input_ids=tokens, pixel_values=frames, image_grid_thw=sizes, mm_token_type_ids=where).logits
    return logits


def ours(model: VisionLanguageModel, tokens: Tensor, patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """The logits of our network, `(1, length, vocabulary)`."""
    features = model.visual(patches[None], 2 * grid[1], 2 * grid[0])[0]
    positions = positions_of(tokens[0].tolist(), model.image_token, grid[1], grid[0])
    return model.logits(model(tokens, torch.from_numpy(positions)[:, None], features))


@torch.no_grad()
def differences(folder: Path) -> dict[tuple[int, int], float]:
    """The largest difference of the logits for each grid among the first held-out pictures."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model, other = load_model(folder), Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    found: dict[tuple[int, int], float] = {}
    for item in held_out_pictures(COMPARED):
        picture = scaled(item.picture)
        grid = picture.width // CELL, picture.height // CELL
        patches = torch.from_numpy(to_patches(picture))
        tokens = tokens_of(tokenizer, grid[0] * grid[1], item.scene.sentence)
        gap = ours(model, tokens, patches, grid) - theirs(other.eval(), tokens, patches, grid)
        found[grid] = max(found.get(grid, 0.0), float(gap.abs().max()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    arguments = parser.parse_args()
    for (across, down), gap in sorted(differences(arguments.checkpoint).items()):
        print(f"{across} x {down} tokens: {gap:.1e}")


if __name__ == "__main__":
    main()
