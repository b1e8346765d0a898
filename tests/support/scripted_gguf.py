"""A GGUF model that gives one known answer, token by token: a real engine's answer that a test can foresee.

Each token of the answer is there once, its embedding random and its output row the embedding of the token before it;
attention and feed-forward write zeros. So greedy sampling goes along the answer, from the line break that ends the
prompt to the end of the turn.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

from tools.make_genai import byte_alphabet

WIDTH, CONTEXT = 256, 2048
BEGIN, START, END = SPECIALS = ("<|begin|>", "<|im_start|>", "<|im_end|>")

CHATML_TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"
    "For a call write <tool_call>{...}</tool_call><|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>\n{{ call.function | tojson }}\n</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML that tells of tools as Qwen's template does."""

THINKING = CHATML_TOOLS.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}")
THINKING = "{# </think> #}" + THINKING
"""The same, and the prompt begins the reasoning."""

SWITCHED = CHATML_TOOLS.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
    "{% else %}<think>\n{% endif %}{% endif %}",
)
"""The same, and it ends the reasoning at once where it is switched off, as Qwen3's template does."""


def write_scripted(path: Path, answer: str, template: str = CHATML_TOOLS, control: Sequence[str] = ()) -> Path:
    """Write a model that gives `answer`; what of it is in `control` is a control token, as llama.cpp has them."""
    alphabet = byte_alphabet()
    script = list(_pieces(answer, control))
    spelled = [piece if piece in control else "".join(alphabet[byte] for byte in piece.encode()) for piece in script]
    unsaid = [mark for mark in control if mark not in script]
    tokens = [*SPECIALS, *(alphabet[byte] for byte in range(256)), *unsaid, *spelled]
    assert len(set(tokens)) == len(tokens), "a piece of the answer is there twice"
    writer = GGUFWriter(path, "llama")
    _add_header(writer, tokens, template, control)
    chain = [tokens.index(alphabet[ord("\n")]), *map(tokens.index, spelled), tokens.index(END)]
    _add_weights(writer, len(tokens), chain)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _pieces(answer: str, control: Sequence[str]) -> Iterator[str]:
    """An answer in pieces of which none comes twice: control tokens whole, the rest by two characters or more."""
    seen: set[str] = set()
    parts = re.split("|".join(f"({re.escape(mark)})" for mark in control), answer) if control else [answer]
    for part in filter(None, parts):
        if part in control:
            yield part
            continue
        start = 0
        while start < len(part):
            end = start + 2
            while part[start:end] in seen or len(part) - end == 1:
                end += 1
            seen.add(part[start:end])
            yield part[start:end]
            start = end


def _add_header(writer: GGUFWriter, tokens: list[str], template: str, control: Sequence[str]) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // 4)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    special = {*SPECIALS, *control}
    writer.add_token_types([TokenType.CONTROL if token in special else TokenType.NORMAL for token in tokens])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(tokens.index(BEGIN))
    writer.add_eos_token_id(tokens.index(END))
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)


def _add_weights(writer: GGUFWriter, size: int, chain: list[int]) -> None:
    random = np.random.default_rng(7)
    embedding = random.standard_normal((size, WIDTH)).astype(np.float32)
    output = np.zeros((size, WIDTH), np.float32)
    output[chain[1:]] = embedding[chain[:-1]]
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(WIDTH, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((WIDTH, WIDTH), np.float32))
    for name, rows, columns in (("ffn_gate", 32, WIDTH), ("ffn_up", 32, WIDTH), ("ffn_down", WIDTH, 32)):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((rows, columns), np.float32))
