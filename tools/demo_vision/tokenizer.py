"""Trains the byte-level BPE tokenizer of the vision model and saves it in the Hugging Face format.

A word of a description is one token; every other text falls apart into pieces or bytes, but can be read.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tools.demo_model.corpus import load_handwritten
from tools.demo_vision.requests import ANSWER_ABOUT_ITSELF, SYSTEM_MESSAGES, WORDINGS
from tools.demo_vision.scenes import COLOURS, KINDS, SIZES

END_OF_TEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"
VISION_PAD = "<|vision_pad|>"
IMAGE_PAD = "<|image_pad|>"
VIDEO_PAD = "<|video_pad|>"
SPECIAL = (END_OF_TEXT, IM_START, IM_END, VISION_START, VISION_END, VISION_PAD, IMAGE_PAD, VIDEO_PAD)
CONTEXT_LENGTH = 2048
VOCABULARY = 640
ANSWER_WEIGHT = 2000

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- elif message['content'] -%}"
    "{%- for part in message['content'] -%}"
    "{%- if part['type'] in ('image', 'image_url', 'input_image') -%}"
    "{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
    "{%- elif part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def train_tokenizer() -> Tokenizer:
    """Learn merges from the words of descriptions, the requests and a few thousand other questions."""
    words = [f" {word}" for word in ("and", "on", "a", "then", *SIZES, *COLOURS, *KINDS)]
    texts = ["".join(words)] * ANSWER_WEIGHT + [ANSWER_ABOUT_ITSELF] * ANSWER_WEIGHT
    texts += ["user\n", "assistant\n", "system\n"] * ANSWER_WEIGHT
    texts += [*WORDINGS, *SYSTEM_MESSAGES] * 40 + [text for text in load_handwritten() if text.isascii()]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and the chat template."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=IM_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[token for token in SPECIAL if token not in (END_OF_TEXT, IM_END)],
        clean_up_tokenization_spaces=False,
        add_bos_token=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.model_max_length = CONTEXT_LENGTH
    fast.save_pretrained(str(folder))
