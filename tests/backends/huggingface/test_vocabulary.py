"""Tokens of SentencePiece's kind into text; those of the byte-level kind are tested with the engine."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.byte_tokens import BYTES, byte_model

from backends.huggingface.vocabulary import TokenText, Vocabulary
from messages.errors import ErrorCode, HostError

WORDS = ["<unk>", "<s>", "</s>", *BYTES, "▁", "▁Hello", "▁world", "lo"]
SENTENCE_PIECE: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [
        {
            "id": index,
            "content": word,
            "special": True,
            "normalized": False,
            "lstrip": False,
            "rstrip": False,
            "single_word": False,
        }
        for index, word in enumerate(WORDS[:3])
    ],
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    },
    "decoder": {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    },
    "model": byte_model(WORDS),
}


def text_of(folder: Path, description: dict[str, Any], *words: str) -> str:
    (folder / "tokenizer.json").write_text(json.dumps(description))
    text = TokenText(Vocabulary(folder, description, len(WORDS), [2]), ())
    return "".join(text.feed(WORDS.index(word)) for word in words) + text.flush()


def _nested(levels: int) -> dict[str, Any]:
    decoder: dict[str, Any] = {"type": "ByteLevel"}
    for _ in range(levels):
        decoder = {"type": "Sequence", "decoders": [decoder]}
    return decoder


@pytest.mark.parametrize(
    "decoder",
    [{"type": "Sequence", "decoders": None}, {"type": "Sequence", "decoders": ["a"]}, _nested(300)],
    ids=["null", "texts", "nested deep"],
)
def test_a_decoder_of_an_odd_shape_is_model_invalid(tmp_path: Path, decoder: dict[str, Any]) -> None:
    with pytest.raises(HostError) as caught:
        text_of(tmp_path, {**SENTENCE_PIECE, "decoder": decoder})
    assert caught.value.code is ErrorCode.MODEL_INVALID


def test_the_first_word_s_space_is_not_part_of_the_text(tmp_path: Path) -> None:
    assert text_of(tmp_path, SENTENCE_PIECE, "▁Hello", "▁world") == "Hello world"


def test_where_the_decoder_keeps_the_first_space_it_is_kept(tmp_path: Path) -> None:
    decoders = SENTENCE_PIECE["decoder"]["decoders"][:-1]
    keeping = {**SENTENCE_PIECE, "decoder": {"type": "Sequence", "decoders": decoders}}
    assert text_of(tmp_path, keeping, "▁Hello", "▁world") == " Hello world"


def test_bytes_spelled_as_tokens_become_characters(tmp_path: Path) -> None:
    assert text_of(tmp_path, SENTENCE_PIECE, "▁Hello", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "lo") == "Hello😀lo"


def test_bytes_that_are_no_character_are_marked_and_the_text_goes_on(tmp_path: Path) -> None:
    assert (
        text_of(tmp_path, SENTENCE_PIECE, "▁Hello", "<0xF0>", "<0x9F>", "▁world", "<0xE2>") == "Hello\ufffd world\ufffd"
    )


def test_special_tokens_write_nothing(tmp_path: Path) -> None:
    assert text_of(tmp_path, SENTENCE_PIECE, "<s>", "▁Hello", "</s>") == "Hello"


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(SENTENCE_PIECE))
    with pytest.raises(HostError) as caught:
        Vocabulary(tmp_path, SENTENCE_PIECE, 100, [2])
    assert caught.value.code is ErrorCode.MODEL_INVALID


def test_t5_s_kind_of_decoder_is_known_too(tmp_path: Path) -> None:
    metaspace = {**SENTENCE_PIECE, "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}}
    assert text_of(tmp_path, metaspace, "<s>", "▁Hello", "▁world", "lo", "▁") == "Hello worldlo "
    in_a_row = {**SENTENCE_PIECE, "decoder": {"type": "Sequence", "decoders": [metaspace["decoder"]]}}
    assert text_of(tmp_path, in_a_row, "▁Hello", "▁world") == "Hello world"
