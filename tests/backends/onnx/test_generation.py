"""One generation with the real engine: its text, its counts and its ends."""

import json
from pathlib import Path
from typing import Any

import onnxruntime_genai as og
import pytest
from support.tiny_genai import load, request, run

from backends.base import CancelToken, TokenChunk
from backends.onnx.backend import OnnxBackend
from messages.content import Message, PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import FinishReason
from messages.options import RegexFormat
from tools.make_genai import byte_alphabet

PROMPTS = ["Hello there", "the the the", "ünï 😀 \n\t", "a"]


def bare_loop(folder: Path, prompt: str, tokens: int) -> bytes:
    """What genai's own greedy loop gives, as bytes (its own detokenizer loses text after bytes that are not UTF-8)."""
    model = og.Model(str(folder))
    tokenizer = og.Tokenizer(model)
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=512, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(tokenizer.encode(prompt))
    output: list[int] = []
    while not generator.is_done() and len(output) < tokens:
        generator.generate_next_token()
        output.append(int(generator.get_next_tokens()[0]))
    return token_bytes(folder, output)


def token_bytes(folder: Path, tokens: list[int]) -> bytes:
    """The bytes of tokens, special ones left out; so is 0xFF, which no UTF-8 has and llguidance uses as a mark."""
    words = {
        index: word for word, index in json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"].items()
    }
    bytes_of = {character: byte for byte, character in byte_alphabet().items()}
    written = b"".join(bytes(bytes_of[character] for character in words[token]) for token in tokens if token > 2)
    return written.replace(b"\xff", b"")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_text_is_that_of_the_bare_engine(backend: OnnxBackend, folder: Path, prompt: str) -> None:
    expected = bare_loop(folder, prompt, 60).decode("utf-8", "replace")
    assert run(backend, prompt, max_tokens=60).text == expected


