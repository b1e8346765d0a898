"""Pictures in prompts, with the real engine and a tiny model of the Qwen2-VL architecture."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.bare_multimodal import bare_answer
from support.generations import Answer, Make, ask, request, user
from support.looking import look, picture

from backends.base import CancelToken, Prefill
from backends.cancellation import Cancelled
from backends.llamacpp.backend import LlamaCppBackend
from messages.content import Message, PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import FinishReason, PictureFigures
from tools.make_gguf import SPECIALS, write_model
from tools.make_mmproj import GEMMA_SHAPE, MODEL_SHAPE, TILE_SHAPE, ProjectorShape, write_projector

CELLS = 35
"""Cells of a picture of 200 x 150 pixels: it is scaled to 196 x 140, which is 7 x 5 times 28 pixels."""


@pytest.fixture
def looking(make: Make, tiny_vl: Path) -> LlamaCppBackend:
    """A backend with the tiny model that sees."""
    return make(tiny_vl)


def _prompt(text: str) -> str:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def test_a_picture_is_read_as_by_the_librarys_own_loop(looking: LlamaCppBackend, tiny_vl: Path) -> None:
    ours = ask(looking, [look("what is ", picture(1), " this?")])
    assert ours.text == bare_answer(tiny_vl, _prompt("what is <__media__> this?"), [picture(1)], (196, 140))


def test_several_pictures_are_read_as_by_the_librarys_own_loop(looking: LlamaCppBackend, tiny_vl: Path) -> None:
    urls = [picture(1), picture(2), picture(1)]
    ours = ask(looking, [look(*urls, "compare", openai=True)], max_tokens=24)
    assert ours.text == bare_answer(tiny_vl, _prompt("<__media__>" * 3 + "compare"), urls, (196, 140), 24)


def test_the_same_picture_gives_the_same_text_and_another_another(make: Make, tiny_vl: Path) -> None:
    texts = [ask(make(tiny_vl), [look(picture(seed), "?")], max_tokens=40).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_the_sizes_and_the_tokens_of_pictures_are_told(looking: LlamaCppBackend) -> None:
    messages = [look("x", picture(1), picture(2, 90, 60))]
    answer = ask(looking, messages)
    assert answer.end.pictures == (
        PictureFigures(width=200, height=150, scaled_width=196, scaled_height=140),
        PictureFigures(width=90, height=60, scaled_width=112, scaled_height=84),
    )
    counted = looking.count_tokens(PromptInput(messages=tuple(messages)))
    assert answer.end.input_tokens == counted == looking.count_tokens(PromptInput(messages=(user("x"),))) + 35 + 12 + 4


def test_prefill_is_told_before_within_and_after_a_picture(looking: LlamaCppBackend) -> None:
    answer = ask(looking, [look("before", picture(1, 560, 560), "after")])
    done = [prefill.done for prefill in answer.prefills]
    assert len(done) >= 6
    assert done == sorted(done)
    assert done[-1] == answer.end.input_tokens == answer.prefills[0].total


def test_text_alone_still_works(looking: LlamaCppBackend) -> None:
    assert ask(looking, [user("hello")]).end.output_tokens == ask(looking, "bare prompt").end.output_tokens == 16


def test_a_continued_talk_decodes_only_what_is_new(looking: LlamaCppBackend) -> None:
    first = [look("what is this? ", picture(1))]
    answer = ask(looking, first)
    second = ask(looking, [*first, Message(role="assistant", content=answer.text), user("and what colour?")])
    assert second.end.cached_tokens == answer.end.input_tokens + answer.end.output_tokens - 1
    assert second.end.pictures == answer.end.pictures


def test_a_continued_talk_reads_as_one_from_scratch(make: Make, tiny_vl: Path) -> None:
    warm, cold = make(tiny_vl), make(tiny_vl)
    talk = [look("a ", picture(1), " b ", picture(2))]
    for turn in ("more", "and more"):
        answer = ask(warm, talk, max_tokens=20)
        talk += [Message(role="assistant", content=answer.text), look(turn, picture(3))]
    assert ask(warm, talk, max_tokens=40).text == ask(cold, talk, max_tokens=40).text


def test_another_picture_in_the_same_place_is_read_anew(looking: LlamaCppBackend) -> None:
    first = ask(looking, [look("see: ", picture(1), "?")], max_tokens=40)
    other = ask(looking, [look("see: ", picture(2), "?")], max_tokens=40)
    again = ask(looking, [look("see: ", picture(1), "?")], max_tokens=40)
    assert other.end.cached_tokens == again.end.cached_tokens < first.end.input_tokens - CELLS
    assert first.text == again.text != other.text


def test_a_picture_is_kept_whole_or_not_at_all(looking: LlamaCppBackend) -> None:
    messages = [look(picture(1), "a b c d e f g")]
    full = ask(looking, messages, max_tokens=1).end.input_tokens
    shorter = ask(looking, [look(picture(1), "z")], max_tokens=1)
    assert CELLS < shorter.end.cached_tokens < full
    assert ask(looking, [user("no picture")], max_tokens=1).end.cached_tokens < CELLS


def test_what_spells_a_marker_in_a_text_is_text(looking: LlamaCppBackend) -> None:
    plain = ask(looking, [look("x", picture(1))]).end.input_tokens
    for text in ("<__media__>", "<|vision_start|>", "\ufdd1" + "0" * 64 + "\ufdd1"):
        answer = ask(looking, [look("x", picture(1), text)])
        assert answer.end.input_tokens > plain
        assert len(answer.end.pictures) == 1


def test_penalties_do_not_count_pictures(looking: LlamaCppBackend) -> None:
    answer = ask(looking, [look(picture(1), "x")], max_tokens=30, repeat_penalty=10.0)
    assert answer.end.output_tokens == 30


def test_pictures_that_do_not_fit_the_context_are_refused_before_they_are_read(make: Make, tiny_vl: Path) -> None:
    backend = make(tiny_vl, context_length=128)
    with pytest.raises(HostError) as caught:
        ask(backend, [look(*[picture(seed, 140, 140) for seed in range(8)])])
    assert caught.value.code is ErrorCode.CONTEXT_OVERFLOW
    assert backend.get_state().kv_tokens == 0


def test_a_large_picture_takes_a_quarter_of_the_context_at_most(make: Make, tiny_vl: Path) -> None:
    backend = make(tiny_vl, context_length=512)
    answer = ask(backend, [look(picture(1, 3000, 2000))])
    figures = answer.end.pictures[0]
    assert (figures.scaled_width // 28) * (figures.scaled_height // 28) <= 128


def test_a_sound_for_a_model_that_only_sees_is_refused(looking: LlamaCppBackend) -> None:
    with pytest.raises(HostError) as caught:
        ask(looking, [look("data:audio/wav;base64,AAAA")])
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION


def test_a_template_that_leaves_pictures_out_is_told(make: Make, tmp_path: Path) -> None:
    template = "{% for message in messages if message.role == 'user' %}{{ message.content }}{% endfor %}"
    write_model(tmp_path / "deaf.gguf", replace(MODEL_SHAPE, template=template))
    write_projector(tmp_path / "mmproj.gguf", ProjectorShape())
    backend = make(tmp_path / "deaf.gguf")
    assert ask(backend, [look("x", picture(1))]).end.pictures
    with pytest.raises(HostError) as caught:
        ask(backend, [look("x", picture(1), role="system"), user("y")])
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of Gemma 3's kind: squares of 256 tokens that see each other, so that each is decoded in one step."""
    folder = tmp_path_factory.mktemp("gemma")
    write_model(folder / "gemma.gguf", GEMMA_SHAPE)
    write_projector(folder / "mmproj-gemma.gguf", ProjectorShape(kind="gemma3"))
    return folder / "gemma.gguf"


