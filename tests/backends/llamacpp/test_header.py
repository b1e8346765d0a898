"""The header reader: what is wrong with a file is said in a sentence, in bounded time, and without the engine."""

import math
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.tiny_gguf import ARRAY, ENTRIES, FLOAT32, STRING, UINT32, Tensor, entry, gguf, string, uint32

from backends.llamacpp import header as header_module
from backends.llamacpp.describe import describe
from backends.llamacpp.header import Array, read_header
from backends.llamacpp.tensor_types import BLOCKS
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions


def _strings(*texts: str) -> bytes:
    return struct.pack("<IQ", STRING, len(texts)) + b"".join(map(string, texts))


def _float(key: str, value: float) -> bytes:
    return entry(key, FLOAT32, struct.pack("<f", value))


BAD = {
    "empty": (b"", "only 0 bytes"),
    "too short": (b"GGUF\x03", "only 5 bytes"),
    "another format": (b"PK\x03\x04" + bytes(100), "begins with"),
    "version of the future": (gguf(version=99), "version 99"),
    "version 1": (gguf(version=1), "version 1"),
    "big-endian": (gguf(version=0x03000000), "big-endian"),
    "absurd tensors": (gguf(tensor_count=2**63), "absurd number of tensors"),
    "absurd entries": (gguf(entry_count=2**64 - 1), "absurd number of metadata entries"),
    "more entries than there are": (gguf(entry_count=60_000), "twice"),
    "more tensors than there are": (gguf(tensor_count=60_000), "where it cannot be"),
    "a string longer than the file": (gguf([struct.pack("<Q", 2**40) + b"key"]), "cut off"),
    "an array longer than the file": (gguf([entry("a", ARRAY, struct.pack("<IQ", UINT32, 2**60))]), "cut off"),
    "an absurd array of strings": (gguf([entry("a", ARRAY, struct.pack("<IQ", STRING, 2**60))]), "absurd number"),
    "a string array that ends early": (gguf([entry("a", ARRAY, struct.pack("<IQ", STRING, 999))]), "cut off"),
    "an array of arrays": (gguf([entry("a", ARRAY, struct.pack("<IQ", ARRAY, 1))]), "unknown type"),
    "an unknown value type": (gguf([entry("a", 77, b"")]), "unknown type (77)"),
    "a key twice": (gguf([uint32("a", 1), uint32("a", 2)]), "twice"),
    "an odd alignment": (gguf([*ENTRIES, uint32("general.alignment", 33)]), "power of two"),
    "alignment zero": (gguf([*ENTRIES, uint32("general.alignment", 0)]), "power of two"),
    "a tensor's name twice": (gguf(tensors=[Tensor(), Tensor(offset=128)], data=bytes(256)), "twice"),
    "a tensor's name too long": (gguf(tensors=[Tensor("n" * 64)]), "too long"),
    "too many dimensions": (gguf(tensors=[Tensor(shape=(1,) * 5)]), "5 dimensions"),
    "an unknown tensor type": (gguf(tensors=[Tensor(kind=36)]), "does not know (36)"),
    "a row that is no block": (gguf(tensors=[Tensor(shape=(33,), kind=8)]), "rows of 33"),
    "an offset out of order": (gguf(tensors=[Tensor(offset=64)]), "cannot be"),
    "a tensor beyond the end": (gguf(tensors=[Tensor(shape=(2**62, 2**62))]), "cut off"),
    "weights cut off": (gguf()[:-1], "cut off"),
    "no architecture": (gguf([uint32("a", 1)]), "architecture"),
    "a projector": (gguf([entry("general.architecture", STRING, string("clip"))]), "not a language model"),
    "an adapter": (
        gguf([*ENTRIES, entry("general.type", STRING, string("adapter"))]),
        "not a language model (adapter)",
    ),
    "no context length": (gguf(ENTRIES[:1]), "no usable"),
    "a context length of text": (
        gguf([ENTRIES[0], entry("llama.context_length", STRING, string("much"))]),
        "no usable",
    ),
    "a block count of zero": (gguf([*ENTRIES[:3], uint32("llama.block_count", 0)]), "block_count"),
    "more layers than there are tensors": (gguf([*ENTRIES[:3], uint32("llama.block_count", 2**32 - 1)]), "layers"),
    "a width beyond all weights": (
        gguf([*ENTRIES[:2], uint32("llama.embedding_length", 2**31), *ENTRIES[3:]]),
        "a size of 8589934592",
    ),
    "a head's width beyond all weights": (gguf([*ENTRIES, uint32("llama.attention.key_length", 2**31)]), "a size of"),
    "an epsilon below zero": (gguf([*ENTRIES, _float("llama.attention.layer_norm_rms_epsilon", -1.0)]), "no norm"),
    "an epsilon that is no number": (gguf([*ENTRIES, _float("llama.attention.layer_norm_epsilon", math.nan)]), "nan"),
    "a tensor of a type that no weights have": (gguf(tensors=[Tensor(kind=28, shape=(16,))]), "no weights have (28)"),
    "weights that are whole numbers": (
        gguf(tensors=[Tensor("output.weight", kind=26)]),
        "no weights have (26): 'output.weight'",
    ),
    "weights that are long whole numbers": (
        gguf(tensors=[Tensor("blk.0.attn_norm.weight", kind=27, shape=(16,))]),
        "no weights have (27): 'blk.0.attn_norm.weight'",
    ),
    "a fractional size": (
        gguf([*ENTRIES[:2], entry("llama.embedding_length", FLOAT32, struct.pack("<f", 3.5)), *ENTRIES[3:]]),
        "embedding_length",
    ),
}


