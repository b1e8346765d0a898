"""Writes a Llama-architecture GGUF with seeded random weights: small ones for tests, a larger one for benchmarks.

    python tools/make_gguf.py OUT.gguf --preset bench [--emit bytes] [--seed 7]

The vocabulary is byte-level BPE (GPT-2's alphabet) with a beginning, a turn's start and a turn's end. The weights are
random, but the output rows of tokens that are not to be emitted are zero, so that the text is plain ASCII (`--emit
ascii`) or single bytes of multi-byte characters (`--emit bytes`), and the model never ends a turn by itself.
"""

import argparse
import re
from dataclasses import dataclass, replace
from itertools import chain, islice, product
from pathlib import Path
from string import ascii_lowercase
from typing import Literal

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize
from numpy.typing import NDArray

SPECIALS = ("<|begin|>", "<|im_start|>", "<|im_end|>")
_OUTPUT_SCALE = 4.0
"""Standard deviation of the emitted tokens' output rows times sqrt(width): the others' logits are 0, far below."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's sizes: widths in values, vocabulary, context and window (gemma3's; 0: none) in tokens.

    halves is an expression for the whole names of the weights that are F16; biased gives attention its biases, of zero,
    turned a table of factors for its rotary positions, of one.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    context: int
    quantized: bool = False
    emit: Literal["ascii", "bytes"] = "ascii"
    seed: int = 7
    template: str | None = CHATML
    add_bos: bool = True
    architecture: Literal["llama", "qwen2vl", "gemma3"] = "llama"
    specials: tuple[str, ...] = SPECIALS
    window: int = 0
    halves: str = ""
    biased: bool = False
    turned: bool = False

    @property
    def parameters(self) -> int:
        """The number of weights."""
        head = self.width // self.heads
        attention = 2 * self.width * self.width + 2 * self.width * head * self.kv_heads
        layer = attention + 3 * self.width * self.feed_forward + 2 * self.width
        return self.layers * layer + 2 * self.vocabulary * self.width + self.width


PRESETS = {
    "tiny": Shape(vocabulary=320, width=64, layers=2, heads=4, kv_heads=2, feed_forward=96, context=2048),
    "bench": Shape(
        vocabulary=8192, width=384, layers=8, heads=6, kv_heads=6, feed_forward=1024, context=4096, quantized=True
    ),
}


def write_model(path: Path, shape: Shape) -> None:
    """Write the model of a shape to `path`; the same shape gives the same bytes."""
    tokens, merges = _vocabulary(shape.vocabulary, shape.specials)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, shape.architecture)
    _add_header(writer, shape)
    _add_tokenizer(writer, shape, tokens, merges)
    for name, weights in _tensors(shape, tokens).items():
        half = re.fullmatch(shape.halves, name) is not None
        _add_tensor(writer, name, weights.astype(np.float16) if half else weights, shape.quantized and not half)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_header(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_name("random weights")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_vocab_size(shape.vocabulary)
    if shape.window:
        writer.add_sliding_window(shape.window)
    if shape.architecture == "qwen2vl":
        half = shape.width // shape.heads // 2
        writer.add_rope_dimension_sections([half - 2 * (half // 3), half // 3, half // 3, 0])


def _add_tokenizer(writer: GGUFWriter, shape: Shape, tokens: list[str], merges: list[str]) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token in shape.specials else TokenType.NORMAL for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokens.index(shape.specials[0]))
    writer.add_eos_token_id(tokens.index(shape.specials[2]))
    writer.add_add_bos_token(shape.add_bos)
    if shape.template is not None:
        writer.add_chat_template(shape.template)


def _add_tensor(writer: GGUFWriter, name: str, weights: Weights | NDArray[np.float16], quantized: bool) -> None:
    if quantized and weights.ndim == 2:
        kind = GGMLQuantizationType.Q8_0
        writer.add_tensor(name, quantize(weights, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, weights)


def _vocabulary(size: int, specials: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The tokens - specials, bytes, then merged syllables, with and without a space before - and the merges."""
    space = _BYTE_CHARACTERS[ord(" ")]
    pairs = ((a, b) for a, b in product(ascii_lowercase, repeat=2))
    spaced = ((space, a + b) for a, b in product(ascii_lowercase, repeat=2))
    triples = ((a + b, c) for a, b, c in product(ascii_lowercase, repeat=3))
    room = size - len(specials) - len(_BYTE_CHARACTERS)
    chosen = list(islice(chain(pairs, spaced, triples), room))
    if len(chosen) < room:
        raise ValueError(f"a vocabulary has at most {size - room + len(chosen)} tokens")
    tokens = [*specials, *_BYTE_CHARACTERS, *(left + right for left, right in chosen)]
    return tokens, [f"{left} {right}" for left, right in chosen]


