"""Qwen2-VL in plain PyTorch, for training: the parameters of transformers' model under the names of its checkpoints.

Pictures of one batch have one size, so that the vision part works on all of them at once. A still picture is two equal
frames to Qwen2-VL; here the two kernels of the patch embedding are one, and `checkpoint` splits it in halves.
Source of the arithmetic: transformers 5.23.0, models/qwen2_vl/modeling_qwen2_vl.py; `compare` holds it against theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.demo_vision.patches import FRAMES, MERGE, PATCH

EPS = 1e-6
VISION_THETA = 10000.0
# Small, so that the slow frequencies, which M-RoPE gives to the columns of a picture, still tell columns apart.
TEXT_THETA = 100.0


@dataclass(frozen=True)
class Shape:
    """Sizes of the network: `vision` for the picture's part, the rest for the language model."""

    vocabulary: int
    vision_width: int = 128
    vision_depth: int = 4
    vision_heads: int = 4
    vision_ratio: int = 3
    width: int = 192
    depth: int = 3
    heads: int = 6
    kv_heads: int = 2
    inner: int = 384
    sections: tuple[int, int, int] = (4, 6, 6)

    @property
    def head_width(self) -> int:
        """Width of a head of the language model; twice the sum of `sections`."""
        return self.width // self.heads


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary embedding of `x` `(..., heads, length, head width)` by `angles` `(..., 1, length, head width / 2)`."""
    low, high = x.chunk(2, -1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], -1)


def attend(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Softmax attention; where `hidden` is true nothing is seen. On a processor PyTorch's own is slow backwards."""
    scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    if hidden is not None:
        scores = scores.masked_fill(hidden, float("-inf"))
    return scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v


def vision_angles(rows: int, columns: int, head_width: int) -> Tensor:
    """Angles of a grid of patches `(rows * columns, head_width / 2)`, in the order of the merger: 2 x 2 blocks."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    frequencies = VISION_THETA ** -(torch.arange(0, head_width // 2, 2) / (head_width // 2))
    ordered = [
        axis.reshape(rows // MERGE, MERGE, columns // MERGE, MERGE).transpose(1, 2).reshape(-1, 1)
        for axis in (row, column)
    ]
    return torch.cat([axis * frequencies for axis in ordered], -1)


class VisionAttention(nn.Module):
    """Every patch of a picture sees every other."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.vision_heads
        self.qkv = nn.Linear(shape.vision_width, 3 * shape.vision_width)
        self.proj = nn.Linear(shape.vision_width, shape.vision_width)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        pictures, length, width = x.shape
        q, k, v = self.qkv(x).view(pictures, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = attend(rotate(q, angles), rotate(k, angles), v)
        return self.proj(mixed.transpose(1, 2).reshape(pictures, length, width))  # type: ignore[no-any-return]


class VisionMlp(nn.Module):
    """Two layers with the quick form of GELU between."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.fc1 = nn.Linear(shape.vision_width, shape.vision_ratio * shape.vision_width)
        self.fc2 = nn.Linear(shape.vision_ratio * shape.vision_width, shape.vision_width)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.fc1(x)
        return self.fc2(inner * torch.sigmoid(1.702 * inner))  # type: ignore[no-any-return]


class VisionBlock(nn.Module):
    """A layer of the vision part."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.vision_width, eps=EPS)
        self.norm2 = nn.LayerNorm(shape.vision_width, eps=EPS)
        self.attn = VisionAttention(shape)
        self.mlp = VisionMlp(shape)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), angles)
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class PatchEmbedding(nn.Module):
    """From the pixels of a patch to a vector."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.proj = nn.Linear(3 * PATCH * PATCH, shape.vision_width, bias=False)

    def forward(self, patches: Tensor) -> Tensor:
        return self.proj(patches)  # type: ignore[no-any-return]


class Merger(nn.Module):
    """From four patches to one token of the language model."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.inner = MERGE * MERGE * shape.vision_width
        self.ln_q = nn.LayerNorm(shape.vision_width, eps=EPS)
        self.mlp = nn.Sequential(nn.Linear(self.inner, self.inner), nn.GELU(), nn.Linear(self.inner, shape.width))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.ln_q(x).reshape(x.shape[0], -1, self.inner))  # type: ignore[no-any-return]


