"""Conversations that are cut off, changed and gone on with, on any backend, their answers held against a reference."""

from collections.abc import Generator as Events
from collections.abc import Sequence
from random import Random
from threading import Timer

from support.reference_text import Reference
from support.tiny_genai import Outcome, request, run

from backends.base import Backend, CancelToken, GenerationEnd, Prefill, TokenChunk
from messages.facts import FinishReason
from messages.options import RegexFormat

Turns = Sequence[tuple[str, str]]

LONG = "The quick brown fox jumps over the lazy dog. " * 8
LETTERS = RegexFormat(type="regex", regex="[bcdfgjkmpquvxyz]{200}")
"""Keeps a random model's answer in letters that no merge of `tools.make_genai`'s tokenizer has, so that its text read
anew gives the very same tokens."""


def cut_after(backend: Backend, turns: Turns, tokens: int) -> Outcome:
    """Cancel a constrained answer once it has so many tokens; what came of it."""
    cancel, events = CancelToken(), []
    for event in backend.generate(request(list(turns), LETTERS, max_tokens=100), cancel):
        events.append(event)
        if sum(isinstance(one, TokenChunk) for one in events) == tokens:
            cancel.cancel()
    end = events[-1]
    assert isinstance(end, GenerationEnd)
    assert end.finish_reason is FinishReason.CANCELLED
    text = "".join(event.text for event in events if isinstance(event, TokenChunk))
    return Outcome(text, end, tuple(event for event in events if isinstance(event, Prefill)))


def close_after(backend: Backend, turns: Turns, tokens: int) -> str:
    """Close a constrained answer's iterator once it has so many tokens; its text."""
    events = backend.generate(request(list(turns), LETTERS, max_tokens=100), CancelToken())
    assert isinstance(events, Events)
    texts: list[str] = []
    while len(texts) < tokens:
        event = next(events)
        if isinstance(event, TokenChunk):
            texts.append(event.text)
    events.close()
    return "".join(texts)


def cancel_in_prefill(backend: Backend, prompt: str | list[tuple[str, str]], done: int) -> GenerationEnd:
    """Cancel a generation between two pieces of its prompt, once `done` tokens are read."""
    cancel = CancelToken()
    for event in backend.generate(request(prompt), cancel):
        if isinstance(event, Prefill) and event.done >= done:
            cancel.cancel()
    assert isinstance(event, GenerationEnd)
    assert (event.finish_reason, event.output_tokens) == (FinishReason.CANCELLED, 0)
    return event


def check_turn_after_a_stop(backend: Backend, reference: Reference, delay_ms: int) -> None:
    """Cancel from another thread while a long prompt is read, and hold the next answers against the reference."""
    prompt, cancel = LONG + LONG, CancelToken()
    run(backend, prompt[:40], max_tokens=4)
    timer = Timer(delay_ms / 1000, cancel.cancel)
    for event in backend.generate(request(prompt), cancel):
        if isinstance(event, Prefill) and event.done == event.cached:
            timer.start()
    timer.join(10)
    assert isinstance(event, GenerationEnd)
    for asked in (prompt[:150] + "?", prompt[:300]):
        assert run(backend, asked, max_tokens=4).text == reference.text(asked, 4)


def check_next_turn(backend: Backend, reference: Reference, asked: Turns, answer: str) -> int:
    """Go on after an answer, and hold the greedy text against the reference's; the cached tokens of it."""
    turns = [*asked, ("assistant", answer), ("user", "And then?")]
    following = run(backend, turns, max_tokens=12)
    assert following.text == reference.text(turns, 12)
    return following.end.cached_tokens


def check_rewinds_everywhere(backend: Backend, reference: Reference, prompt: str) -> None:
    """Change a prompt at each place in turn, after the whole of it was read: the answer is that of a fresh start."""
    for place in range(len(prompt)):
        whole = run(backend, prompt, max_tokens=1)
        changed = prompt[:place] + "X#"
        outcome = run(backend, changed, max_tokens=3)
        assert outcome.text == reference.text(changed, 3), place
        assert whole.end.input_tokens == len(reference.encode(prompt))
        assert outcome.end.cached_tokens <= place


def check_any_order(backend: Backend, reference: Reference, seed: int, steps: int = 40) -> None:
    """Ask, cut off, cancel and give up in any order, on prompts that grow, shrink and change; answers stay right."""
    random, prompt = Random(seed), "Hello there"
    for step in range(steps):
        prompt = _changed(prompt, random)
        match random.randrange(4):
            case 0:
                run(backend, prompt, LETTERS, max_tokens=random.randrange(1, 12))
            case 1:
                _cancel_at(backend, prompt, random.randrange(6))
            case 2:
                _give_up_at(backend, prompt, random.randrange(6))
            case 3:
                told = run(backend, prompt, max_tokens=3).text
                assert told == reference.text_near(told, prompt, 3), (seed, step)
    told = run(backend, prompt, max_tokens=3).text
    assert told == reference.text_near(told, prompt, 3)


def _changed(prompt: str, random: Random) -> str:
    more = "".join(random.choices("abc xyzQ.", k=random.randrange(1, 150)))
    cut = prompt[: random.randrange(1, len(prompt) + 1)]
    return random.choice([prompt, cut, cut, (cut + more)[:300], (prompt + more)[:300], more])


def _cancel_at(backend: Backend, prompt: str, place: int) -> None:
    cancel = CancelToken()
    for index, _ in enumerate(backend.generate(request(prompt), cancel)):
        if index == place:
            cancel.cancel()


def _give_up_at(backend: Backend, prompt: str, place: int) -> None:
    events = backend.generate(request(prompt), CancelToken())
    assert isinstance(events, Events)
    for _ in range(place):
        next(events, None)
    events.close()
