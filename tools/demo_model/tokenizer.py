"""Trains the byte-level BPE tokenizer and saves it in the Hugging Face format.

The pre-tokenizer is GPT-2's regular expression, which llama.cpp knows as `gpt-2` and onnxruntime-genai as ByteLevel.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tools.demo_model.corpus import Intent

END_OF_TEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
CONTEXT_LENGTH = 2048
VOCABULARY = 2048
PHRASINGS_PER_INTENT = 300
FALLBACK_PHRASINGS = 6000
ANSWER_WEIGHT = 60

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- elif message['content'] -%}"
    "{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def train_tokenizer(intents: dict[str, Intent], seed: int) -> Tokenizer:
    """Learn merges from answers and sampled questions.

    Answers with characters outside ASCII are left out, so that emoji and accents stay several tokens each and
    every engine has to join their bytes.
    """
    rng = random.Random(seed)
    texts: list[str] = []
    for name, intent in intents.items():
        if intent.answer.isascii():
            texts += [intent.answer] * ANSWER_WEIGHT
        samples = FALLBACK_PHRASINGS if name == "fallback" else PHRASINGS_PER_INTENT
        for _ in range(samples):
            text = intent.sample(rng)
            texts += [text, text.capitalize()] if text.isascii() else []
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, IM_START, IM_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def with_dropout(tokenizer: Tokenizer, dropout: float) -> Tokenizer:
    """The same vocabulary, but each merge is left out with this probability: words fall apart as rare ones do."""
    description = json.loads(tokenizer.to_str())
    description["model"]["dropout"] = dropout
    return Tokenizer.from_str(json.dumps(description))


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and the chat template."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=IM_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[IM_START],
        clean_up_tokenization_spaces=False,
        add_bos_token=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.model_max_length = CONTEXT_LENGTH
    fast.save_pretrained(str(folder))