class Vision(nn.Module):
    """The vision part: pictures of one size to tokens."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._head_width = shape.vision_width // shape.vision_heads
        self.patch_embed = PatchEmbedding(shape)
        self.blocks = nn.ModuleList(VisionBlock(shape) for _ in range(shape.vision_depth))
        self.merger = Merger(shape)

    def forward(self, patches: Tensor, rows: int, columns: int) -> Tensor:
        """`patches` `(pictures, rows * columns, 588)` in the merger's order to `(pictures, cells, width)`."""
        angles = vision_angles(rows, columns, self._head_width)[None, None]
        x = self.patch_embed(patches)
        for block in self.blocks:
            x = block(x, angles)
        return self.merger(x)  # type: ignore[no-any-return]


class RmsNorm(nn.Module):
    """RMS normalisation with a gain."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), EPS)


class Attention(nn.Module):
    """Causal attention with fewer keys and values than queries."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        kv_width = shape.kv_heads * shape.head_width
        self._head_width = shape.head_width
        self._sharing = shape.heads // shape.kv_heads
        self.q_proj = nn.Linear(shape.width, shape.width)
        self.k_proj = nn.Linear(shape.width, kv_width)
        self.v_proj = nn.Linear(shape.width, kv_width)
        self.o_proj = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        rows, length, width = x.shape
        q, k, v = (
            part(x).view(rows, length, -1, self._head_width).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        k, v = (part.repeat_interleave(self._sharing, 1) for part in (rotate(k, angles), v))
        mixed = attend(rotate(q, angles), k, v, future)
        return self.o_proj(mixed.transpose(1, 2).reshape(rows, length, width))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.down_proj = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """A layer of the language model."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(shape.width)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RmsNorm(shape.width)
        self.mlp = Mlp(shape)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), angles)
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


class Language(nn.Module):
    """The language model, from vectors to hidden states."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._sections = shape.sections
        half = shape.head_width // 2
        frequencies = TEXT_THETA ** -(torch.arange(half) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.depth))
        self.norm = RmsNorm(shape.width)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """`x` `(rows, length, width)`, `positions` `(3, rows, length)`: time, height, width."""
        parts = (positions[..., None] * self.frequencies).split(self._sections, -1)
        angles = torch.cat([part[axis] for axis, part in enumerate(parts)], -1)[:, None]
        for layer in self.layers:
            x = layer(x, angles)
        return self.norm(x)  # type: ignore[no-any-return]


class VisionLanguageModel(nn.Module):
    """The whole network, with tied embeddings."""

    def __init__(self, shape: Shape, image_token: int) -> None:
        super().__init__()
        self.shape = shape
        self.image_token = image_token
        self.visual = Vision(shape)
        self.model = Language(shape)

    def forward(self, tokens: Tensor, positions: Tensor, features: Tensor) -> Tensor:
        """Hidden states `(rows, length, width)`; `features` `(image tokens, width)` stand in for them in order."""
        x = self.model.embed_tokens(tokens)
        where = (tokens == self.image_token).unsqueeze(-1).expand_as(x)
        x = x.masked_scatter(where, features.to(x.dtype))
        return self.model(x, positions)  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of hidden states, over the vocabulary."""
        return functional.linear(hidden, self.model.embed_tokens.weight)

    def checkpoint(self) -> dict[str, Tensor]:
        """The tensors as a Hugging Face checkpoint of Qwen2-VL has them."""
        tensors = {name: tensor.detach().float().contiguous() for name, tensor in self.state_dict().items()}
        kernel = tensors.pop("visual.patch_embed.proj.weight")
        still = kernel.view(-1, 3, 1, PATCH, PATCH) / FRAMES
        tensors["visual.patch_embed.proj.weight"] = still.repeat(1, 1, FRAMES, 1, 1).contiguous()
        return tensors