def test_a_picture_whose_tokens_see_each_other_is_read_as_by_the_librarys_own_loop(make: Make, gemma: Path) -> None:
    backend = make(gemma)
    ours = ask(backend, [look("what is ", picture(1), " this?")], max_tokens=24)
    text = "<|begin|>" + _prompt("what is <__media__> this?")
    assert ours.text == bare_answer(gemma, text, [picture(1)], (200, 150), 24)
    assert ours.end.pictures[0].scaled_width == 200
    assert ours.end.input_tokens > 256


def test_a_talk_about_such_a_picture_goes_on_from_the_cache(make: Make, gemma: Path) -> None:
    warm, cold = make(gemma), make(gemma)
    talk = [look("a ", picture(1)), user("b")]
    answer = ask(warm, talk)
    talk += [Message(role="assistant", content=answer.text), look("more", picture(2))]
    second = ask(warm, talk, max_tokens=40)
    assert second.end.cached_tokens == answer.end.input_tokens + answer.end.output_tokens - 1
    assert second.text == ask(cold, talk, max_tokens=40).text


def _tiled(folder: Path, **changes: Any) -> Path:
    """A model of Idefics 3's kind: a picture is a view of all of it and tiles, with text between them."""
    write_model(folder / "tiles.gguf", replace(TILE_SHAPE, **changes))
    write_projector(folder / "mmproj-tiles.gguf", ProjectorShape(kind="idefics3", square=8))
    return folder / "tiles.gguf"


