"""The echo backend: the last message's words, at a set rate, with the settings and limits that engines have."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import CancelToken, GenerationEnd, GenerationEvent, GenerationRequest, LoadSpec, Prefill, TokenChunk
from backends.echo import EchoBackend, split_words
from messages.content import Message, PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import BackendType, FinishReason
from messages.options import LoadOptions
from messages.settings import InferenceSettings


def loaded(**options: Any) -> EchoBackend:
    backend = EchoBackend()
    backend.load(LoadSpec(Path("echo"), LoadOptions(**options)), lambda phase, progress, message: None)
    return backend


def ask(prompt: str, **settings: Any) -> GenerationRequest:
    return GenerationRequest(PromptInput(prompt=prompt), InferenceSettings(**settings))


def run(backend: EchoBackend, request: GenerationRequest, cancel: CancelToken | None = None) -> list[GenerationEvent]:
    return list(backend.generate(request, cancel or CancelToken()))


def text_of(events: list[GenerationEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TokenChunk))


def end_of(events: list[GenerationEvent]) -> GenerationEnd:
    end = events[-1]
    assert isinstance(end, GenerationEnd)
    return end


@given(st.text())
def test_words_joined_are_the_text(text: str) -> None:
    words = split_words(text)
    assert "".join(words) == text
    assert all(words)


def test_a_load_tells_its_progress_and_what_was_loaded() -> None:
    told: list[tuple[str, float | None]] = []
    info = EchoBackend().load(
        LoadSpec(Path("echo"), LoadOptions(context_length=100)),
        lambda phase, progress, message: told.append((phase, progress)),
    )
    assert (info.backend_type, info.context_length, info.size_bytes) == (BackendType.ECHO, 100, 0)
    assert told == [("loading", 0.5), ("loading", 1.0)]


def test_it_answers_with_the_last_messages_words() -> None:
    prompt = PromptInput(
        messages=(Message(role="system", content="be brief"), Message(role="user", content="one two  three\n"))
    )
    events = run(loaded(), GenerationRequest(prompt, InferenceSettings()))
    assert text_of(events) == "one two  three\n"
    assert end_of(events) == GenerationEnd(FinishReason.STOP, input_tokens=6, output_tokens=4)


def test_an_empty_prompt_is_an_empty_answer() -> None:
    events = run(loaded(), ask(""))
    assert (text_of(events), end_of(events).output_tokens) == ("", 0)


def test_max_tokens_ends_an_answer_with_length() -> None:
    events = run(loaded(), ask("a b c", max_tokens=2))
    assert (text_of(events), end_of(events).finish_reason) == ("a b", FinishReason.LENGTH)
    exact = run(loaded(), ask("a b c", max_tokens=3))
    assert end_of(exact).finish_reason is FinishReason.STOP


def test_the_context_ends_an_answer_too() -> None:
    events = run(loaded(context_length=8), ask("a b c d e"))
    assert (text_of(events), end_of(events).finish_reason) == ("a b c", FinishReason.LENGTH)


def test_a_stop_string_across_words_ends_an_answer_before_it() -> None:
    events = run(loaded(), ask("a b c d", stop=("b c",)))
    assert (text_of(events), end_of(events).finish_reason) == ("a ", FinishReason.STOP)


def test_a_prompt_as_long_as_the_context_is_refused() -> None:
    with pytest.raises(HostError) as caught:
        run(loaded(context_length=8), ask("w " * 8))
    assert caught.value.code is ErrorCode.CONTEXT_OVERFLOW
    assert caught.value.details == {"prompt_tokens": 9, "context_length": 8, "most_prompt_tokens": 7}


def test_the_prefill_takes_its_time_and_is_told() -> None:
    started = time.monotonic()
    events = run(loaded(prefill_ms=500), ask("a b c"))
    assert 0.5 <= time.monotonic() - started < 5
    steps = [event for event in events if isinstance(event, Prefill)]
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1] == Prefill(done=3, total=3, cached=0)
    assert len(steps) >= 3


@pytest.mark.parametrize(("rate", "count"), [(100, 201), (5000, 10_001)])
def test_the_rate_is_held(rate: int, count: int) -> None:
    backend = loaded(tokens_per_second=rate)
    stream = backend.generate(ask("w " * count, max_tokens=count), CancelToken())
    times = [time.monotonic() for event in stream if isinstance(event, TokenChunk)]
    assert (len(times) - 1) / (times[-1] - times[0]) == pytest.approx(rate, rel=0.15)


@pytest.mark.parametrize("options", [{"tokens_per_second": 0.1}, {"prefill_ms": 60_000}])
def test_a_cancel_is_seen_while_it_waits(options: dict[str, float]) -> None:
    cancel = CancelToken()
    timer = threading.Timer(0.05, cancel.cancel)
    timer.start()
    started = time.monotonic()
    events = run(loaded(**options), ask("a b c"), cancel)
    assert time.monotonic() - started < 8
    assert end_of(events).finish_reason is FinishReason.CANCELLED
    timer.join()


def test_an_answer_that_is_closed_early_leaves_it_usable() -> None:
    backend = loaded()
    stream: Iterator[GenerationEvent] = backend.generate(ask("a b c"), CancelToken())
    next(stream)
    del stream
    assert text_of(run(backend, ask("d"))) == "d"


def test_it_tells_the_settings_that_it_last_ran_with() -> None:
    backend = loaded()
    run(backend, ask("a", temperature=0.25))
    assert backend.get_state().settings.temperature == 0.25
    backend.close()
