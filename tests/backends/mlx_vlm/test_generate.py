"""Generations with real small models, held against mlx-vlm's own loop over the same folder."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.tiny_mlx import SCRIPT, assistant, bare_text, chat, load, make_mlx, picture, prompt, run, user

from backends.base import LoadSpec
from backends.mlx_vlm.backend import MlxVlmBackend
from messages.errors import ErrorCode, HostError
from messages.facts import BackendType, FinishReason, PictureFigures
from messages.options import JsonSchemaFormat, LoadOptions, RegexFormat

LONG = "The quick brown fox jumps over the lazy dog. " * 8
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["ok", "n"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("asked", ["Hi", LONG], ids=["short", "in several pieces"])
@pytest.mark.parametrize("kind", ["text", "vision"])
def test_text_is_that_of_mlx_vlm(request: pytest.FixtureRequest, kind: str, asked: str) -> None:
    backend: MlxVlmBackend = request.getfixturevalue(kind)
    folder: Path = request.getfixturevalue(f"{kind}_folder")
    assert run(backend, [user(asked)]).text == bare_text(folder, chat(("user", asked)))


def test_a_picture_is_seen_as_mlx_vlm_sees_it(vision: MlxVlmBackend, vision_folder: Path) -> None:
    for seen in (picture(), picture(size=(224, 196)), picture((9, 200, 30))):
        outcome = run(vision, [user("What is it?", seen)])
        assert outcome.text == bare_text(vision_folder, chat(("user", "<picture>What is it?")), [seen])
        sizes = PictureFigures(width=seen.width, height=seen.height, scaled_width=seen.width, scaled_height=seen.height)
        assert outcome.end.pictures == (sizes,)


def test_several_pictures_keep_their_places(vision: MlxVlmBackend, vision_folder: Path) -> None:
    one, other = picture(), picture((9, 200, 30), (84, 140))
    asked = [user("First.", one), assistant("Yes."), user("Second.", other)]
    turns = (("user", "<picture>First."), ("assistant", "Yes."), ("user", "<picture>Second."))
    outcome = run(vision, asked)
    assert outcome.text == bare_text(vision_folder, chat(*turns), [one, other])
    assert outcome.text != run(vision, [user("First.", other), assistant("Yes."), user("Second.", one)]).text


def test_a_picture_is_scaled_to_what_the_model_takes(vision: MlxVlmBackend) -> None:
    asked = [user("What is it?", picture(size=(4000, 3000)))]
    outcome = run(vision, asked)
    figures = outcome.end.pictures[0]
    assert (figures.width, figures.height) == (4000, 3000)
    assert figures.scaled_width % 28 == figures.scaled_height % 28 == 0
    assert figures.scaled_width * figures.scaled_height <= 64 * 28 * 28
    assert outcome.end.input_tokens == vision.count_tokens(prompt(asked))


def test_an_answer_ends_with_its_end_token_and_whole_characters(scripted: MlxVlmBackend) -> None:
    for asked in ([user("Hi")], [user("Hi", picture())]):
        outcome = run(scripted, asked)
        assert outcome.text == "".join(SCRIPT)
        assert outcome.end.finish_reason is FinishReason.STOP
        assert outcome.end.output_tokens == len(SCRIPT)


def test_characters_that_are_cut_over_tokens_come_whole(tmp_path: Path) -> None:
    script = tuple("é日".encode().decode("ascii", "surrogateescape"))
    backend = load(make_mlx(tmp_path / "model", script=script))
    outcome = run(backend, [user("Hi")])
    assert (outcome.text, outcome.end.output_tokens) == ("é日", 5)
    assert run(backend, [user("Hi")], max_tokens=4).text == "é\ufffd"
    backend.close()


@pytest.mark.parametrize(
    ("stop", "text"), [("日本", "Hello big "), ("g 日", "Hello bi"), ("d!", "Hello big 日本 worl")]
)
def test_a_stop_string_ends_it_wherever_tokens_are_cut(scripted: MlxVlmBackend, stop: str, text: str) -> None:
    outcome = run(scripted, [user("Hi")], stop=(stop,))
    assert (outcome.text, outcome.end.finish_reason) == (text, FinishReason.STOP)
    assert run(scripted, [user("Hi"), assistant(text), user("Go on")]).text == "".join(SCRIPT)


def test_max_tokens_and_the_context_bound_an_answer(text_folder: Path) -> None:
    backend = load(text_folder, context_length=64)
    assert run(backend, "Hi", max_tokens=3).end.output_tokens == 3
    full = run(backend, "Hi" * 10, max_tokens=1000).end
    assert (full.finish_reason, full.input_tokens + full.output_tokens) == (FinishReason.LENGTH, 64)
    with pytest.raises(HostError) as caught:
        run(backend, "Hi" * 40)
    assert caught.value.code is ErrorCode.CONTEXT_OVERFLOW
    backend.close()


@pytest.mark.parametrize("settings", [{}, {"min_p": 0.05}, {"top_k": 0, "top_p": 1.0}, {"repeat_penalty": 1.3}])
def test_a_seed_gives_the_same_text_with_all_settings(text: MlxVlmBackend, settings: dict[str, Any]) -> None:
    def say(seed: int | None) -> str:
        return run(text, "Hi", temperature=1.5, seed=seed, **settings).text

    assert say(7) == say(7)
    assert len({say(7), say(8), say(None), say(None)}) > 2


def test_penalties_keep_tokens_from_coming_again(text: MlxVlmBackend) -> None:
    plain = run(text, [user("Hi")], max_tokens=20).text
    penalties: list[dict[str, Any]] = [{"repeat_penalty": 5.0}, {"presence_penalty": 2.0}, {"frequency_penalty": 2.0}]
    for settings in penalties:
        changed = run(text, [user("Hi")], max_tokens=20, **settings).text
        assert len(set(changed)) > len(set(plain)), settings


def test_output_follows_a_schema_on_the_processor_too(vision: MlxVlmBackend) -> None:
    wanted = JsonSchemaFormat(type="json_schema", json_schema=SCHEMA)
    for seed in range(4):
        outcome = run(vision, [user("Hi", picture())], wanted, temperature=1.0, seed=seed, max_tokens=200)
        assert set(json.loads(outcome.text)) == {"ok", "n"}
        assert outcome.end.finish_reason is FinishReason.STOP


def test_output_follows_a_regular_expression_and_penalties_do_not_break_it(text: MlxVlmBackend) -> None:
    wanted = RegexFormat(type="regex", regex="[ab]{5}-[0-9]{3}")
    outcome = run(text, "Hi", wanted, temperature=1.0, repeat_penalty=2.0)
    assert len(outcome.text) == 9
    assert outcome.text[5] == "-"


def test_log_probabilities_are_the_network_s_own(text: MlxVlmBackend) -> None:
    greedy = run(text, "Hi", top_logprobs=3, max_tokens=8)
    sampled = run(text, "Hi", top_logprobs=3, max_tokens=8, temperature=2.0, seed=1, repeat_penalty=1.5)
    assert len(greedy.logprobs) == 8
    assert all(one.top[0].token == one.token for one in greedy.logprobs)
    assert sampled.logprobs[0].top == greedy.logprobs[0].top
    assert run(text, "Hi", max_tokens=2).logprobs == ()


def test_what_was_loaded_says_what_it_can_do(vision_folder: Path, text_folder: Path) -> None:
    for folder, image in ((vision_folder, True), (text_folder, False)):
        backend = MlxVlmBackend()
        info = backend.load(LoadSpec(folder, LoadOptions(device="cpu")), lambda phase, progress, message: None)
        assert (info.backend_type, info.device, info.capabilities.image) == (BackendType.MLX_CPU, "cpu", image)
        assert (info.context_length, info.size_bytes) == (4096, (folder / "model.safetensors").stat().st_size)
        backend.close()
