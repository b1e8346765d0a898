"""Generation with the real engine on a tiny model: what comes out, when it ends, and what is counted."""

from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from support.generations import Make, ask, request, user
from support.tiny_gguf import write_tiny

from backends.base import CancelToken, Prefill, TokenChunk
from backends.llamacpp.backend import LlamaCppBackend
from backends.llamacpp.vocabulary import Vocabulary
from messages.content import ImagePart, Message, PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import FinishReason


def _bare_greedy(path: Path, prompt: str, count: int) -> bytes:
    """The bytes of a greedy loop on the engine's own API with nothing of ours around it."""
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
    context = llama_cpp.llama_init_from_model(model, llama_cpp.llama_context_default_params())
    vocabulary = Vocabulary(model)
    tokens, sampler, out = vocabulary.tokenize_prompt(prompt), llama_cpp.llama_sampler_init_greedy(), b""
    for _ in range(count):
        batch = (llama_cpp.llama_token * len(tokens))(*tokens)
        assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(batch, len(tokens))) == 0
        tokens = [llama_cpp.llama_sampler_sample(sampler, context, -1)]
        out += vocabulary.pieces[tokens[0]] or b""
    llama_cpp.llama_sampler_free(sampler)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return out


def test_greedy_text_is_that_of_a_bare_loop(backend: LlamaCppBackend, tiny: Path) -> None:
    assert ask(backend, "once upon a time", max_tokens=40).text.encode() == _bare_greedy(tiny, "once upon a time", 40)


def test_temperature_zero_gives_the_same_text_each_time(make: Make) -> None:
    texts = {ask(make(), [user("hello")]).text for _ in range(2)}
    assert len(texts) == 1


def test_a_seed_gives_the_same_text_again_and_another_seed_another(backend: LlamaCppBackend) -> None:
    def run(seed: int) -> str:
        text: str = ask(backend, "hello", temperature=1.5, top_p=1.0, top_k=0, seed=seed).text
        return text

    first = run(1)
    assert run(1) == first
    assert run(2) != first
    assert run(2**32 - 1) == run(2**32 - 1)


def test_without_a_seed_each_generation_is_another(backend: LlamaCppBackend) -> None:
    assert len({ask(backend, "hello", temperature=2.0, top_p=1.0, top_k=0).text for _ in range(4)}) > 1


@pytest.mark.parametrize(
    "settings",
    [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0, "top_k": 0}],
)
def test_samplers_that_leave_one_token_are_greedy(backend: LlamaCppBackend, settings: dict[str, Any]) -> None:
    greedy = ask(backend, "hello").text
    assert ask(backend, "hello", temperature=1.0, seed=3, **settings).text == greedy


def test_a_repeat_penalty_counts_the_prompt_too(backend: LlamaCppBackend) -> None:
    greedy = ask(backend, "hello", max_tokens=1).text
    penalised = ask(backend, "hello" + greedy, max_tokens=30, repeat_penalty=10.0)
    tokens = [chunk.text for chunk in penalised.chunks]
    assert len(set(tokens)) == len(tokens)
    assert greedy not in tokens


def test_max_tokens_is_exact_and_every_token_is_counted(backend: LlamaCppBackend) -> None:
    for count in (1, 2, 17):
        answer = ask(backend, [user("hello")], max_tokens=count)
        assert sum(chunk.tokens for chunk in answer.chunks) == answer.end.output_tokens == count
        assert answer.end.finish_reason is FinishReason.LENGTH


def test_input_tokens_are_those_of_count_tokens(backend: LlamaCppBackend) -> None:
    messages = [user("hello"), Message(role="assistant", content="hi"), user("again")]
    counted = backend.count_tokens(PromptInput(messages=tuple(messages)))
    assert ask(backend, messages).end.input_tokens == counted > 30


