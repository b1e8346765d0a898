"""Sounds in prompts, with the real engine and a tiny model that hears."""

import struct
from pathlib import Path

import pytest
from support.generations import Make, ask, user
from support.looking import look, picture, sound, sound_url, wav

from backends.llamacpp.backend import LlamaCppBackend
from backends.llamacpp.sounds import read_sounds
from messages.content import Message, PromptInput
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


def _flac(samples: int, rate: int = 44_100) -> bytes:
    """The beginning of a FLAC file that says how many samples it has."""
    packed = (rate << 44 | 1 << 41 | 15 << 36 | samples).to_bytes(8, "big")
    return b"fLaC\x80\0\0\x22" + struct.pack(">HH", 4096, 4096) + bytes(6) + packed + bytes(16 + 100)


def _wav_that_says(size: int, rate: int = 16_000, kind: int = 1) -> bytes:
    form = struct.pack("<IHHIIHH", 16, kind, 1, rate, rate, 1, 8)
    return b"RIFF" + struct.pack("<I", 2**31) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size) + bytes(500)


def _mp3(frames: int, info: bytes = b"") -> bytes:
    """Silence at 32 kbit/s, 44.1 kHz, mono; `info` goes where a first frame tells the length."""
    frame = b"\xff\xfb\x10\xc0" + bytes(100)
    return frame[:21] + info.ljust(83, b"\0") + frame * (frames - 1)


def test_mp3_and_tagged_files_are_heard(hearing: LlamaCppBackend) -> None:
    assert ask(hearing, [look(sound_url(_mp3(40), "mpeg"), "?")]).end.output_tokens == 16
    tag = b"ID3\x04\0\0\0\0\x01\x00" + bytes(128)
    tagged, plain = ask(hearing, [look(sound_url(tag + wav()), "?")]), ask(hearing, [look(sound(), "?")])
    assert tagged.text == plain.text


@pytest.mark.parametrize(
    "url",
    [
        sound_url(_flac(2**36 - 1), "flac"),
        sound_url(_flac(2**33), "flac"),
        sound_url(_flac(0), "flac"),
        sound_url(_wav_that_says(2**32 - 16)),
        sound_url(_wav_that_says(2**24, rate=1)),
        sound_url(_wav_that_says(2**24, rate=0)),
        sound_url(_wav_that_says(4000, kind=2)),
        sound_url(_mp3(30_000), "mpeg"),
    ],
    ids=["flac", "less flac", "flac of no length", "wav", "slow wav", "stopped wav", "adpcm", "long mp3"],
)
def test_a_sound_that_is_too_long_or_says_so_is_refused(hearing: LlamaCppBackend, url: str) -> None:
    with pytest.raises(HostError) as caught:
        ask(hearing, [look(url, "?")])
    assert caught.value.code is ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    ("data", "kind", "problem"),
    [
        (wav(), "mpeg", "says that it is MP3, and its content is WAV"),
        (_mp3(40), "wav", "says that it is WAV, and its content is MP3"),
        (wav(), "ogg", "is of type audio/ogg; a sound is one of audio/wav, audio/mpeg, audio/flac"),
    ],
)
def test_a_sound_of_another_type_than_it_says_is_refused(data: bytes, kind: str, problem: str) -> None:
    with pytest.raises(HostError) as caught:
        read_sounds(PromptInput(messages=(look(sound_url(data, kind)),)))
    assert caught.value.details["fields"] == [f"messages[0].content[0].data: {problem}"]


@pytest.mark.parametrize("kind", ["wav", "x-wav", "WAVE", "wav;codecs=1"])
def test_a_type_may_be_spelt_as_programs_spell_it(kind: str) -> None:
    (read,) = read_sounds(PromptInput(messages=(look(sound_url(wav(), kind)),)))
    assert read.data == wav()


def test_a_length_that_an_mp3_claims_is_not_believed(hearing: LlamaCppBackend) -> None:
    claim = b"Xing" + struct.pack(">II", 1, 2**32 - 1)
    short = ask(hearing, [look(sound_url(_mp3(40), "mpeg"), "?")])
    claiming = ask(hearing, [look(sound_url(_mp3(40, claim), "mpeg"), "?")])
    assert claiming.end.input_tokens == short.end.input_tokens


@pytest.mark.parametrize(
    "url",
    [
        sound_url(b"not a sound, but long enough"),
        sound_url(b"RIFF\0\0\0\0WAVE" + bytes(40)),
        sound_url(wav()[:20]),
        sound_url(wav()[:-2]),
        sound_url(b"ID3" + bytes(60)),
        sound_url(b"fLaC" + bytes(60), "flac"),
        sound_url(b"\xff\xfb" + b"\xff" * 60, "mpeg"),
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