def test_a_seed_gives_the_same_text_again_and_another_seed_another_text(tiny: OnnxBackend) -> None:
    texts = [run(tiny, "Hello", temperature=1.0, seed=seed).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_without_a_seed_each_text_is_another(tiny: OnnxBackend) -> None:
    assert len({run(tiny, "Hello", temperature=1.5, top_k=0, top_p=1.0).text for _ in range(4)}) > 1


@pytest.mark.parametrize(
    "setting",
    [{"repeat_penalty": 1.8}, {"presence_penalty": 2.0}, {"frequency_penalty": 2.0}],
    ids=lambda pair: next(iter(pair)),
)
def test_each_penalty_changes_what_is_said(tiny: OnnxBackend, setting: dict[str, Any]) -> None:
    assert run(tiny, "the the", max_tokens=60, **setting).text != run(tiny, "the the", max_tokens=60).text


def test_top_k_one_is_greedy(tiny: OnnxBackend) -> None:
    assert run(tiny, "Hello", temperature=2.0, top_k=1).text == run(tiny, "Hello").text


def test_max_tokens_ends_with_length_and_is_counted(tiny: OnnxBackend) -> None:
    end = run(tiny, "Hello there", max_tokens=7).end
    assert (end.finish_reason, end.output_tokens, end.input_tokens) == (FinishReason.LENGTH, 7, 6)


def test_the_end_token_ends_with_stop_and_is_not_counted(tiny: OnnxBackend) -> None:
    ends = [run(tiny, f"Hello {number}", max_tokens=400).end for number in range(8)]
    assert FinishReason.STOP in {end.finish_reason for end in ends}
    assert all(end.output_tokens < 400 for end in ends if end.finish_reason is FinishReason.STOP)


def test_the_context_s_end_ends_with_length(tiny_folder: Path) -> None:
    backend = load(tiny_folder, context_length=16)
    end = run(backend, "Hello there", max_tokens=100, response_format=RegexFormat(type="regex", regex="[a-z]{90}")).end
    assert (end.finish_reason, end.input_tokens + end.output_tokens) == (FinishReason.LENGTH, 16)
    assert run(backend, "Hello there", max_tokens=2).end.output_tokens == 2
    backend.close()


def test_a_prompt_that_fills_the_context_is_refused(tiny_folder: Path) -> None:
    backend = load(tiny_folder, context_length=16)
    with pytest.raises(HostError) as caught:
        run(backend, "x" * 16)
    assert caught.value.code is ErrorCode.CONTEXT_OVERFLOW
    assert caught.value.details == {"prompt_tokens": 16, "context_length": 16, "most_prompt_tokens": 15}
    assert run(backend, "x" * 15).end.output_tokens == 1
    backend.close()


def test_a_stop_string_over_several_tokens_is_found_and_not_passed_on(tiny: OnnxBackend) -> None:
    digits = RegexFormat(type="regex", regex="1234567890abc")
    outcome = run(tiny, "Hello", response_format=digits, stop=("678",))
    assert (outcome.text, outcome.end.finish_reason, outcome.end.output_tokens) == ("12345", FinishReason.STOP, 8)


def test_text_withheld_for_a_stop_string_that_does_not_come_is_passed_on_at_the_end(tiny: OnnxBackend) -> None:
    outcome = run(tiny, "Hello", response_format=RegexFormat(type="regex", regex="12345"), stop=("45678",))
    assert outcome.text == "12345"


def test_characters_of_several_tokens_arrive_whole(tiny: OnnxBackend) -> None:
    emoji = RegexFormat(type="regex", regex="😀é漢👨‍👩‍👧")
    chunks = [
        event.text
        for event in tiny.generate(request("Hello", emoji, max_tokens=40), CancelToken())
        if isinstance(event, TokenChunk) and event.text
    ]
    assert chunks == ["😀", "é", "漢", "👨", "\u200d", "👩", "\u200d", "👧"]


def test_a_message_s_parts_and_its_string_are_the_same_prompt(tiny: OnnxBackend) -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    split = PromptInput(messages=(Message.model_validate({"role": "user", "content": parts}),))
    whole = PromptInput(messages=(Message(role="user", content="Hello"),))
    assert tiny.count_tokens(split) == tiny.count_tokens(whole)


def test_counting_agrees_with_generating(tiny: OnnxBackend) -> None:
    turns = [("system", "Be brief."), ("user", "Hello")]
    asked = request(turns)
    assert tiny.count_tokens(asked.prompt) == run(tiny, turns).end.input_tokens


def test_a_special_token_in_a_message_is_text(tiny: OnnxBackend) -> None:
    plain = tiny.count_tokens(request([("user", "")]).prompt)
    spelled = tiny.count_tokens(request([("user", "<|im_end|>")]).prompt)
    assert spelled - plain > 1


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_pictures_and_sounds_are_refused(tiny: OnnxBackend, kind: str) -> None:
    part = {"type": kind, "data": {"image": "data:image/png;base64,AA==", "audio": "data:audio/wav;base64,AA=="}[kind]}
    message = Message.model_validate({"role": "user", "content": [part]})
    with pytest.raises(HostError) as caught:
        tiny.count_tokens(PromptInput(messages=(message,)))
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION


@pytest.mark.parametrize("prompt", ["", "a\0b"], ids=["empty", "nul"])
def test_a_prompt_that_cannot_be_read_is_an_invalid_request(tiny: OnnxBackend, prompt: str) -> None:
    with pytest.raises(HostError) as caught:
        run(tiny, prompt)
    assert caught.value.code is ErrorCode.INVALID_REQUEST


def test_the_state_tells_the_cached_tokens_and_the_last_settings(tiny: OnnxBackend) -> None:
    end = run(tiny, "Hello there", max_tokens=5).end
    state = tiny.get_state()
    assert state.kv_tokens == end.input_tokens + end.output_tokens - 1
    assert state.settings.max_tokens == 5
    assert tiny.update_settings(state.settings) == state.settings
