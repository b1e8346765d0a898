"""Trains the demo model: `python -m tools.demo_model.train --out build/demo_model/hf`.

PyTorch on the processor, seeded, bfloat16 matrix products. The later stages see weights rounded to 4 bits and
the saved ones are rounded, so that the int4 file and the Q8_0 file hold the same network.
"""

from __future__ import annotations

import argparse
import functools
import itertools
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
    """A part of the training: its share of the steps, what the rows are like, and how often weights are rounded."""

    share: float
    turns: tuple[int, ...]
    cut_rate: float
    length: int
    rounded: float = 0.0
    long_rate: float = 0.0


# Single questions first, for meaning; then conversations; at last some histories as long as the context.
STAGES = (
    Stage(share=0.45, turns=(1,), cut_rate=0.7, length=128),
    Stage(share=0.4, turns=(1, 1, 1, 1, 2, 3), cut_rate=0.5, length=256, rounded=0.5),
    Stage(share=0.15, turns=(1, 1, 1, 2, 4), cut_rate=0.4, length=512, rounded=1.0, long_rate=0.12),
)
TOKENS_PER_STEP = 4096
LONG_TURNS = (60,)


@dataclass(frozen=True)
class Plan:
    """How long and how hard to train."""

    steps: int
    matrix_rate: float = 0.02
    other_rate: float = 3e-3
    warmup: int = 60
    seed: int = 7

    def stages(self) -> Iterator[Stage]:
        """The stage of each step."""
        for stage in STAGES:
            yield from itertools.repeat(stage, round(self.steps * stage.share))

    def rate(self, step: int) -> float:
        """The learning rate over its peak: a linear warm-up, then a linear way down to nothing."""
        return min((step + 1) / self.warmup, (self.steps - step) / (self.steps - self.warmup), 1.0)


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
        self._model = model
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.forward = functools.partial(self._multiply, module)  # type: ignore[method-assign]
        embedding = model.model.embed_tokens
        embedding.forward = functools.partial(self._look_up, embedding)  # type: ignore[method-assign]
        for layer in model.model.layers:
            for part in (layer.mlp.down_proj, layer.self_attn.o_proj):
                part.register_forward_hook(
                    lambda module, _, output: functional.dropout(output, DROPOUT, module.training)
                )

    def weight_of(self, module: nn.Module) -> Tensor:
        """The weight in use; the gradient passes through the rounding unchanged."""
        weight: Tensor = module.weight
        return weight + (round_to_int4(weight.detach()) - weight.detach()) if self.rounded else weight

    def _multiply(self, module: nn.Linear, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight_of(module))

    def _look_up(self, module: nn.Embedding, tokens: Tensor) -> Tensor:
        return functional.dropout(functional.embedding(tokens, self.weight_of(module)), DROPOUT, module.training)

    @torch.no_grad()
    def settle(self) -> None:
        """Round the weights for good: both exported files then hold the same network."""
        for parameter in self._model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(round_to_int4(parameter))


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


class Optimiser:
    """Muon for the matrices inside the layers, AdamW for the embedding and the norms."""

    def __init__(self, model: LlamaForCausalLM, plan: Plan) -> None:
        inner = [p for p in model.model.layers.parameters() if p.dim() > 1]
        norms = [p for p in model.parameters() if p.dim() == 1]
        embedding = {"params": list(model.model.embed_tokens.parameters()), "weight_decay": 0.05}
        self._plan = plan
        self._parts: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.Muon(inner, lr=plan.matrix_rate, weight_decay=0.1), plan.matrix_rate),
            (
                torch.optim.AdamW(
                    [embedding, {"params": norms, "weight_decay": 0.0}], lr=plan.other_rate, betas=(0.9, 0.98)
                ),
                plan.other_rate,
            ),
        ]

    def step(self, step: int) -> None:
        """Apply the gradients at the learning rate of this step, and clear them."""
        for part, peak in self._parts:
            for group in part.param_groups:
                group["lr"] = peak * self._plan.rate(step)
            part.step()
            part.zero_grad(set_to_none=True)


def rows_for(maker: DialogueMaker, stage: Stage, coin: random.Random) -> Rows:
    """Fresh rows for one step."""
    maker.cut_rate = stage.cut_rate
    if coin.random() < stage.long_rate:
        return maker.rows(TOKENS_PER_STEP // CONTEXT_LENGTH, CONTEXT_LENGTH, LONG_TURNS)
    return maker.rows(TOKENS_PER_STEP // stage.length, stage.length, stage.turns)


def train(model: LlamaForCausalLM, maker: DialogueMaker, plan: Plan, out: Path) -> None:
    """Run all steps; prints the loss and the running share of right choices.

    A checkpoint is saved every SAVE_EVERY steps, so that a broken run is not lost.
    """
    regulariser = Regulariser(model)
    optimiser = Optimiser(model, plan)
    coin = random.Random(plan.seed)
    model.train()
    started, shown = time.monotonic(), 0.0
    for step, stage in enumerate(plan.stages()):
        rows = rows_for(maker, stage, coin)
        regulariser.rounded = coin.random() < stage.rounded
        loss, right = loss_of(model, rows)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step(step)
        shown = 0.98 * shown + 0.02 * right
        if step % 50 == 0 or step == plan.steps - 1:
            print(
                f"step {step} loss {loss:.4f} choices {shown:.4f} seconds {time.monotonic() - started:.0f}", flush=True
            )
        if step % SAVE_EVERY == SAVE_EVERY - 1:
            model.save_pretrained(out)
    regulariser.settle()
    model.save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the Hugging Face checkpoint")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=1, help="more are hardly faster on so small a model")
    arguments = parser.parse_args()
    plan = Plan(arguments.steps)
    torch.manual_seed(plan.seed)
    torch.set_num_threads(arguments.threads)
    intents = load_intents()
    tokenizer = train_tokenizer(intents, plan.seed)
    model = build_model(tokenizer)
    save_tokenizer(tokenizer, arguments.out)
    print(f"parameters {model.num_parameters()} vocabulary {tokenizer.get_vocab_size()}", flush=True)
    train(model, DialogueMaker(intents, load_noise(), tokenizer, plan.seed), plan, arguments.out)


if __name__ == "__main__":
    main()
