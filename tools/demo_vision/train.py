"""Trains the demo vision model: `python -m tools.demo_vision.train --out build/demo_vision/hf`.

PyTorch on one processor core, seeded. While it trains, a throw-away head says for each cell of the picture which shape
lies there; that teaches the vision part long before the language model can.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.demo_model.corpus import load_handwritten
from tools.demo_vision.batches import Batch, BatchMaker
from tools.demo_vision.checkpoint import save_checkpoint
from tools.demo_vision.held_out import TRAINING_SEED
from tools.demo_vision.model import Shape, VisionLanguageModel
from tools.demo_vision.requests import Asker
from tools.demo_vision.scenes import COLOURS, GROUND_COLOURS, KINDS, SIZES
from tools.demo_vision.tokenizer import IMAGE_PAD, save_tokenizer, train_tokenizer

HINT_CLASSES = (4, len(KINDS), len(COLOURS), len(SIZES), len(GROUND_COLOURS))
SAVE_EVERY_S = 180.0
CHECK_EVERY_S = 600.0
CHECK_STEPS = range(1_000_000, 1_000_004)


@dataclass(frozen=True)
class Plan:
    """How long and how hard to train: so many steps, or about so many minutes, which fixes the steps half-way."""

    steps: int | None
    minutes: float = 55.0
    rows: int = 48
    matrix_rate: float = 0.02
    other_rate: float = 3e-3
    warmup: int = 60
    seed: int = TRAINING_SEED
    hint_weight: float = 0.5

    def steps_after(self, step: int, seconds: float) -> int | None:
        """All the steps there will be, once that is known; so many steps are done, and took so many seconds."""
        if self.steps is None and seconds > 30 * self.minutes:
            return 2 * step
        return self.steps

    def rate(self, step: int, steps: int | None) -> float:
        """The learning rate over its peak: a linear warm-up, level for the first half, then down to nothing."""
        down = 1.0 if steps is None else (steps - step) / (0.5 * steps)
        return min((step + 1) / self.warmup, down, 1.0)


class HintHead(nn.Module):
    """Says what lies in each cell; thrown away after the training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, sum(HINT_CLASSES))

    def forward(self, features: Tensor, hints: Tensor) -> Tensor:
        """Mean cross-entropy; `features` `(pictures, cells, width)`, `hints` `(pictures, cells, 5)`."""
        parts = self.out(self.norm(features.float())).split(HINT_CLASSES, -1)
        losses = [
            functional.cross_entropy(part.flatten(0, 1), hints[..., index].flatten())
            for index, part in enumerate(parts)
        ]
        return torch.stack(losses).sum()


class Optimiser:
    """Muon for the matrices inside the layers, AdamW for the embeddings, the norms and the biases."""

    def __init__(self, model: VisionLanguageModel, head: HintHead, plan: Plan) -> None:
        inner = [p for part in (model.model.layers, model.visual.blocks) for p in part.parameters() if p.dim() > 1]
        known = {id(p) for p in inner}
        others = [p for module in (model, head) for p in module.parameters() if id(p) not in known]
        matrices = [p for p in others if p.dim() > 1]
        vectors = [p for p in others if p.dim() == 1]
        groups = [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0.0}]
        self._plan = plan
        self._parts: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.Muon(inner, lr=plan.matrix_rate, weight_decay=0.05), plan.matrix_rate),
            (torch.optim.AdamW(groups, lr=plan.other_rate, betas=(0.9, 0.98)), plan.other_rate),
        ]

    def step(self, step: int, steps: int | None) -> None:
        """Apply the gradients at the learning rate of this step of so many, and clear them."""
        for part, peak in self._parts:
            for group in part.param_groups:
                group["lr"] = peak * self._plan.rate(step, steps)
            part.step()
            part.zero_grad(set_to_none=True)


def initialise(model: VisionLanguageModel) -> None:
    """Normal weights with a standard deviation of one over the root of the inputs, no biases, small embeddings."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.05)
    for layer in model.model.layers:
        nn.init.zeros_(layer.self_attn.o_proj.weight)
        nn.init.zeros_(layer.mlp.down_proj.weight)
    for block in model.visual.blocks:
        nn.init.zeros_(block.attn.proj.weight)
        nn.init.zeros_(block.mlp.fc2.weight)


def predict(model: VisionLanguageModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Features of the pictures `(pictures, cells, width)`, and logits of the tokens that the assistant says."""
    features = model.visual(torch.from_numpy(batch.patches), 2 * batch.grid[1], 2 * batch.grid[0])
    tokens, positions = torch.from_numpy(batch.tokens), torch.from_numpy(batch.positions)
    hidden = model(tokens, positions, features.flatten(0, 1))
    counted = torch.from_numpy(batch.answers)[:, 1:]
    return features, model.logits(hidden[:, :-1][counted]).float()


