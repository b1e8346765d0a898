"""Projectors: found beside the model or named, and refused with a reason where they do not fit."""

import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.generations import Make, ask, user
from support.looking import look, picture
from support.tiny_gguf import STRING, entry, string, write_tiny

from backends.base import LoadSpec, ModelInfo
from backends.llamacpp.backend import LlamaCppBackend
from backends.llamacpp.describe import describe
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions
from tools.make_gguf import write_model
from tools.make_mmproj import MODEL_SHAPE, ProjectorShape, write_projector

UINT32, INT32 = 4, 5


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that can see, with nothing beside it."""
    write_model(tmp_path / "model.gguf", MODEL_SHAPE)
    return tmp_path / "model.gguf"


def _load(path: Path, **options: Any) -> ModelInfo:
    backend = LlamaCppBackend()
    try:
        return backend.load(LoadSpec(path, LoadOptions(**options)), lambda *_: None)
    finally:
        backend.close()


def _refusal(path: Path, projector: Path | str) -> HostError:
    with pytest.raises(HostError) as caught:
        _load(path, projector_path=str(projector))
    return caught.value


def test_a_projector_beside_the_model_is_found_by_its_content(model: Path) -> None:
    assert not _load(model).capabilities.image
    write_projector(model.with_name("any-name.bin"), ProjectorShape())
    info = _load(model)
    assert info.capabilities.image
    assert not info.capabilities.audio
    assert info.notes == ()


def test_capabilities_are_those_of_the_projector(model: Path) -> None:
    write_projector(model.with_name("mmproj.gguf"), ProjectorShape(vision=False, audio=True))
    capabilities = _load(model).capabilities
    assert (capabilities.image, capabilities.audio) == (False, True)


def test_of_several_projectors_the_one_that_fits_is_taken(model: Path) -> None:
    write_projector(model.with_name("mmproj-a.gguf"), ProjectorShape(text_width=128))
    write_projector(model.with_name("mmproj-b.gguf"), ProjectorShape())
    info = _load(model)
    assert info.capabilities.image
    assert info.notes == ()


def test_of_several_that_fit_the_one_of_the_models_name_is_taken(model: Path) -> None:
    write_projector(model.with_name("mmproj-model.gguf"), ProjectorShape(layers=1))
    write_projector(model.with_name("mmproj-other.gguf"), ProjectorShape(layers=4))
    with_both = describe(model, LoadOptions()).needed_bytes
    model.with_name("mmproj-other.gguf").unlink()
    assert describe(model, LoadOptions()).needed_bytes == with_both


def test_without_one_that_fits_the_model_reads_text_and_says_why(make: Make, model: Path) -> None:
    write_projector(model.with_name("mmproj.gguf"), ProjectorShape(text_width=128))
    info = _load(model)
    assert not info.capabilities.image
    assert "128" in info.notes[0]
    assert "64" in info.notes[0]
    backend = make(model)
    assert ask(backend, [user("hello")]).end.output_tokens == 16
    with pytest.raises(HostError) as caught:
        ask(backend, [look(picture())])
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION


def test_a_projector_that_was_named_is_used_though_it_lies_elsewhere(model: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "folder" / "p.gguf"
    write_projector(elsewhere, ProjectorShape())
    assert _load(model, projector_path=str(elsewhere)).capabilities.image


def test_a_projector_of_another_width_is_refused(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "p" / "other.gguf"
    write_projector(other, ProjectorShape(text_width=128))
    error = _refusal(model, other)
    assert error.code is ErrorCode.MODEL_INVALID
    assert "another model" in error.message


@pytest.mark.parametrize("name", ["v.blk.0.ln1.weight", "v.blk.0.attn_q.bias", "v.post_ln.bias", "mm.2.bias"])
def test_a_projector_that_a_processor_cannot_compute_with_is_refused_when_named_and_noted_when_found(
    model: Path, name: str
) -> None:
    halves = model.with_name("mmproj.gguf")
    write_projector(halves, ProjectorShape(), instead={name: np.ones(32, np.float16)})
    error = _refusal(model, halves)
    assert error.code is ErrorCode.MODEL_INVALID
    assert f"has '{name}' in ggml's type 1, and it is computed with in F32 alone" in error.message
    info = _load(model)
    assert not info.capabilities.image
    assert name in info.notes[0]


def test_a_projector_whose_matrices_are_halves_sees(make: Make, model: Path) -> None:
    halves = {f"v.blk.{layer}.attn_{part}.weight": np.ones((32, 32), np.float16) for layer in (0, 1) for part in "qkv"}
    write_projector(model.with_name("mmproj.gguf"), ProjectorShape(), instead=halves)
    assert ask(make(model), [look(picture())], max_tokens=1).end.output_tokens == 1


def test_a_projector_of_another_architecture_is_refused(tmp_path: Path) -> None:
    write_projector(tmp_path / "p" / "p.gguf", ProjectorShape())
    error = _refusal(write_tiny(tmp_path / "llama.gguf"), tmp_path / "p" / "p.gguf")
    assert error.code is ErrorCode.MODEL_INVALID
    assert "llama" in error.message


def test_a_file_that_is_no_projector_is_refused(model: Path) -> None:
    error = _refusal(model, model)
    assert error.code is ErrorCode.MODEL_INVALID
    assert "not a projector" in error.message
    text = model.with_name("notes.txt")
    text.write_text("not a GGUF file at all, but long enough to be one")
    assert _refusal(model, text).code is ErrorCode.MODEL_INVALID


def test_a_projector_needs_an_absolute_path_to_a_file_that_is_there(model: Path) -> None:
    assert _refusal(model, "mmproj.gguf").code is ErrorCode.INVALID_REQUEST
    assert _refusal(model, model.with_name("none.gguf")).code is ErrorCode.MODEL_NOT_FOUND


def test_a_truncated_projector_is_refused_when_named_and_noted_when_found(model: Path, tmp_path: Path) -> None:
    whole = tmp_path / "p" / "whole.gguf"
    write_projector(whole, ProjectorShape())
    cut = model.with_name("cut.gguf")
    cut.write_bytes(whole.read_bytes()[:-1000])
    error = _refusal(model, cut)
    assert error.code is ErrorCode.MODEL_INVALID
    assert "cut off" in error.message
    info = _load(model)
    assert "cut off" in info.notes[0]
    assert not info.capabilities.image


@pytest.mark.parametrize("tensor", ["mm.0.weight", "v.patch_embd.weight", "v.blk.1.attn_q.bias", "v.blk.0.ln2.weight"])
def test_missing_vision_weights_are_one_clear_error(model: Path, tmp_path: Path, tensor: str) -> None:
    bad = tmp_path / "p" / "bad.gguf"
    write_projector(bad, ProjectorShape(), leave_out=tensor)
    error = _refusal(model, bad)
    assert error.code is ErrorCode.MODEL_INVALID
    assert tensor in error.message


def test_missing_weights_for_sounds_are_told_by_the_engine(model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "p" / "bad.gguf"
    write_projector(bad, ProjectorShape(vision=False, audio=True), leave_out="a.conv1d.1.weight")
    error = _refusal(model, bad)
    assert error.code is ErrorCode.MODEL_INVALID
    assert "a.conv1d.1.weight" in error.message


@pytest.mark.parametrize("shape", [ProjectorShape(patch=0), ProjectorShape(heads=0)])
def test_sizes_that_the_engine_would_divide_by_are_checked(model: Path, tmp_path: Path, shape: ProjectorShape) -> None:
    bad = tmp_path / "p" / "bad.gguf"
    write_projector(bad, shape)
    assert _refusal(model, bad).code is ErrorCode.MODEL_INVALID


def _with_number(path: Path, key: str, value: int, kind: int = UINT32) -> None:
    """Write another number, or one of another type, into a file's header."""
    data = bytearray(path.read_bytes())
    place = data.index(key.encode()) + len(key)
    struct.pack_into("<II", data, place, kind, value)
    path.write_bytes(data)


