"""Trains the demo model: `python -m tools.demo_model.train --out build/demo_model/hf`.

PyTorch on the processor, seeded, bfloat16 matrix products. The later stages see weights rounded to 4 bits in half
of the steps, so that the int4 export costs no accuracy.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from tools.demo_model.corpus import load_intents, load_noise
from tools.demo_model.dialogues import DECISION_WEIGHT, DialogueMaker, Rows
from tools.demo_model.tokenizer import (
    CONTEXT_LENGTH,
    END_OF_TEXT,
    IM_END,
    save_tokenizer,
    train_tokenizer,
)

QUANT_BLOCK = 32
DROPOUT = 0.1
SAVE_EVERY = 250


@dataclass(frozen=True)
class Stage:
    """A part of the training: its share of the steps, what the rows are like, and how the weights are rounded."""

    share: float
    turns: tuple[int, ...]
    cut_rate: float
    rows: int = 8
    length: int = 512
    rounded: float = 0.0


# Single questions first, for meaning; then conversations; then histories as long as the context.
STAGES = (
    Stage(share=0.5, turns=(1,), cut_rate=0.85),
    Stage(share=0.35, turns=(1, 1, 1, 2, 3, 5), cut_rate=0.6, rounded=0.5),
    Stage(share=0.15, turns=(1, 2, 60), cut_rate=0.2, rows=2, length=CONTEXT_LENGTH, rounded=0.5),
)


@dataclass(frozen=True)
class Plan:
    """How long and how hard to train."""

    steps: int
    peak_rate: float = 2e-3
    warmup: int = 100
    seed: int = 7

    def stages(self) -> Iterator[Stage]:
        """The stage of each step."""
        for stage in STAGES:
            yield from itertools.repeat(stage, round(self.steps * stage.share))


def build_model(tokenizer: Tokenizer) -> LlamaForCausalLM:
    """A Llama of about three million parameters with tied embeddings."""
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(END_OF_TEXT),
        eos_token_id=tokenizer.token_to_id(IM_END),
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
    )
    return LlamaForCausalLM(config)


def round_to_int4(weight: Tensor) -> Tensor:
    """Symmetric 4-bit rounding in blocks of 32 along each row, as onnxruntime's MatMulNBits stores it."""
    blocks = weight.reshape(weight.shape[0], -1, QUANT_BLOCK)
    high, low = blocks.amax(-1, keepdim=True), blocks.amin(-1, keepdim=True)
    scale = torch.where(high.abs() > low.abs(), high, low) / -8
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return (torch.clamp(torch.round(blocks / scale), -8, 7) * scale).reshape(weight.shape)


class Regulariser:
    """Switches dropout and 4-bit rounding into a model, without changing its parameters or their names."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self.rounded = False
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.forward = self._linear(module)  # type: ignore[method-assign]
        for layer in model.model.layers:
            for part in (layer.mlp.down_proj, layer.self_attn.o_proj):
                part.register_forward_hook(
                    lambda module, _, output: functional.dropout(output, DROPOUT, module.training)
                )
        model.model.embed_tokens.register_forward_hook(
            lambda module, _, output: functional.dropout(output, DROPOUT, module.training)
        )

    def _linear(self, module: nn.Linear):  # type: ignore[no-untyped-def]
        def forward(x: Tensor) -> Tensor:
            weight = module.weight
            if self.rounded and module.training:
                weight = weight + (round_to_int4(weight.detach()) - weight.detach())
            return functional.linear(x, weight)

        return forward


def learning_rate(step: int, plan: Plan) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    if step < plan.warmup:
        return plan.peak_rate * (step + 1) / plan.warmup
    done = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    return plan.peak_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def attention_mask(documents: Tensor) -> Tensor:
    """Who sees whom, `(rows, 1, length, length) bool`: the earlier tokens of the same document."""
    length = documents.shape[1]
    same = documents[:, :, None] == documents[:, None, :]
    return (same & torch.ones(length, length, dtype=torch.bool).tril())[:, None]


def loss_of(model: LlamaForCausalLM, rows: Rows) -> tuple[Tensor, float]:
    """Weighted cross-entropy of the assistant's tokens, and the share of right choices where answers part.

    Logits are computed for the positions that count alone.
    """
    tokens, weights = torch.from_numpy(rows.tokens), torch.from_numpy(rows.weights)[:, 1:]
    counted = weights > 0
    with torch.autocast("cpu", torch.bfloat16):
        mask = attention_mask(torch.from_numpy(rows.documents))
        hidden = model.model(input_ids=tokens, attention_mask=mask).last_hidden_state[:, :-1]
        logits = model.lm_head(hidden[counted]).float()
    targets, weights = tokens[:, 1:][counted], weights[counted]
    losses = functional.cross_entropy(logits, targets, reduction="none")
    choices = weights == DECISION_WEIGHT
    right = (logits.detach().argmax(-1) == targets)[choices].float().mean().item()
    return (losses * weights).sum() / weights.sum(), right


def optimiser_for(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """AdamW with weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.peak_rate, betas=(0.9, 0.98))


def train(model: LlamaForCausalLM, maker: DialogueMaker, plan: Plan, out: Path) -> None:
    """Run all steps; prints the loss and the running share of right choices.

    A checkpoint is saved every SAVE_EVERY steps, so that a broken run is not lost.
    """
    regulariser = Regulariser(model)
    optimiser = optimiser_for(model, plan)
    coin = random.Random(plan.seed)
    model.train()
    started, shown = time.monotonic(), 0.0
    for step, stage in enumerate(plan.stages()):
        maker.cut_rate = stage.cut_rate
        rows = maker.rows(stage.rows, stage.length, stage.turns)
        regulariser.rounded = coin.random() < stage.rounded
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, plan)
        loss, right = loss_of(model, rows)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        shown = 0.98 * shown + 0.02 * right
        if step % 50 == 0 or step == plan.steps - 1:
            print(
                f"step {step} loss {loss:.4f} choices {shown:.4f} seconds {time.monotonic() - started:.0f}", flush=True
            )
        if step % SAVE_EVERY == SAVE_EVERY - 1:
            model.save_pretrained(out)
    model.save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the Hugging Face checkpoint")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    plan = Plan(steps=arguments.steps)
    torch.manual_seed(plan.seed)
    torch.set_num_threads(arguments.threads)
    intents = load_intents()
    tokenizer = train_tokenizer(intents, plan.seed)
    save_tokenizer(tokenizer, arguments.out)
    model = build_model(tokenizer)
    print(f"parameters {model.num_parameters()} vocabulary {tokenizer.get_vocab_size()}", flush=True)
    train(model, DialogueMaker(intents, load_noise(), tokenizer, plan.seed), plan, arguments.out)


if __name__ == "__main__":
    main()