EDGES = [0, 1, 255, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


def _describe(folder: Path, data: bytes) -> None:
    path = folder / "model.gguf"
    path.write_bytes(data)
    description = describe(path, LoadOptions())
    assert description.size_bytes == len(data)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_an_invalid_model_that_says_what_is_wrong(name: str, tmp_path: Path) -> None:
    data, reason = BAD[name]
    with pytest.raises(HostError) as caught:
        _describe(tmp_path, data)
    assert caught.value.code is ErrorCode.MODEL_INVALID
    assert reason in caught.value.message
    assert "model.gguf" in caught.value.message


def _with_tokens(path: Path, *tokens: str) -> Path:
    path.write_bytes(gguf([*ENTRIES, entry("tokenizer.ggml.tokens", ARRAY, _strings(*tokens))]))
    return path


@pytest.mark.parametrize("tokens", [("a", "", "b", "a"), ("x", "x\0y"), ("x\0y", "x\0z")])
def test_a_token_that_llama_cpp_has_twice_is_told_at_a_load_alone(tokens: tuple[str, ...], tmp_path: Path) -> None:
    path = _with_tokens(tmp_path / "model.gguf", *tokens)
    read_header(path)
    with pytest.raises(HostError) as caught:
        read_header(path, distinct_tokens=True)
    assert caught.value.code is ErrorCode.MODEL_INVALID
    assert "a token twice in its vocabulary, which this llama.cpp cannot load" in caught.value.message
    assert "Get another conversion" in caught.value.message
    assert "Download" not in caught.value.message


@pytest.mark.parametrize("tokens", [("", "a", ""), ("", "\0a", "\0a"), ("a", "A", "a "), ()])
def test_empty_tokens_which_llama_cpp_renames_may_come_often(tokens: tuple[str, ...], tmp_path: Path) -> None:
    path = _with_tokens(tmp_path / "model.gguf", *tokens)
    assert read_header(path, distinct_tokens=True).metadata["tokenizer.ggml.tokens"] == Array(len(tokens))


def test_no_more_tokens_are_compared_than_any_model_has(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf([entry("tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", STRING, 2_000_000))]))
    with pytest.raises(HostError) as caught:
        read_header(path, distinct_tokens=True)
    assert "absurd number of tokens (2000000)" in caught.value.message


def test_a_whole_file_passes(tmp_path: Path) -> None:
    _describe(tmp_path, gguf())
    _describe(tmp_path, gguf(version=2))


@pytest.mark.parametrize(("name", "kind"), [("blk.12.ffn_gate_tid2eid.weight", 26), ("d2t", 27)])
def test_tables_that_models_look_numbers_up_in_are_read(name: str, kind: int, tmp_path: Path) -> None:
    _describe(tmp_path, gguf(tensors=[Tensor(name, kind=kind, shape=(16,))]))


@pytest.mark.parametrize("length", range(0, 400, 7))
def test_a_file_cut_off_anywhere_is_an_invalid_model(length: int, tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        _describe(tmp_path, gguf()[:length])
    assert caught.value.code is ErrorCode.MODEL_INVALID


def test_a_path_that_cannot_be_read_is_not_found(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.gguf"):
        with pytest.raises(HostError) as caught:
            read_header(path)
        assert caught.value.code is ErrorCode.MODEL_NOT_FOUND


def test_a_file_that_announces_a_huge_header_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "sparse.gguf"
    data = gguf([entry("a", ARRAY, struct.pack("<IQ", STRING, header_module.MAX_STRINGS))], data=b"")
    with path.open("wb") as file:
        file.write(data)
        file.truncate(10 * 2**30)
    started = time.monotonic()
    with pytest.raises(HostError) as caught:
        read_header(path)
    assert caught.value.code is ErrorCode.MODEL_INVALID
    assert time.monotonic() - started < 10


def test_values_of_all_kinds_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    numbers = struct.pack("<IQ", UINT32, 3) + struct.pack("<3I", 7, 8, 9)
    words = struct.pack("<IQ", STRING, 2) + string("a") + string("bc")
    path.write_bytes(gguf([*ENTRIES, entry("numbers", ARRAY, numbers), entry("words", ARRAY, words), uint32("n", 5)]))
    metadata = read_header(path).metadata
    assert metadata["numbers"] == Array(3, (7, 8, 9))
    assert metadata["words"] == Array(2)
    assert metadata["n"] == 5
    assert metadata["general.architecture"] == "llama"


def test_the_sizes_of_tensor_types_are_the_engines() -> None:
    import ctypes

    from llama_cpp._ggml import libggml

    size, values = libggml.ggml_type_size, libggml.ggml_blck_size
    size.restype, values.restype = ctypes.c_size_t, ctypes.c_int64
    known = {kind: (values(kind), size(kind)) for kind in range(43) if size(kind)}
    assert known == BLOCKS


@settings(max_examples=400, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_mutation_is_described_or_refused(data: st.DataObject, tiny: Path, tmp_path: Path) -> None:
    original = data.draw(st.sampled_from([gguf(), tiny.read_bytes()[:12_000]]))
    mutated = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(mutated) - 8))
        value = data.draw(
            st.one_of(st.sampled_from([0, 1, 255, 2**31, 2**32 - 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1))
        )
        width = data.draw(st.sampled_from([1, 4, 8]))
        mutated[place : place + width] = (value % 256**width).to_bytes(width, "little")
    path = tmp_path / "mutated.gguf"
    path.write_bytes(mutated)
    try:
        describe(path, LoadOptions())
    except HostError as error:
        assert error.code is ErrorCode.MODEL_INVALID  # noqa: PT017 - either outcome is right
