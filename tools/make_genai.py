"""Makes an onnxruntime-genai folder with random weights: a Llama graph, a byte-level tokenizer, a chat template.

    python -m tools.make_genai tiny OUT        2 layers, fp32, for tests (0.6 MB)
    python -m tools.make_genai bench OUT       20 million parameters, int4, for benchmarks

Needs numpy and onnx. The graph is that of `llama_graph.py` with GroupQueryAttention. The weights come from a fixed
seed, so a preset is the same everywhere.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from tools.llama_graph import SHAPES, Form, Shape, build_model

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("Ġ t", "h e", "Ġt he", "i n", "e r", "Ġ a", "o n", "r e", "Ġ s", "a n", "o r", "Ġ w", "e n", "l l")
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PRESETS = SHAPES


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable character for each byte (openai/gpt-2, `encoder.py`, bytes_to_unicode)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(others)}


def tokenizer_json(vocab_size: int, special_tokens: Sequence[str] = SPECIAL_TOKENS) -> dict[str, Any]:
    """A byte-level BPE tokenizer in the format of Hugging Face's `tokenizers`, filled up to `vocab_size`."""
    words = [*special_tokens, *byte_alphabet().values(), *(merge.replace(" ", "") for merge in MERGES)]
    words += [f"<unused{index}>" for index in range(vocab_size - len(words))]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, "content": token, **added} for index, token in enumerate(special_tokens)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {word: index for index, word in enumerate(words)},
            "merges": list(MERGES),
        },
    }


def tokenizer_config() -> dict[str, Any]:
    """What genai and we read beside tokenizer.json: the special tokens and the chat template."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def genai_config(shape: Shape) -> dict[str, Any]:
    """The `genai_config.json` of genai's model builder for a Llama model on CPU."""
    names = ("past_key_values.%d.key", "past_key_values.%d.value")
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": shape.head_size,
        "hidden_size": shape.hidden,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": names[0],
            "past_value_names": names[1],
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
    }
    model = {
        "bos_token_id": 0,
        "context_length": shape.context,
        "decoder": decoder,
        "eos_token_id": [2, 0],
        "pad_token_id": 0,
        "type": "llama",
        "vocab_size": shape.vocab,
    }
    search = {
        "do_sample": False,
        "max_length": shape.context,
        "num_beams": 1,
        "past_present_share_buffer": shape.share_buffer,
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
    }
    return {"model": model, "search": search}


def write_folder(folder: Path, shape: Shape) -> None:
    """Write the whole folder, weights in `model.onnx.data`, the config last: where it is, the folder is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx.data").unlink(missing_ok=True)
    model = build_model(shape, Form(four_bit=shape.int4))
    onnx.save(model, str(folder / "model.onnx"), save_as_external_data=True, location="model.onnx.data")
    files = {
        "tokenizer.json": tokenizer_json(shape.vocab),
        "tokenizer_config.json": tokenizer_config(),
        "genai_config.json": genai_config(shape),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def cached_folder(preset: str, cache: Path) -> Path:
    """A preset's folder below `cache`, made at the first call."""
    folder = cache / f"genai-{preset}"
    if not (folder / "genai_config.json").is_file():
        write_folder(folder, PRESETS[preset])
    return folder


def main() -> None:
    """Write the preset that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=sorted(PRESETS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_folder(arguments.folder, replace(PRESETS[arguments.preset], seed=arguments.seed))
    size = sum(file.stat().st_size for file in arguments.folder.iterdir())
    print(f"{arguments.folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
