"""The catalog: names and paths become files and backends, and folders are looked through without surprises."""

import importlib.util
import os
from pathlib import Path

import pytest
from support import tiny_gguf

from messages.errors import ErrorCode, HostError
from native_host.catalog import SEARCH_DEPTH, Catalog
from tools.make_mmproj import write_vision_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models"
    made.mkdir()
    return made


@pytest.fixture
def catalog(folder: Path) -> Catalog:
    return Catalog([folder])


def refused(catalog: Catalog, name: str, backend: str = "auto") -> ErrorCode:
    with pytest.raises(HostError) as caught:
        catalog.resolve(name, backend)
    return caught.value.code


def names(catalog: Catalog) -> list[str]:
    return [listing.model for listing in catalog.listings(set())]


def test_a_name_is_looked_up_in_the_folders_in_order(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
    tiny_gguf.write_tiny(tmp_path / "two" / "a.gguf")
    catalog = Catalog([tmp_path / "one", tmp_path / "two"])
    name, path, row = catalog.resolve("a.gguf", "auto")
    assert (name, path, row.name) == ("a.gguf", tmp_path / "two" / "a.gguf", "llamacpp")
    tiny_gguf.write_tiny(tmp_path / "one" / "a.gguf")
    assert catalog.resolve("a.gguf", "auto")[1] == tmp_path / "one" / "a.gguf"


def test_a_file_behind_another_of_its_name_is_named_by_its_path(tmp_path: Path) -> None:
    one, two = (tiny_gguf.write_tiny(tmp_path / place / "a.gguf") for place in ("one", "two"))
    catalog = Catalog([tmp_path / "none", tmp_path / "one", tmp_path / "two"])
    assert [catalog.resolve(str(path), "auto")[0] for path in (one, two)] == ["a.gguf", str(two)]
    listed = {listing.model: (listing.model_path, listing.loaded) for listing in catalog.listings({"a.gguf", str(two)})}
    assert (listed["a.gguf"], listed[str(two)]) == ((str(one), False), (str(two), True))
    assert names(catalog) == ["demo", "demo-vision", "a.gguf", str(two)]


def test_every_model_is_listed_once_though_a_folder_holds_another(folder: Path) -> None:
    for name in ("sub/a.gguf", "sub/b.gguf", "a.gguf"):
        tiny_gguf.write_tiny(folder / name)
    assert names(Catalog([folder, folder / "sub"]))[2:] == ["a.gguf", "sub/a.gguf", "sub/b.gguf"]
    assert names(Catalog([folder / "sub", folder]))[2:] == ["a.gguf", "b.gguf", str(folder / "a.gguf")]


@pytest.mark.parametrize("name", ["demo", "demo-vision", "echo", "~/x"])
def test_a_file_whose_name_means_something_else_is_named_by_its_path(
    catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tiny_gguf.write_tiny(folder / name)
    assert catalog.resolve(str(path), "auto")[:2] == (str(path), path)
    assert catalog.place(name) is None
    assert names(catalog) == ["demo", "demo-vision", str(path)]


def test_a_path_outside_the_folders_is_its_own_name(catalog: Catalog, tmp_path: Path) -> None:
    path = tiny_gguf.write_tiny(tmp_path / "b.gguf")
    assert catalog.resolve(str(path), "auto")[:2] == (str(path), path)


def test_a_path_in_a_folder_has_its_short_name(catalog: Catalog, folder: Path) -> None:
    path = tiny_gguf.write_tiny(folder / "c.gguf")
    assert catalog.resolve(str(path), "auto")[0] == "c.gguf"


def test_a_path_from_the_home_is_found(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny_gguf.write_tiny(tmp_path / "d.gguf")
    assert catalog.resolve("~/d.gguf", "auto")[1] == tmp_path / "d.gguf"


@pytest.mark.parametrize(
    "name",
    ["nothing", "/nothing", "~nobody-here/x", "../nothing", "a\0b", "/a\0b", "~\0x", "~\0/x", "~\ud800x", "/\ud800"],
)
def test_what_is_not_there_is_not_found(catalog: Catalog, name: str) -> None:
    assert refused(catalog, name) is ErrorCode.MODEL_NOT_FOUND


def test_the_echo_takes_any_name(catalog: Catalog) -> None:
    assert catalog.resolve("echo", "auto")[2].name == "echo"
    assert catalog.resolve("whatever", "echo")[0] == "whatever"


def test_the_demo_is_always_there_in_each_of_its_forms(catalog: Catalog) -> None:
    assert catalog.resolve("demo", "auto")[2].name == "llamacpp"
    name, path, row = catalog.resolve("demo", "onnx")
    assert (name, path.is_dir(), row.name) == ("demo", True, "onnx")
    assert refused(catalog, "demo", "echo") is ErrorCode.INVALID_REQUEST


def test_the_vision_demo_is_always_there_in_each_of_its_forms(catalog: Catalog) -> None:
    name, path, row = catalog.resolve("demo-vision", "auto")
    assert (name, path.is_file(), row.name) == ("demo-vision", True, "llamacpp")
    name, path, row = catalog.resolve("demo-vision", "mlx_vlm")
    assert (name, path.is_dir(), row.name) == ("demo-vision", True, "mlx_vlm")
    assert refused(catalog, "demo-vision", "onnx") is ErrorCode.INVALID_REQUEST


def test_without_the_first_engine_the_vision_demo_is_loaded_by_the_second(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "llama_cpp" else find(name, *rest)
    )
    assert catalog.resolve("demo-vision", "auto")[2].name == "mlx_vlm"
    assert [one.backend for one in catalog.listings(set()) if one.model == "demo-vision"] == ["mlx_vlm"]


def test_without_any_engine_the_one_is_named_that_takes_least_to_install(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    named = {}
    for model in ("demo", "demo-vision"):
        with pytest.raises(HostError) as missing:
            catalog.resolve(model, "auto")
        named[model] = (missing.value.code, missing.value.details["backend"])
    assert named == {
        "demo": (ErrorCode.ENGINE_MISSING, "onnx"),
        "demo-vision": (ErrorCode.ENGINE_MISSING, "llamacpp"),
    }


def test_listings_hold_models_and_nothing_else(catalog: Catalog, folder: Path) -> None:
    tiny_gguf.write_tiny(folder / "model.gguf")
    (folder / "readme.txt").write_text("hello")
    (folder / "page.gguf").write_text("<html>")
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder / "loop")
    assert names(catalog) == ["demo", "demo-vision", "model.gguf"]


def test_a_projector_is_listed_with_its_model_and_not_by_itself(catalog: Catalog, folder: Path) -> None:
    write_vision_model(folder / "vl")
    assert names(catalog) == ["demo", "demo-vision", "vl/tiny-vl.gguf"]
    listing = catalog.listings(set())[-1]
    assert listing.problem is None
    alone = listing.needed_bytes
    (folder / "vl" / "mmproj-tiny-vl.gguf").unlink()
    assert catalog.listings(set())[-1].needed_bytes != alone


def test_folders_are_looked_through_to_a_depth(catalog: Catalog, folder: Path) -> None:
    deep = folder
    for level in range(SEARCH_DEPTH + 1):
        deep = deep / str(level)
    deep.mkdir(parents=True)
    tiny_gguf.write_tiny(deep / "too-deep.gguf")
    tiny_gguf.write_tiny(folder / "0" / "1" / "near.gguf")
    assert names(catalog) == ["demo", "demo-vision", "0/1/near.gguf"]


def test_a_link_back_up_is_not_followed_for_ever(catalog: Catalog, folder: Path) -> None:
    (folder / "up").symlink_to(folder)
    tiny_gguf.write_tiny(folder / "model.gguf")
    assert names(catalog) == ["demo", "demo-vision", "model.gguf"]


def test_a_linked_model_is_listed(catalog: Catalog, folder: Path, tmp_path: Path) -> None:
    tiny_gguf.write_tiny(tmp_path / "elsewhere.gguf")
    (folder / "link.gguf").symlink_to(tmp_path / "elsewhere.gguf")
    assert names(catalog) == ["demo", "demo-vision", "link.gguf"]


def test_a_broken_model_is_listed_with_its_problem(catalog: Catalog, folder: Path) -> None:
    whole = tiny_gguf.write_tiny(folder / "whole.gguf").read_bytes()
    (folder / "half.gguf").write_bytes(whole[: len(whole) // 2])
    problems = {listing.model: listing.problem for listing in catalog.listings(set())}
    assert problems["whole.gguf"] is None
    assert problems["half.gguf"]


def test_a_model_too_large_for_this_machine_is_listed_as_such(catalog: Catalog, folder: Path) -> None:
    tiny_gguf.write_tiny(folder / "huge.gguf", context=2**24, layers=64)
    listing = next(one for one in catalog.listings(set()) if one.model == "huge.gguf")
    assert listing.needed_bytes is not None
    assert listing.fits_in_memory is not None


def test_loaded_models_are_marked_and_missing_folders_are_empty(tmp_path: Path) -> None:
    catalog = Catalog([tmp_path / "missing"])
    marked = [(listing.model, listing.loaded) for listing in catalog.listings({"demo"})]
    assert marked == [("demo", True), ("demo-vision", False)]
