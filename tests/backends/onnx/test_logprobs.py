"""Log-probabilities with both runtimes, against those of the bare graph."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from support.reference_text import Reference
from support.tiny_genai import load, make_tiny, run
from support.tiny_transformersjs import make_transformersjs

from backends.onnx.backend import OnnxBackend
from messages.facts import TokenLogprob
from messages.options import RegexFormat
from tools.make_genai import byte_alphabet

PROMPT = "Hello there"


@dataclass(frozen=True, slots=True)
class Case:
    """A loaded backend and the graph that it runs."""

    backend: OnnxBackend
    reference: Reference


@pytest.fixture(scope="module", params=["genai", "transformersjs"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """One of each layout."""
    folder = tmp_path_factory.mktemp("logprobs") / "tiny"
    genai = request.param == "genai"
    graph = folder / "model.onnx" if genai else folder / "onnx" / "model.onnx"
    loaded = load(make_tiny(folder)) if genai else load(make_transformersjs(folder), dtype="fp32")
    yield Case(loaded, Reference(folder, graph))
    loaded.close()


def token_of(reference: Reference, one: TokenLogprob) -> int:
    """The token of a record, by its bytes."""
    characters = {bytes([byte]): character for byte, character in byte_alphabet().items()}
    word = "".join(characters[bytes([byte])] for byte in one.bytes or ())
    return next(token for token in range(len(reference.logits([3]))) if reference.word(token) == word)


def check(reference: Reference, told: tuple[TokenLogprob, ...]) -> None:
    """Every figure is the graph's."""
    tokens = reference.encode(PROMPT)
    for one in told:
        logits = reference.logits(tokens).astype(np.float64)
        expected = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        token = token_of(reference, one)
        assert one.logprob == pytest.approx(expected[token], abs=1e-3)
        assert [other.logprob for other in one.top] == pytest.approx(np.sort(expected)[::-1][: len(one.top)], abs=1e-3)
        tokens.append(token)


def test_greedy_tokens_are_the_likeliest_with_the_graph_s_probabilities(case: Case) -> None:
    outcome = run(case.backend, PROMPT, top_logprobs=4, max_tokens=8)
    assert all(one.logprob == one.top[0].logprob for one in outcome.logprobs)
    check(case.reference, outcome.logprobs)


@pytest.mark.parametrize("wanted", [None, RegexFormat(type="regex", regex="[a-z]{12}")], ids=["free", "constrained"])
def test_probabilities_are_the_model_s_own_whatever_the_settings(case: Case, wanted: RegexFormat | None) -> None:
    settings: dict[str, Any] = {"temperature": 1.5, "repeat_penalty": 1.5, "frequency_penalty": 1.0, "seed": 5}
    outcome = run(case.backend, PROMPT, wanted, top_logprobs=2, max_tokens=8, top_p=1.0, **settings)
    assert any(one.logprob < one.top[-1].logprob for one in outcome.logprobs)
    check(case.reference, outcome.logprobs)


def test_each_output_token_is_told_and_their_bytes_are_the_text(case: Case) -> None:
    outcome = run(case.backend, PROMPT, top_logprobs=0, max_tokens=40, temperature=1.5, top_k=0, top_p=1.0, seed=1)
    assert len(outcome.logprobs) == outcome.end.output_tokens
    written = b"".join(bytes(one.bytes or ()) for one in outcome.logprobs)
    assert written.decode("utf-8", "replace") == outcome.text


def test_nothing_is_told_that_was_not_asked_for(case: Case) -> None:
    assert run(case.backend, PROMPT).logprobs == ()
