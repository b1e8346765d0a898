"""The exported files: small enough, free of this machine's paths, and the same greedy text by both engines."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tools.demo_model.corpus import FALLBACK, load_held_out, load_intents
from tools.demo_model.engines import (
    GGUF_FILE,
    ONNX_FOLDER,
    TRANSFORMERSJS_FOLDER,
    GenaiEngine,
    LlamaCppEngine,
)

MOST_BYTES = 8_000_000
TRAINED_QUESTIONS = (
    "hello",
    "what is the native host",
    "how do i install it",
    "how do i load a model",
    "how do i stop a generation",
    "which browsers are supported",
    "forbidden",
    "do you speak french",
    "count to ten",
    "count to 100",
    "tell me a joke",
    "tell me a story",
    "explain everything",
    "what is the capital of france",
)
TEXTS = (
    "",
    " ",
    "\n\n  \t x",
    "don't we'll I've 'S they're",
    "Grüß dich, ça va? ¿Qué tal? naïve façade",
    "你好，世界。こんにちは 안녕하세요 Привет мир",
    "👋🙂👩‍👩‍👧‍👦🇩🇪 emoji",
    "1234567890 3.14 1,000 x86_64 v0.1.0",
    '{"action": "load", "model": "path/to/file.gguf"}',
    "a_b-c/d\\e|f<g>h [i] (j) {k} #l @m $n %o ^p &q *r",
    "    four spaces, then\ttab, then\r\nCRLF ",
    "\u00a0non-breaking\u2003em space\u200bzero width",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
)


@pytest.fixture(scope="module")
def llama() -> Iterator[LlamaCppEngine]:
    engine = LlamaCppEngine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def genai() -> GenaiEngine:
    return GenaiEngine()


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def prompts() -> list[list[dict[str, Any]]]:
    """Trained and held-out questions, alone, behind a system message and after another turn."""
    held_out = load_held_out()[::15]
    answers = {name: intent.answer for name, intent in load_intents().items()}
    alone = [[user(text)] for text in TRAINED_QUESTIONS] + [[user(item.question)] for item in held_out]
    systems = [[{"role": "system", "content": "Be brief."}, user(item.question)] for item in held_out[:6]]
    turns = [
        [user(first.question), {"role": "assistant", "content": answers[first.intent]}, user(second.question)]
        for first, second in zip(held_out[:6], held_out[6:12], strict=True)
    ]
    return alone + systems + turns


def test_each_format_is_under_eight_megabytes() -> None:
    assert GGUF_FILE.stat().st_size < MOST_BYTES
    for folder in (ONNX_FOLDER, TRANSFORMERSJS_FOLDER):
        assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < MOST_BYTES


def test_no_file_names_a_place_on_the_machine_that_made_it() -> None:
    folders = [*ONNX_FOLDER.rglob("*"), *TRANSFORMERSJS_FOLDER.rglob("*")]
    for file in [GGUF_FILE, *(file for file in folders if file.is_file())]:
        content = file.read_bytes()
        for place in (b"/tmp/", b"/home/", b"/work/", b"/root/", b"/Users/"):
            assert place not in content, f"{file.name} holds {place!r}"


def test_the_genai_folder_shares_its_cache_buffer_and_knows_the_context_length() -> None:
    config = json.loads((ONNX_FOLDER / "genai_config.json").read_text("utf-8"))
    assert config["search"]["past_present_share_buffer"] is True
    assert config["model"]["context_length"] == config["search"]["max_length"] == 2048


def test_the_transformersjs_folder_has_the_genai_folder_s_tokenizer_and_template() -> None:
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (TRANSFORMERSJS_FOLDER / name).read_bytes() == (ONNX_FOLDER / name).read_bytes()


def test_both_engines_cut_every_text_into_the_same_tokens(llama: LlamaCppEngine, genai: GenaiEngine) -> None:
    rng = random.Random(5)
    letters = "aeiou tnrs ÄßéΩЖ中日👋🙂'’\"\n\t.,;:!?0123456789-_/<>|"
    noise = ["".join(rng.choices(letters, k=rng.randrange(1, 60))) for _ in range(300)]
    questions = [item.question for item in load_held_out()]
    for text in (*TEXTS, *noise, *questions):
        assert llama.encode(text) == genai.encode(text), repr(text)


def test_both_templates_render_the_same_prompt_for_every_role_and_for_parts(
    llama: LlamaCppEngine, genai: GenaiEngine
) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "  what "}, {"type": "text", "text": "now?\n"}]},
        {"role": "assistant", "content": "Grüß dich 👋"},
        {"role": "tool", "content": '{"a": "<|x|>"}'},
        {"role": "user", "content": ""},
    ]
    assert (
        llama.prompt(messages)
        == genai.prompt(messages)
        == (
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n  what now?\n<|im_end|>\n"
            "<|im_start|>assistant\nGrüß dich 👋<|im_end|>\n"
            '<|im_start|>tool\n{"a": "<|x|>"}<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n'
        )
    )


def test_both_engines_give_the_same_greedy_text(llama: LlamaCppEngine, genai: GenaiEngine) -> None:
    asked = prompts()
    assert len(asked) >= 20
    for messages in asked:
        assert llama.answer(messages) == genai.answer(messages), messages[-1]["content"]


def test_trained_questions_get_their_canonical_answers(llama: LlamaCppEngine) -> None:
    intents = load_intents()
    expected = {
        "hello": "hello",
        "how do i load a model": "load_model",
        "how do i stop a generation": "stop",
        "do you speak french": "languages",
        "count to 100": "count_hundred",
        "tell me a story": "story",
        "what is the capital of france": FALLBACK,
    }
    for question, intent in expected.items():
        assert llama.answer([user(question)]) == intents[intent].answer
