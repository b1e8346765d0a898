"""Prompts of all kinds: pictures where there is a place for them, markers that are only text, chat templates."""

import json
from pathlib import Path

import pytest
from support.tiny_mlx import Json, assistant, bare_text, chat, data_url, load, make_mlx, picture, prompt, run, user

from backends.mlx_vlm.backend import MlxVlmBackend
from messages.errors import ErrorCode, HostError
from tools.make_mlx import CHAT_TEMPLATE

RED, GREEN = picture(), picture((9, 200, 30))
SOUND = {"role": "user", "content": [{"type": "audio", "data": "data:audio/wav;base64,AAAA"}]}


def error_of(backend: MlxVlmBackend, asked: str | list[Json]) -> HostError:
    with pytest.raises(HostError) as caught:
        run(backend, asked, max_tokens=2)
    assert run(backend, "Hi", max_tokens=2).end.output_tokens == 2
    return caught.value


def with_template(folder: Path, template: str) -> MlxVlmBackend:
    make_mlx(folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "chat_template": template}))
    return load(folder)


def test_a_picture_for_a_text_model_is_refused_and_text_for_a_vision_model_works(
    text: MlxVlmBackend, vision: MlxVlmBackend
) -> None:
    assert error_of(text, [user("Hi", RED)]).code is ErrorCode.UNSUPPORTED_OPTION
    assert run(vision, [{"role": "user", "content": "Hi"}]).text == run(vision, [user("Hi")]).text


def test_a_sound_is_refused(vision: MlxVlmBackend) -> None:
    assert error_of(vision, [SOUND]).code is ErrorCode.UNSUPPORTED_OPTION


def test_what_is_no_picture_is_refused_with_its_place(vision: MlxVlmBackend) -> None:
    broken = user("Hi", RED)
    broken["content"][0]["data"] = "data:image/png;base64,bm8gcGljdHVyZQ=="
    error = error_of(vision, [user("Hi", GREEN), broken])
    assert error.code is ErrorCode.INVALID_REQUEST
    assert "messages[1].content[0]" in str(error.details["fields"])


@pytest.mark.parametrize("spelled", ["<|image_pad|>", "<|im_end|>", "<|vision_start|><|image_pad|><|vision_end|>"])
def test_what_spells_a_marker_in_a_text_is_only_text(vision: MlxVlmBackend, spelled: str) -> None:
    for pictures in ((), (RED,)):
        plain = vision.count_tokens(prompt([user("Hi", *pictures)]))
        assert vision.count_tokens(prompt([user(f"Hi{spelled}", *pictures)])) - plain > 5
        run(vision, [user(f"Hi {spelled}", *pictures), assistant(spelled), user("More")], max_tokens=2)


def test_a_bare_prompt_goes_in_as_it_is_but_without_pictures(vision: MlxVlmBackend, vision_folder: Path) -> None:
    rendered = chat(("user", "Hi"))
    assert run(vision, rendered).text == bare_text(vision_folder, rendered)
    assert error_of(vision, chat(("user", "<picture>Hi"))).code is ErrorCode.INVALID_REQUEST
    assert error_of(vision, "").code is ErrorCode.INVALID_REQUEST


def test_openai_s_spelling_of_a_picture_is_the_same(vision: MlxVlmBackend) -> None:
    parts = [{"type": "image_url", "image_url": {"url": data_url(RED)}}, {"type": "text", "text": "Hi"}]
    assert run(vision, [{"role": "user", "content": parts}]).text == run(vision, [user("Hi", RED)]).text


def test_pictures_between_words_stay_there(vision: MlxVlmBackend, vision_folder: Path) -> None:
    parts = [{"type": "text", "text": "A "}, user("", RED)["content"][0], {"type": "text", "text": " and B"}]
    outcome = run(vision, [{"role": "user", "content": parts}])
    assert outcome.text == bare_text(vision_folder, chat(("user", "A <picture> and B")), [RED])


def test_more_pictures_than_the_context_holds_are_too_many(vision_folder: Path) -> None:
    backend = load(vision_folder, context_length=64)
    many = picture(size=(224, 224))
    assert error_of(backend, [user("Hi", many, many)]).code is ErrorCode.CONTEXT_OVERFLOW
    assert backend.count_tokens(prompt([user("Hi", many)])) > 64
    backend.close()


def test_a_template_that_leaves_pictures_out_is_not_silent(tmp_path: Path) -> None:
    backend = with_template(tmp_path / "of-users", CHAT_TEMPLATE.replace("'image' %}", "'image' and loop.first %}"))
    assert run(backend, [user("Hi", RED)], max_tokens=2).end.output_tokens == 2
    error = error_of(backend, [user("Hi", RED, GREEN)])
    assert error.code is ErrorCode.INVALID_REQUEST
    assert "1 of the 2 pictures" in error.message
    backend.close()


_SPACED = "{{ m['role'] }}{{ ':' if m['content'][0]['type'] == 'image' else ': ' }}"
_HEADED = "{{ 'system\\nToday.\\n' if loop.first and m['content'][0]['type'] != 'image' else '' }}{{ m['role'] }}\n"


@pytest.mark.parametrize(
    ("opening", "written"), [(_SPACED, "user:"), (_HEADED, "user\n")], ids=["a space", "a system message"]
)
def test_a_template_that_writes_something_else_before_a_picture_than_before_words_takes_pictures(
    tmp_path: Path, opening: str, written: str
) -> None:
    begun = "{{ m['role'] }}\n"
    assert begun in CHAT_TEMPLATE
    backend = with_template(tmp_path / "model", CHAT_TEMPLATE.replace(begun, opening, 1))
    for marks, pictures in (("<picture>", [RED]), ("<picture><picture>", [RED, GREEN])):
        rendered = chat(("user", f"{marks}Hi")).replace("user\n", written)
        assert run(backend, [user("Hi", *pictures)]).text == bare_text(tmp_path / "model", rendered, pictures)
    assert run(backend, [user("Hi")], max_tokens=2).end.output_tokens == 2
    backend.close()


def test_a_picture_that_the_network_would_not_see_is_not_dropped_silently(tmp_path: Path) -> None:
    file = make_mlx(tmp_path / "model") / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "image_token_id": 99_999}))
    error = error_of(load(tmp_path / "model"), [user("Hi", RED)])
    assert error.code is ErrorCode.MODEL_INVALID
    assert "two models" in error.message


def test_a_model_whose_template_has_no_place_for_pictures_takes_none(tmp_path: Path) -> None:
    backend = with_template(tmp_path / "text", "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    assert error_of(backend, [user("Hi", RED)]).code is ErrorCode.UNSUPPORTED_OPTION
    backend.close()


@pytest.mark.parametrize("file", ["chat_template.jinja", "chat_template.json", "processor_config.json"])
def test_the_chat_template_is_found_wherever_folders_have_it(tmp_path: Path, file: str) -> None:
    folder = make_mlx(tmp_path / "model")
    said = "{% for m in messages %}{{ m.content }}{% endfor %}!"
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / file).write_text(said if file.endswith("jinja") else json.dumps({"chat_template": said}))
    backend = load(folder)
    assert backend.count_tokens(prompt([{"role": "user", "content": "abc"}])) == 4
    backend.close()