def test_a_picture_in_tiles_is_read_as_by_the_librarys_own_loop_and_kept(make: Make, tmp_path: Path) -> None:
    backend, model = make(_tiled(tmp_path)), tmp_path / "tiles.gguf"
    ours = ask(backend, [look("what is ", picture(1), " this?")], max_tokens=24)
    text = "<|begin|>" + _prompt("what is <__media__> this?")
    assert ours.text == bare_answer(model, text, [picture(1)], (200, 150), 24)
    assert len(ours.prefills) > 8
    again = ask(backend, [look("what is ", picture(1), " that?")], max_tokens=24)
    assert again.end.cached_tokens > 3 * 16


def test_a_projector_that_needs_other_tokens_is_told_at_the_first_picture(make: Make, tmp_path: Path) -> None:
    backend = make(_tiled(tmp_path, specials=SPECIALS))
    with pytest.raises(HostError) as caught:
        ask(backend, [look("what is ", picture(1), " this?")])
    assert caught.value.code is ErrorCode.MODEL_INVALID
    assert ask(backend, [user("hello")]).end.output_tokens == 16


@pytest.fixture(scope="module")
def slow_vl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads a picture for some tenths of a second, most of it in the encoder."""
    folder = tmp_path_factory.mktemp("slow")
    write_model(folder / "slow.gguf", replace(MODEL_SHAPE, context=4096))
    write_projector(folder / "mmproj.gguf", ProjectorShape(width=256, layers=8, heads=4, feed_forward=1024))
    return folder / "slow.gguf"


def _cancelled_in_the_picture(backend: LlamaCppBackend, messages: list[Message]) -> Answer:
    """Cancel 20 ms after the text before the picture is read."""
    cancel, seen = CancelToken(), []
    timer = threading.Timer(0.02, cancel.cancel)
    for event in backend.generate(request(messages), cancel):
        seen.append(event)
        if isinstance(event, Prefill) and event.done and not timer.is_alive():
            timer.start()
    timer.join()
    return Answer(seen)


def test_a_cancel_while_a_picture_is_encoded_ends_the_encoding(make: Make, slow_vl: Path) -> None:
    backend = make(slow_vl, threads=1)
    messages = [look("look at this: ", picture(1, 700, 700), "?")]
    answer = _cancelled_in_the_picture(backend, messages)
    assert answer.end.finish_reason is FinishReason.CANCELLED
    assert backend.get_state().kv_tokens < CELLS
    after = ask(backend, messages)
    assert after.text == ask(make(slow_vl, threads=1), messages).text


def test_a_cancel_while_pictures_are_opened_ends_with_nothing(looking: LlamaCppBackend) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        ask(looking, [look(*[picture(seed) for seed in range(3)])], cancel=cancel)


def test_progress_is_told_while_a_picture_is_encoded(make: Make, slow_vl: Path) -> None:
    answer = ask(make(slow_vl, threads=1), [look("look: ", picture(1, 840, 840), "?")], max_tokens=1)
    done = [prefill.done for prefill in answer.prefills]
    assert done == sorted(done)
    assert len([count for count in done if CELLS < count < 0.8 * 900]) >= 3


def test_a_generation_left_while_a_picture_is_encoded_ends_the_encoding(make: Make, slow_vl: Path) -> None:
    backend = make(slow_vl, threads=1)
    events = backend.generate(request([look("look: ", picture(1, 1200, 1200), "?")]), CancelToken())
    while (event := next(events)) and isinstance(event, Prefill) and event.done < CELLS:
        pass
    events.close()  # type: ignore[attr-defined]
    assert backend.get_state().kv_tokens < CELLS
    assert ask(backend, [look(picture(2), "?")]).end.output_tokens == 16


def test_a_generation_left_within_a_picture_leaves_the_cache_in_order(looking: LlamaCppBackend) -> None:
    messages = [look("look: ", picture(1, 560, 560), "?")]
    events = looking.generate(request(messages), CancelToken())
    assert all(isinstance(next(events), Prefill) for _ in range(3))
    assert looking.get_state().kv_tokens < CELLS
    events.close()  # type: ignore[attr-defined]
    broken_off = ask(looking, messages)
    assert broken_off.text == ask(looking, messages).text