def test_generation_ends_with_the_context(make: Make) -> None:
    backend = make(context_length=40)
    answer = ask(backend, "a b c", max_tokens=1000)
    assert answer.end.finish_reason is FinishReason.LENGTH
    assert answer.end.input_tokens + answer.end.output_tokens == 40


def test_a_prompt_that_fills_the_context_is_refused_with_its_numbers(make: Make) -> None:
    backend = make(context_length=40)
    with pytest.raises(HostError) as caught:
        ask(backend, "x " * 200)
    assert caught.value.code is ErrorCode.CONTEXT_OVERFLOW
    assert caught.value.details == {
        "prompt_tokens": backend.count_tokens(PromptInput(prompt="x " * 200)),
        "context_length": 40,
        "most_prompt_tokens": 39,
    }
    assert ask(backend, "x").end.output_tokens == 16


def test_a_stop_string_ends_the_text_before_it_also_across_tokens(backend: LlamaCppBackend) -> None:
    free = ask(backend, "hello", max_tokens=40)
    stop = free.text[5:9]
    answer = ask(backend, "hello", max_tokens=40, stop=(stop,))
    assert answer.text == free.text[: free.text.index(stop)]
    assert answer.end.finish_reason is FinishReason.STOP


def test_what_might_have_been_a_stop_string_comes_at_the_end(backend: LlamaCppBackend) -> None:
    free = ask(backend, "hello").text
    assert ask(backend, "hello", stop=(free[-3:] + "never",)).text == free


def test_bytes_become_characters_and_nothing_is_lost(make: Make, bytes_model: Path) -> None:
    answer = ask(make(bytes_model), "hello", max_tokens=60)
    assert answer.text == _bare_greedy(bytes_model, "hello", 60).decode("utf-8", "replace")
    assert answer.end.output_tokens == 60


def test_progress_of_the_prompt_comes_batch_by_batch(backend: LlamaCppBackend) -> None:
    answer = ask(backend, "x y z " * 120, max_tokens=1)
    total = answer.end.input_tokens
    assert total > 600
    assert [prefill.done for prefill in answer.prefills] == [0, 256, 512, *range(640, total, 128), total]


def test_a_generation_left_early_leaves_the_backend_usable(backend: LlamaCppBackend) -> None:
    expected = ask(backend, [user("hello")], max_tokens=10).text
    for wanted in (Prefill, TokenChunk):
        events = backend.generate(request([user("hello there")], max_tokens=10), CancelToken())
        assert isinstance(next(event for event in events if isinstance(event, wanted)), wanted)
        events.close()  # type: ignore[attr-defined]
        assert ask(backend, [user("hello")], max_tokens=10).text == expected


def test_pictures_are_refused(backend: LlamaCppBackend) -> None:
    picture = ImagePart(type="image", data="data:image/png;base64,AAAA")
    with pytest.raises(HostError) as caught:
        ask(backend, [Message(role="user", content=[picture])])
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION


def test_an_empty_prompt_is_refused_where_the_model_adds_nothing_to_it(make: Make, tmp_path: Path) -> None:
    backend = make(write_tiny(tmp_path / "no-bos.gguf", add_bos=False))
    with pytest.raises(HostError) as caught:
        ask(backend, "")
    assert caught.value.code is ErrorCode.INVALID_REQUEST


def test_ten_thousand_messages_overflow_the_context_in_order(backend: LlamaCppBackend) -> None:
    with pytest.raises(HostError) as caught:
        ask(backend, [user("hello")] * 10_000)
    assert caught.value.code is ErrorCode.CONTEXT_OVERFLOW


def test_the_state_tells_the_cache_and_the_settings(backend: LlamaCppBackend) -> None:
    assert backend.get_state().kv_tokens == 0
    answer = ask(backend, [user("hello")], top_k=7)
    state = backend.get_state()
    assert state.kv_tokens == answer.end.input_tokens + answer.end.output_tokens - 1
    assert state.settings.top_k == 7
