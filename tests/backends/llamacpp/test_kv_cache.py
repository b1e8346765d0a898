"""The KV cache from one turn to the next: only what is new is decoded, and the text does not change for it."""

from pathlib import Path

from support.generations import Answer, Make, ask, request, user

from backends.base import CancelToken, TokenChunk
from backends.llamacpp.backend import LlamaCppBackend
from messages.content import Message
from messages.facts import FinishReason


def _next_turn(messages: list[Message], answer: Answer, text: str = "and then?") -> list[Message]:
    return [*messages, Message(role="assistant", content=answer.text), user(text)]


def test_the_second_turn_decodes_only_what_is_new(backend: LlamaCppBackend) -> None:
    first = [user("tell me a story " * 20)]
    answer = ask(backend, first)
    assert answer.end.cached_tokens == 0
    second = ask(backend, _next_turn(first, answer))
    assert second.end.cached_tokens == answer.end.input_tokens + answer.end.output_tokens - 1
    assert second.prefills[0].done == second.prefills[0].cached == second.end.cached_tokens


def test_a_continued_conversation_reads_as_in_a_fresh_backend(make: Make) -> None:
    warm, cold = make(), make()
    first = [user("hello there")]
    second = _next_turn(first, ask(warm, first))
    warm_answer = ask(warm, second)
    again = ask(warm, second)
    assert again.end.cached_tokens == again.end.input_tokens - 1
    assert again.text == warm_answer.text
    bare = "prompt without a template"
    assert ask(warm, bare, max_tokens=40).text == ask(cold, bare, max_tokens=40).text
    assert ask(warm, bare + " and more", max_tokens=40).text == ask(cold, bare + " and more", max_tokens=40).text


def test_text_that_the_tokenizer_would_cut_otherwise_is_still_cached(make: Make, bytes_model: Path) -> None:
    backend = make(bytes_model)
    first = [user("hello")]
    answer = ask(backend, first, max_tokens=30)
    assert "\ufffd" in answer.text
    assert ask(backend, _next_turn(first, answer)).end.cached_tokens == answer.end.input_tokens + 29


def test_a_changed_history_keeps_only_the_common_beginning(backend: LlamaCppBackend) -> None:
    first = [user("a long beginning that stays " * 5), user("old end")]
    ask(backend, first)
    changed = ask(backend, [first[0], user("new end")])
    assert 100 < changed.end.cached_tokens < changed.end.input_tokens


def test_the_same_prompt_again_decodes_one_token(backend: LlamaCppBackend) -> None:
    first, second = ask(backend, "the same words"), ask(backend, "the same words")
    assert second.end.cached_tokens == first.end.input_tokens - 1
    assert second.text == first.text


def test_an_answer_cut_at_a_stop_string_is_not_taken_for_its_text(backend: LlamaCppBackend) -> None:
    first = [user("hello")]
    free = ask(backend, first, max_tokens=30).text
    stopped = ask(backend, first, max_tokens=30, stop=(free[6:8],))
    assert stopped.end.finish_reason is FinishReason.STOP
    second = ask(backend, _next_turn(first, stopped))
    assert second.end.cached_tokens < stopped.end.input_tokens + stopped.end.output_tokens


def test_a_cancelled_turn_goes_on_from_what_was_heard(backend: LlamaCppBackend) -> None:
    first, cancel = [user("hello")], CancelToken()
    events = []
    for event in backend.generate(request(first, max_tokens=100), cancel):
        events.append(event)
        if sum(isinstance(seen, TokenChunk) for seen in events) == 5:
            cancel.cancel()
    answer = Answer(events)
    assert answer.end.finish_reason is FinishReason.CANCELLED
    second = ask(backend, _next_turn(first, answer))
    assert second.end.cached_tokens >= answer.end.input_tokens + answer.end.output_tokens - 1
