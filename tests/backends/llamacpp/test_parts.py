"""Models in several files."""

import struct
from pathlib import Path

import pytest
from support.tiny_gguf import ENTRIES, entry, gguf

from backends.llamacpp.describe import describe
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions

UINT16 = 2


def _part(number: int) -> bytes:
    split = [entry("split.no", UINT16, struct.pack("<H", number)), entry("split.count", UINT16, struct.pack("<H", 3))]
    return gguf([*ENTRIES, *split] if number == 0 else split)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """The first of three parts."""
    for number in range(3):
        (tmp_path / f"model-0000{number + 1}-of-00003.gguf").write_bytes(_part(number))
    return tmp_path / "model-00001-of-00003.gguf"


def test_the_sizes_of_all_parts_count(first: Path) -> None:
    assert describe(first, LoadOptions()).size_bytes == sum(len(_part(number)) for number in range(3))


def test_a_missing_part_is_not_found_by_its_name(first: Path) -> None:
    first.with_name("model-00003-of-00003.gguf").unlink()
    with pytest.raises(HostError) as caught:
        describe(first, LoadOptions())
    assert caught.value.code is ErrorCode.MODEL_NOT_FOUND
    assert "model-00003-of-00003.gguf" in caught.value.message


def test_a_part_cut_off_is_an_invalid_model(first: Path) -> None:
    second = first.with_name("model-00002-of-00003.gguf")
    second.write_bytes(second.read_bytes()[:-1])
    with pytest.raises(HostError) as caught:
        describe(first, LoadOptions())
    assert caught.value.code is ErrorCode.MODEL_INVALID
    assert second.name in caught.value.message


def test_a_part_that_is_not_the_first_says_which_one_to_load(first: Path) -> None:
    renamed = first.rename(first.with_name("model.gguf"))
    with pytest.raises(HostError) as caught:
        describe(renamed, LoadOptions())
    assert caught.value.code is ErrorCode.MODEL_INVALID
    assert "00001-of-00003" in caught.value.message
