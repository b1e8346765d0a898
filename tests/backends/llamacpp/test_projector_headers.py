"""Headers as converters write them for projectors of published models: every one of them passes."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import pytest
from support.tiny_gguf import FLOAT32, STRING, Tensor, entry, gguf, string, uint32

from backends.llamacpp.header import BOOL, Header, Value
from backends.llamacpp.projector import read_projector

QWEN2, QWEN25, QWEN3 = "qwen2vl_merger", "qwen2.5vl_merger", "qwen3vl_merger"
FLOAT16 = 1
TINY_EPSILON = b"\xbd\x37\x86\x35"


@dataclass(frozen=True)
class Published:
    """A projector's sizes. told is the inner width that its header says, inner that of its weights."""

    kind: str
    architecture: str
    text_width: int
    width: int
    layers: int
    told: int
    inner: int
    patch: int = 14
    merge: int | None = 2
    swapped: bool = False
    """True for a file of a converter that exchanged the feed-forward's names and wrote a placeholder for positions."""


PUBLISHED = {
    "Qwen2-VL 2B": Published(QWEN2, "qwen2vl", 1536, 1280, 32, 1536, 5120),
    "Qwen2-VL 7B": Published(QWEN2, "qwen2vl", 3584, 1280, 32, 3584, 5120),
    "Qwen2-VL 72B": Published(QWEN2, "qwen2vl", 8192, 1280, 32, 8192, 5120),
    "Qwen2-VL 2B of the older converter": Published(
        QWEN2, "qwen2vl", 1536, 1280, 32, 0, 5120, merge=None, swapped=True
    ),
    "Qwen2.5-VL 7B of an older converter": Published(
        QWEN25, "qwen2vl", 3584, 1280, 32, 0, 3420, merge=None, swapped=True
    ),
    "Qwen2.5-VL 7B": Published(QWEN25, "qwen2vl", 3584, 1280, 32, 3420, 3420),
    "Qwen2.5-VL 72B": Published(QWEN25, "qwen2vl", 8192, 1280, 32, 3456, 3456),
    "Qwen3-VL 4B": Published(QWEN3, "qwen3vl", 2560, 1024, 24, 4096, 4096, patch=16),
    "Qwen3-VL 30B-A3B": Published(QWEN3, "qwen3vlmoe", 2048, 1152, 27, 4304, 4304, patch=16),
    "Qwen3.5 9B": Published(QWEN3, "qwen35", 4096, 1152, 27, 4304, 4304, patch=16),
    "Qwen3.5 35B-A3B": Published(QWEN3, "qwen35moe", 2048, 1152, 27, 4304, 4304, patch=16),
}


def _entries(published: Published) -> list[bytes]:
    sizes = {
        "projection_dim": published.text_width,
        "image_size": 40 * published.patch,
        "patch_size": published.patch,
        "embedding_length": published.width,
        "feed_forward_length": published.told,
        "block_count": published.layers,
        "attention.head_count": 16,
        **({"spatial_merge_size": published.merge} if published.merge else {}),
    }
    return [
        entry("general.architecture", STRING, string("clip")),
        entry("clip.has_vision_encoder", BOOL, b"\1"),
        entry("clip.projector_type", STRING, string(published.kind)),
        entry("clip.vision.attention.layer_norm_epsilon", FLOAT32, TINY_EPSILON),
        *(uint32(f"clip.vision.{name}", size) for name, size in sizes.items()),
    ]


def _shapes(published: Published) -> dict[str, tuple[int, ...]]:
    width, merged, patch = published.width, 4 * published.width, published.patch
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (patch, patch, 3, width),
        "v.patch_embd.weight.1": (patch, patch, 3, width),
        "mm.0.weight": (merged, merged),
        "mm.0.bias": (merged,),
        "mm.2.weight": (merged, published.text_width),
        "mm.2.bias": (published.text_width,),
    }
    if published.swapped:
        shapes["v.position_embd.weight"] = (10, 10)
    for layer in range(published.layers):
        shapes |= {f"v.blk.{layer}.{name}": shape for name, shape in _layer(published).items()}
    return shapes


def _layer(published: Published) -> dict[str, tuple[int, ...]]:
    width, inner = published.width, published.inner
    up, down = ((inner, width), (width, inner)) if published.swapped else ((width, inner), (inner, width))
    together = published.kind == QWEN3
    parts = {"attn_qkv": 3 * width} if together else dict.fromkeys(("attn_q", "attn_k", "attn_v"), width)
    return {
        **{f"{part}.weight": (width, rows) for part, rows in parts.items()},
        **{f"{part}.bias": (rows,) for part, rows in parts.items()},
        "attn_out.weight": (width, width),
        "ln1.weight": (width,),
        "ln2.weight": (width,),
        "ffn_up.weight": up,
        "ffn_down.weight": down,
    }


def _write(path: Path, published: Published) -> None:
    """A file of the right length, with a hole where its weights belong."""
    tensors, place = [], 0
    for name, shape in _shapes(published).items():
        tensors.append(Tensor(name, shape, FLOAT16, place))
        place += -(-2 * prod(shape) // 32) * 32
    header = gguf(_entries(published), tensors, data=b"")
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + place)


@pytest.mark.parametrize("name", PUBLISHED)
def test_projectors_of_published_models_pass(name: str, tmp_path: Path) -> None:
    published = PUBLISHED[name]
    path = tmp_path / "mmproj.gguf"
    _write(path, published)
    architecture = published.architecture
    text: dict[str, Value] = {
        "general.architecture": architecture,
        f"{architecture}.embedding_length": published.text_width,
    }
    projector = read_projector(str(path), Header(tmp_path / "model.gguf", text, 2**30, 2**30))
    assert projector.layers == published.layers
    patches = 4096 * 4
    assert projector.needed_bytes(2**20) - projector.header.tensor_bytes > 8 * patches * published.inner