def _byte_characters() -> list[str]:
    """GPT-2's printable character for each byte (openai/gpt-2, `encoder.py`, `bytes_to_unicode`)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = (chr(256 + place) for place in range(256 - len(printable)))
    return [chr(byte) if byte in printable else next(others) for byte in range(256)]


_BYTE_CHARACTERS = _byte_characters()


def _tensors(shape: Shape, tokens: list[str]) -> dict[str, Weights]:
    random = np.random.default_rng(shape.seed)

    def matrix(rows: int, columns: int, scale: float = 1.0) -> Weights:
        values = random.standard_normal((rows, columns), np.float32)
        return values * np.float32(scale / columns**0.5)

    kv_width = shape.width // shape.heads * shape.kv_heads
    emitted = np.array([[_is_emitted(token, shape)] for token in tokens], np.float32)
    tensors = {
        "token_embd.weight": matrix(shape.vocabulary, shape.width, shape.width**0.5),
        "output.weight": matrix(shape.vocabulary, shape.width, _OUTPUT_SCALE) * emitted,
        "output_norm.weight": np.ones(shape.width, np.float32),
    }
    if shape.turned:
        tensors["rope_freqs.weight"] = np.ones(shape.width // shape.heads // 2, np.float32)
    for layer in range(shape.layers):
        name = f"blk.{layer}."
        if shape.architecture == "gemma3":
            tensors |= _gemma_norms(name, shape)
        if shape.biased:
            widths = {"q": shape.width, "k": kv_width, "v": kv_width, "output": shape.width}
            tensors |= {f"{name}attn_{part}.bias": np.zeros(size, np.float32) for part, size in widths.items()}
        tensors |= {
            name + "attn_norm.weight": np.ones(shape.width, np.float32),
            name + "attn_q.weight": matrix(shape.width, shape.width),
            name + "attn_k.weight": matrix(kv_width, shape.width),
            name + "attn_v.weight": matrix(kv_width, shape.width),
            name + "attn_output.weight": matrix(shape.width, shape.width),
            name + "ffn_norm.weight": np.ones(shape.width, np.float32),
            name + "ffn_gate.weight": matrix(shape.feed_forward, shape.width),
            name + "ffn_up.weight": matrix(shape.feed_forward, shape.width),
            name + "ffn_down.weight": matrix(shape.width, shape.feed_forward),
        }
    return tensors


def _gemma_norms(name: str, shape: Shape) -> dict[str, Weights]:
    head, width = (np.ones(size, np.float32) for size in (shape.width // shape.heads, shape.width))
    return {
        name + "attn_q_norm.weight": head,
        name + "attn_k_norm.weight": head,
        name + "post_attention_norm.weight": width,
        name + "post_ffw_norm.weight": width,
    }


def _is_emitted(token: str, shape: Shape) -> bool:
    if token in shape.specials:
        return False
    text = bytes(_BYTE_CHARACTERS.index(character) for character in token)
    if shape.emit == "bytes":
        return len(text) == 1 and text[0] >= 0x80
    return text.decode("latin-1").isascii() and text.decode("latin-1").isprintable()


def main() -> None:
    """Write the model that the command line asks for."""
    parser = argparse.ArgumentParser(description="Write a GGUF with seeded random weights.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--emit", choices=("ascii", "bytes"), default="ascii")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    shape = replace(PRESETS[arguments.preset], emit=arguments.emit, seed=arguments.seed)
    write_model(arguments.out, shape)
    print(f"{arguments.out}: {shape.parameters / 1e6:.1f} million parameters, {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