def _with_entries(path: Path, entries: list[bytes]) -> None:
    """Add entries to the beginning of a file's metadata; the tensors' data moves by whole alignments."""
    data = path.read_bytes()
    added = b"".join(entries)
    filler = -(len(added) + len(entry("f", STRING, string("")))) % 32
    added += entry("f", STRING, string("f" * filler))
    count = struct.unpack_from("<Q", data, 16)[0] + len(entries) + 1
    path.write_bytes(data[:16] + struct.pack("<Q", count) + added + data[24:])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("block_count", 0),
        ("block_count", 1),
        ("patch_size", 7),
        ("embedding_length", 16),
        ("attention.head_count", 3),
        ("spatial_merge_size", 1),
        ("spatial_merge_size", 2**31 - 1),
    ],
)
def test_sizes_that_the_weights_do_not_have_are_told(model: Path, tmp_path: Path, name: str, value: int) -> None:
    bad = tmp_path / "p" / "bad.gguf"
    write_projector(bad, ProjectorShape())
    _with_number(bad, f"clip.vision.{name}", value)
    error = _refusal(model, bad)
    assert error.code is ErrorCode.MODEL_INVALID
    assert name in error.message


def test_an_inner_width_that_the_weights_do_not_have_changes_nothing(model: Path) -> None:
    projector = model.with_name("mmproj.gguf")
    write_projector(projector, ProjectorShape())
    before = describe(model, LoadOptions()).needed_bytes
    _with_number(projector, "clip.vision.feed_forward_length", 2**31 - 1)
    assert describe(model, LoadOptions()).needed_bytes == before
    assert _load(model).capabilities.image


def test_values_that_the_engine_does_not_read_may_be_of_any_type(model: Path) -> None:
    projector = model.with_name("mmproj.gguf")
    write_projector(projector, ProjectorShape())
    names = ("clip.audio.image_size", "clip.vision.num_mel_bins", "clip.audio.block_count")
    _with_entries(projector, [entry(name, INT32, struct.pack("<i", 8)) for name in names])
    assert _load(model).capabilities.image


def test_a_value_of_a_type_that_would_end_the_engine_is_told(model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "p" / "bad.gguf"
    write_projector(bad, ProjectorShape())
    _with_number(bad, "clip.vision.image_size", 56, INT32)
    error = _refusal(model, bad)
    assert error.code is ErrorCode.MODEL_INVALID
    assert "clip.vision.image_size of a wrong type" in error.message


def test_pictures_are_scaled_to_the_greatest_area_that_the_projector_tells(make: Make, model: Path) -> None:
    write_projector(model.with_name("mmproj.gguf"), ProjectorShape(most_pixels=12_800))
    (figures,) = ask(make(model), [look("What is it?", picture(width=400, height=300))]).end.pictures
    assert (figures.scaled_width, figures.scaled_height) == (112, 84)


def test_the_projectors_memory_is_counted(model: Path, tmp_path: Path) -> None:
    alone = describe(model, LoadOptions()).needed_bytes
    shape = ProjectorShape(width=256, feed_forward=1024, heads=4, layers=4)
    write_projector(tmp_path / "p" / "p.gguf", shape)
    shutil.copy(tmp_path / "p" / "p.gguf", model.with_name("mmproj.gguf"))
    beside = describe(model, LoadOptions()).needed_bytes
    assert alone is not None
    assert beside is not None
    assert beside - alone > model.with_name("mmproj.gguf").stat().st_size
