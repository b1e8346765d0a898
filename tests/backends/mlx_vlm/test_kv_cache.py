"""The KV cache over several turns: what is kept, what is not, and that an answer never depends on it."""

import shutil
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Timer
from typing import Any

import mlx.core as mx
import pytest
from safetensors.numpy import load_file, save_file
from support.tiny_mlx import SCRIPT, Json, assistant, bare_text, chat, load, picture, prompt, request, run, user

from backends.base import CancelToken, GenerationEnd, Prefill, TokenChunk
from backends.mlx_vlm.backend import MlxVlmBackend
from messages.facts import FinishReason
from tools.make_mlx import SPECIAL_TOKENS

LONG = "The quick brown fox jumps over the lazy dog. " * 8
RED, GREEN = picture(), picture((9, 200, 30))


def test_the_next_turn_reads_only_what_is_new(scripted: MlxVlmBackend) -> None:
    first = run(scripted, [user(LONG)]).end
    asked = [user(LONG), assistant("".join(SCRIPT)), user("And then?")]
    outcome = run(scripted, asked)
    assert outcome.text == "".join(SCRIPT)
    assert outcome.end.cached_tokens == first.input_tokens + first.output_tokens + 1
    assert [event.cached for event in outcome.prefills] == [outcome.end.cached_tokens] * len(outcome.prefills)


def test_a_talk_about_one_picture_goes_on_from_the_cache(vision: MlxVlmBackend, vision_folder: Path) -> None:
    answer = run(vision, [user("What is it?", RED)])
    following = run(vision, [user("What is it?", RED), assistant(answer.text), user("And then?")])
    assert following.end.cached_tokens == answer.end.input_tokens + answer.end.output_tokens
    cold = load(vision_folder)
    run(cold, [user("What is it?", RED)], max_tokens=1)
    assert run(cold, [user("What is it?", RED), user("Is it?")]).text == bare_text(
        vision_folder, chat(("user", "<picture>What is it?"), ("user", "Is it?")), [RED]
    )
    cold.close()


def test_another_picture_under_equal_tokens_is_looked_at(vision: MlxVlmBackend, vision_folder: Path) -> None:
    run(vision, [user("What is it?", RED)])
    outcome = run(vision, [user("What is it?", GREEN)])
    assert outcome.end.cached_tokens == vision.count_tokens(prompt("<|im_start|>user\n<|vision_start|>"))
    assert outcome.text == bare_text(vision_folder, chat(("user", "<picture>What is it?")), [GREEN])


def test_a_picture_more_is_read_behind_what_is_in_the_cache(vision: MlxVlmBackend, vision_folder: Path) -> None:
    first = run(vision, [user("First.", RED)])
    asked = [user("First.", RED), assistant("Yes."), user("Second.", GREEN)]
    turns = (("user", "<picture>First."), ("assistant", "Yes."), ("user", "<picture>Second."))
    second = run(vision, asked)
    assert second.text == bare_text(vision_folder, chat(*turns), [RED, GREEN])
    assert second.end.cached_tokens >= first.end.input_tokens
    assert {event.cached for event in second.prefills} == {second.end.cached_tokens}
    done = [event.done for event in second.prefills]
    assert done == sorted(done)


def test_a_picture_in_a_talk_of_words_is_read_behind_them(vision: MlxVlmBackend, vision_folder: Path) -> None:
    first = run(vision, [user(LONG)])
    seen = run(vision, [user(LONG), assistant("Yes."), user("And this?", RED)])
    turns = (("user", LONG), ("assistant", "Yes."), ("user", "<picture>And this?"))
    assert seen.text == bare_text(vision_folder, chat(*turns), [RED])
    assert seen.end.cached_tokens >= first.end.input_tokens


