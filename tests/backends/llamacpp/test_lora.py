"""LoRA adapters: one that fits changes the text, one that does not is refused by name."""

import struct
from pathlib import Path

import pytest
from support.generations import Make, ask
from support.tiny_gguf import FLOAT32, UINT32, string, write_lora

from backends.llamacpp.header import read_header
from messages.errors import ErrorCode, HostError

FLOAT, INTEGER = struct.pack("<I", FLOAT32), struct.pack("<I", UINT32)


def _refusal(make: Make, lora: str) -> HostError:
    with pytest.raises(HostError) as caught:
        make(lora=lora)
    return caught.value


def test_an_adapter_changes_what_the_model_says(make: Make, tmp_path: Path) -> None:
    lora = str(write_lora(tmp_path / "lora.gguf"))
    assert ask(make(lora=lora), "hello").text != ask(make(), "hello").text


def test_an_adapter_needs_an_absolute_path(make: Make) -> None:
    assert _refusal(make, "lora.gguf").code is ErrorCode.INVALID_REQUEST


def test_a_missing_adapter_is_not_found(make: Make, tmp_path: Path) -> None:
    assert _refusal(make, str(tmp_path / "none.gguf")).code is ErrorCode.MODEL_NOT_FOUND


def test_a_model_is_no_adapter(make: Make, tiny: Path) -> None:
    assert "not a LoRA adapter" in _refusal(make, str(tiny)).message


def test_an_adapter_for_another_architecture_or_size_is_refused(make: Make, tmp_path: Path) -> None:
    other = _refusal(make, str(write_lora(tmp_path / "other.gguf", architecture="gemma")))
    assert other.code is ErrorCode.MODEL_INVALID
    assert "gemma" in other.message
    wide = _refusal(make, str(write_lora(tmp_path / "wide.gguf", width=128)))
    assert wide.code is ErrorCode.MODEL_INVALID
    assert "does not fit" in wide.message


def test_a_value_of_a_type_that_would_end_the_engine_is_told(make: Make, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "lora.gguf")
    key = string("adapter.lora.alpha")
    lora.write_bytes(lora.read_bytes().replace(key + FLOAT, key + INTEGER))
    assert "adapter.lora.alpha of a wrong type" in _refusal(make, str(lora)).message


def test_an_adapter_of_no_numbers_is_named(make: Make, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "lora.gguf")
    weights = read_header(lora).tensor_bytes
    lora.write_bytes(lora.read_bytes()[:-weights] + b"\xff" * weights)
    error = _refusal(make, str(lora))
    assert error.code is ErrorCode.MODEL_INVALID
    assert "with the adapter lora.gguf: its weights are damaged" in error.message
