"""What a model is asked: text is joined from its parts, pictures and sounds are found."""

from collections.abc import Mapping

from messages.content import Message, PromptInput

PICTURE = {"type": "image", "data": "data:image/png;base64,AAAA"}
PICTURE_URL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SOUND = {"type": "audio", "data": "data:audio/wav;base64,AAAA"}


def message(*parts: Mapping[str, object]) -> Message:
    return Message.model_validate({"role": "user", "content": list(parts)})


def test_a_string_is_its_own_text() -> None:
    assert Message(role="user", content="hi").text == "hi"


def test_text_parts_are_joined_and_the_others_left_out() -> None:
    assert message({"type": "text", "text": "a"}, PICTURE, {"type": "text", "text": "b"}).text == "ab"


def test_a_picture_is_found_in_either_spelling_and_is_no_sound() -> None:
    for picture in (PICTURE, PICTURE_URL):
        prompt = PromptInput(messages=(Message(role="user", content="x"), message(picture)))
        assert prompt.has_part("image")
        assert not prompt.has_part("audio")


def test_a_sound_is_found() -> None:
    assert PromptInput(messages=(message(SOUND),)).has_part("audio")


def test_a_bare_prompt_has_neither() -> None:
    assert not PromptInput(prompt="x").has_part("image")
    assert not PromptInput(prompt="x").has_part("audio")
