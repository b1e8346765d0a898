"""Sounds in prompts, with the real engine and a tiny model that hears."""

from pathlib import Path

import pytest
from support.generations import Make, ask, user
from support.looking import look, picture, sound, sound_url, wav

from backends.llamacpp.backend import LlamaCppBackend
from messages.content import Message
from messages.errors import ErrorCode, HostError


@pytest.fixture
def hearing(make: Make, tiny_omni: Path) -> LlamaCppBackend:
    """A backend with the tiny model that sees and hears."""
    return make(tiny_omni)


def test_the_same_sound_gives_the_same_text_and_another_another(make: Make, tiny_omni: Path) -> None:
    texts = [ask(make(tiny_omni), [look(sound(tone), "?")], max_tokens=40).text for tone in (440.0, 440.0, 3000.0)]
    assert texts[0] == texts[1] != texts[2]


def test_a_talk_about_a_sound_goes_on_from_the_cache_and_reads_as_from_scratch(make: Make, tiny_omni: Path) -> None:
    warm, cold = make(tiny_omni), make(tiny_omni)
    talk = [look("listen: ", sound(), " and look: ", picture())]
    answer = ask(warm, talk)
    talk += [Message(role="assistant", content=answer.text), user("again?")]
    second = ask(warm, talk)
    assert second.end.cached_tokens == answer.end.input_tokens + answer.end.output_tokens - 1
    assert second.text == ask(cold, talk).text


@pytest.mark.parametrize(
    "url",
    [
        sound_url(b"not a sound, but long enough"),
        sound_url(b"RIFF\0\0\0\0WAVE" + bytes(40)),
        sound_url(wav()[:20]),
        sound_url(b"ID3" + bytes(60)),
        sound_url(b"fLaC" + bytes(60)),
        sound_url(b"\xff\xfb" + b"\xff" * 60),
        sound_url(wav(seconds=0.0)),
        "data:audio/wav;base64,????",
        "data:audio/wav,RIFF",
        "data:audio/wav;base64,",
    ],
)
def test_what_is_no_sound_is_refused_by_its_place(hearing: LlamaCppBackend, url: str) -> None:
    with pytest.raises(HostError) as caught:
        ask(hearing, [user("x"), look("y", url)])
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    assert "messages[1].content[1].data" in str(caught.value.details["fields"])
    assert ask(hearing, [user("hello")]).end.output_tokens == 16
