"""Log-probabilities with the real engine, against those of a loop on the engine's own API."""

from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from support.generations import Make, ask

from backends.llamacpp.backend import LlamaCppBackend
from backends.llamacpp.vocabulary import Vocabulary
from messages.facts import TokenLogprob
from messages.options import GrammarFormat

PROMPT = "once upon a time"


def bare(path: Path, text: list[tuple[int, ...]]) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    """The log-softmax after the prompt and after each of some tokens, given by their bytes."""
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
    context = llama_cpp.llama_init_from_model(model, llama_cpp.llama_context_default_params())
    vocabulary = Vocabulary(model)
    tokens, found = vocabulary.tokenize_prompt(PROMPT), []
    by_bytes = {vocabulary.pieces[token]: token for token in range(vocabulary.size)}
    for written in text:
        batch = (llama_cpp.llama_token * len(tokens))(*tokens)
        assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(batch, len(tokens))) == 0
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (vocabulary.size,)).astype(np.float64)
        found.append(logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max())
        tokens = [by_bytes[bytes(written)]]
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return found


def check(path: Path, told: list[TokenLogprob]) -> None:
    """Every figure is the bare engine's."""
    reference = bare(path, [one.bytes or () for one in told])
    for one, expected in zip(told, reference, strict=True):
        likeliest = np.sort(expected)[::-1][: len(one.top)]
        assert [other.logprob for other in one.top] == pytest.approx(likeliest, abs=1e-3)
        assert np.abs(expected - one.logprob).min() < 1e-3


def test_greedy_tokens_are_the_likeliest_with_the_engine_s_probabilities(backend: LlamaCppBackend, tiny: Path) -> None:
    told = ask(backend, PROMPT, top_logprobs=3).logprobs
    assert len(told) == 16
    assert all((one.token, one.logprob, one.bytes) == tuple(one.top[0].model_dump().values()) for one in told)
    check(tiny, told)


def test_probabilities_are_the_model_s_own_whatever_the_settings(backend: LlamaCppBackend, tiny: Path) -> None:
    settings: dict[str, Any] = {
        "temperature": 2.0,
        "top_k": 0,
        "top_p": 1.0,
        "repeat_penalty": 1.5,
        "presence_penalty": 1.0,
        "seed": 3,
    }
    answer = ask(backend, PROMPT, top_logprobs=2, **settings)
    assert any(one.logprob < one.top[-1].logprob for one in answer.logprobs)
    check(tiny, answer.logprobs)


def test_probabilities_are_the_model_s_own_under_a_grammar(backend: LlamaCppBackend, tiny: Path) -> None:
    digits = GrammarFormat(type="grammar", grammar="root ::= [0-9]{8}")
    answer = ask(backend, PROMPT, response_format=digits, top_logprobs=0)
    assert answer.text.isdigit()
    check(tiny, answer.logprobs)


def test_each_output_token_is_told_and_their_bytes_are_the_text(make: Make, bytes_model: Path) -> None:
    answer = ask(make(bytes_model), PROMPT, top_logprobs=0, max_tokens=60)
    assert len(answer.logprobs) == answer.end.output_tokens == 60
    assert [len(chunk.logprobs) for chunk in answer.chunks] == [chunk.tokens for chunk in answer.chunks]
    assert b"".join(bytes(one.bytes or ()) for one in answer.logprobs).decode("utf-8", "replace") == answer.text


def test_a_stop_string_s_tokens_are_told_though_its_text_is_not(backend: LlamaCppBackend) -> None:
    whole = ask(backend, PROMPT, top_logprobs=0)
    answer = ask(backend, PROMPT, top_logprobs=0, stop=(whole.text[6:9],))
    assert len(answer.logprobs) == answer.end.output_tokens
    written = b"".join(bytes(one.bytes or ()) for one in answer.logprobs).decode()
    assert written.startswith(answer.text + whole.text[6:9])


def test_nothing_is_told_that_was_not_asked_for(backend: LlamaCppBackend) -> None:
    assert ask(backend, PROMPT).logprobs == []