def targets_of(batch: Batch) -> Tensor:
    """The tokens that the assistant says, in order."""
    return torch.from_numpy(batch.tokens)[:, 1:][torch.from_numpy(batch.answers)[:, 1:]]


def rows_right(batch: Batch, logits: Tensor) -> tuple[int, int]:
    """How many conversations are right in every token, and how many there are: greedy decoding would say the same."""
    wrong = logits.argmax(-1) != targets_of(batch)
    rows = torch.from_numpy(batch.answers)[:, 1:].nonzero()[:, 0]
    return len(batch.tokens) - len(rows[wrong].unique()), len(batch.tokens)


@torch.no_grad()
def check(model: VisionLanguageModel, maker: BatchMaker) -> float:
    """Share of conversations right in every token, on batches that no training step sees."""
    counts = []
    for step in CHECK_STEPS:
        batch = maker.batch(step)
        counts.append(rows_right(batch, predict(model, batch)[1]))
    return sum(right for right, _ in counts) / sum(rows for _, rows in counts)


class Run:
    """One training from start to end."""

    def __init__(self, plan: Plan, out: Path) -> None:
        tokenizer = train_tokenizer()
        save_tokenizer(tokenizer, out)
        self.plan, self.out = plan, out
        self.maker = BatchMaker(tokenizer, Asker(load_handwritten()), plan.seed, plan.rows)
        image_token = int(tokenizer.token_to_id(IMAGE_PAD))
        self.model = VisionLanguageModel(Shape(tokenizer.get_vocab_size()), image_token)
        initialise(self.model)
        self.head = HintHead(self.model.shape.width)
        self.optimiser = Optimiser(self.model, self.head, plan)
        count = sum(parameter.numel() for parameter in self.model.parameters())
        print(f"parameters {count} vocabulary {tokenizer.get_vocab_size()}", flush=True)

    def step(self, step: int, steps: int | None) -> tuple[float, float, float]:
        """One step of so many: the loss of the answers, of the hints, and the share of answers right in every token."""
        batch = self.maker.batch(step)
        with torch.autocast("cpu", torch.bfloat16):
            features, logits = predict(self.model, batch)
        answers = functional.cross_entropy(logits, targets_of(batch))
        hints = self.head(features, torch.from_numpy(batch.hints))
        (answers + self.plan.hint_weight * hints).backward()
        nn.utils.clip_grad_norm_([*self.model.parameters(), *self.head.parameters()], 1.0)
        self.optimiser.step(step, steps)
        right, rows = rows_right(batch, logits.detach())
        return answers.item(), hints.item(), right / rows

    def train(self) -> None:
        """All steps; prints the losses, saves a checkpoint now and then, so that a broken run is not lost."""
        started = saved = checked = time.monotonic()
        steps, shown = self.plan.steps, 0.0
        for step in itertools.count():
            now = time.monotonic()
            if steps is None:
                steps = self.plan.steps_after(step, now - started)
            if step == steps:
                break
            answers, hints, right = self.step(step, steps)
            shown = 0.97 * shown + 0.03 * right
            if step % 25 == 0:
                figures = f"loss {answers:.4f} hints {hints:.4f} right {shown:.3f}"
                print(f"step {step} of {steps or 'many'} {figures} seconds {now - started:.0f}", flush=True)
            if now - saved > SAVE_EVERY_S:
                save_checkpoint(self.model, self.out)
                saved = now
            if now - checked > CHECK_EVERY_S:
                print(f"check at step {step}: {check(self.model, self.maker):.3f} right", flush=True)
                checked = now
        save_checkpoint(self.model, self.out)
        print(f"check after {steps} steps: {check(self.model, self.maker):.3f} right", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the Hugging Face checkpoint")
    parser.add_argument("--steps", type=int, help="steps in all; without it they follow from the minutes")
    parser.add_argument("--minutes", type=float, default=Plan.minutes)
    parser.add_argument("--rows", type=int, default=Plan.rows, help="conversations in a batch")
    parser.add_argument("--matrix-rate", type=float, default=Plan.matrix_rate, help="peak learning rate of Muon")
    arguments = parser.parse_args()
    plan = Plan(arguments.steps, arguments.minutes, arguments.rows, arguments.matrix_rate)
    torch.manual_seed(plan.seed)
    torch.set_num_threads(1)
    Run(plan, arguments.out).train()


if __name__ == "__main__":
    main()