def test_another_picture_in_a_later_turn_leaves_what_stands_before_it(
    vision: MlxVlmBackend, vision_folder: Path
) -> None:
    said = [user(LONG), assistant("Yes.")]
    turns = (("user", LONG), ("assistant", "Yes."), ("user", "<picture>And this?"))
    run(vision, [*said, user("And this?", RED)])
    other = run(vision, [*said, user("And this?", GREEN)])
    assert other.text == bare_text(vision_folder, chat(*turns), [GREEN])
    assert run(vision, said[:1]).end.input_tokens < other.end.cached_tokens < other.end.input_tokens - 12


def test_a_talk_from_which_the_last_picture_is_taken_goes_on_from_the_first(
    vision: MlxVlmBackend, vision_folder: Path
) -> None:
    first = run(vision, [user("First.", RED)])
    run(vision, [user("First.", RED), assistant("Yes."), user("Second.", GREEN)])
    again = run(vision, [user("First.", RED), assistant("Yes."), user("Second.")])
    turns = (("user", "<picture>First."), ("assistant", "Yes."), ("user", "Second."))
    assert again.text == bare_text(vision_folder, chat(*turns), [RED])
    assert again.end.cached_tokens >= first.end.input_tokens


def test_only_a_new_picture_is_looked_at(vision: MlxVlmBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vision._loaded
    network = vision._loaded.model.network
    embed, looked_at = network.get_input_embeddings, []

    def embed_and_count(tokens: mx.array, pixels: mx.array | None, **options: Any) -> Any:
        looked_at.append(0 if pixels is None else len(options["image_grid_thw"]))
        return embed(tokens, pixels, **options)

    monkeypatch.setattr(type(network), "get_input_embeddings", staticmethod(embed_and_count))
    run(vision, [user("First.", RED, GREEN)], max_tokens=1)
    run(vision, [user("First.", RED, GREEN), assistant("Yes."), user("Second.", RED)], max_tokens=1)
    assert [count for count in looked_at if count] == [2, 1]


@pytest.mark.parametrize("wants", ["all pictures", "the prompt whole", "a mask of the pictures"])
def test_a_network_of_another_kind_is_given_all_pictures_and_what_it_wants(
    vision: MlxVlmBackend, vision_folder: Path, monkeypatch: pytest.MonkeyPatch, wants: str
) -> None:
    assert vision._loaded
    network = vision._loaded.model.network
    embed = network.get_input_embeddings

    def embed_with_a_mask(*arguments: Any, **options: Any) -> Any:
        return replace(embed(*arguments, **options), attention_mask_4d=mx.ones((1, 1, 1, 1)))

    monkeypatch.setattr(network.config, "model_type", "another")
    if wants == "the prompt whole":
        monkeypatch.setattr(type(network), "no_chunked_prefill", True, raising=False)
    elif wants == "a mask of the pictures":
        monkeypatch.setattr(type(network), "get_input_embeddings", staticmethod(embed_with_a_mask))
    first = run(vision, [user("First.", RED)])
    second = run(vision, [user("First.", RED), assistant("Yes."), user("Second.", GREEN)])
    monkeypatch.undo()
    turns = (("user", "<picture>First."), ("assistant", "Yes."), ("user", "<picture>Second."))
    assert second.text == bare_text(vision_folder, chat(*turns), [RED, GREEN])
    assert (second.end.cached_tokens >= first.end.input_tokens) == (wants == "all pictures")
    assert (second.end.cached_tokens == 0) == (wants != "all pictures")


def test_a_picture_s_token_that_the_model_writes_is_not_kept_as_one(tmp_path: Path, scripted_folder: Path) -> None:
    folder = shutil.copytree(scripted_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    head = weights["lm_head.weight"]
    head[SPECIAL_TOKENS.index("<|image_pad|>")] = 2 * head.sum(axis=0)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    backend = load(folder)
    outcome = run(backend, [user("Hi", RED)], max_tokens=2)
    assert outcome.end.output_tokens > 0
    assert outcome.text == ""
    assert backend.get_state().kv_tokens == 0
    backend.close()


def test_text_after_a_picture_and_a_picture_after_text_are_both_right(
    vision: MlxVlmBackend, vision_folder: Path
) -> None:
    for _ in range(2):
        assert run(vision, [user(LONG)]).text == bare_text(vision_folder, chat(("user", LONG)))
        seen = bare_text(vision_folder, chat(("user", f"<picture>{LONG}")), [RED])
        assert run(vision, [user(LONG, RED)]).text == seen


def cancelled_in_prefill(backend: MlxVlmBackend, asked: list[Json], done: int) -> GenerationEnd:
    cancel = CancelToken()
    for event in backend.generate(request(asked), cancel):
        if isinstance(event, Prefill) and event.done >= done:
            cancel.cancel()
    assert isinstance(event, GenerationEnd)
    return event


@pytest.mark.parametrize("done", [0, 1, 64, 128])
def test_a_stop_between_two_pieces_ends_it_and_leaves_nothing_behind(
    vision: MlxVlmBackend, vision_folder: Path, done: int
) -> None:
    asked = [user(LONG, RED)]
    end = cancelled_in_prefill(vision, asked, done)
    assert (end.finish_reason, end.output_tokens) == (FinishReason.CANCELLED, 0)
    assert vision.get_state().kv_tokens == 0
    assert run(vision, asked).text == bare_text(vision_folder, chat(("user", f"<picture>{LONG}")), [RED])


def test_a_stop_while_it_speaks_ends_it_with_what_was_said(vision: MlxVlmBackend, vision_folder: Path) -> None:
    cancel, said = CancelToken(), 0
    for event in vision.generate(request([user("Hi", RED)], max_tokens=500), cancel):
        said += isinstance(event, TokenChunk)
        if said == 5:
            cancel.cancel()
    assert isinstance(event, GenerationEnd)
    assert (event.finish_reason, event.output_tokens) == (FinishReason.CANCELLED, 5)
    assert vision.get_state().kv_tokens == 0
    assert run(vision, [user("Hi", GREEN)]).text == bare_text(vision_folder, chat(("user", "<picture>Hi")), [GREEN])


def test_a_stop_from_another_thread_is_heard_while_a_prompt_is_read(text: MlxVlmBackend) -> None:
    cancel, asked = CancelToken(), [user(LONG * 8)]
    timer = Timer(0.02, cancel.cancel)
    events = []
    for event in text.generate(request(asked), cancel):
        events.append(event)
        if len(events) == 1:
            timer.start()
    timer.join(10)
    end = events[-1]
    assert isinstance(end, GenerationEnd)
    assert end.finish_reason is FinishReason.CANCELLED


def test_an_iterator_that_is_given_up_leaves_the_backend_usable(vision: MlxVlmBackend, vision_folder: Path) -> None:
    for place in (0, 1, 3, 5):
        events = vision.generate(request([user(LONG, RED)], max_tokens=50), CancelToken())
        for _ in range(place):
            next(events)
        events.close()  # type: ignore[attr-defined]
        assert run(vision, [user("Hi")]).text == bare_text(vision_folder, chat(("user", "Hi")))


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_those_of_a_fresh_start_whatever_came_before(
    vision: MlxVlmBackend, vision_folder: Path, seed: int
) -> None:
    random = Random(seed)
    for _ in range(12):
        turns: list[tuple[str, str]] = []
        asked: list[Json] = []
        pictures = []
        for number in range(random.randrange(1, 4)):
            seen = random.choice([[], [], [RED], [GREEN]])
            said = random.choice(["Hi", "What is it?", LONG])
            turns.append(("user", "<picture>" * len(seen) + said))
            asked.append(user(said, *seen))
            pictures += seen
            if number < 2:
                turns.append(("assistant", "Yes."))
                asked.append(assistant("Yes."))
        if random.random() < 0.3:
            cancelled_in_prefill(vision, asked, random.randrange(200))
        outcome = run(vision, asked, max_tokens=6)
        assert outcome.text == bare_text(vision_folder, chat(*turns), pictures, max_tokens=6), (seed, turns)
