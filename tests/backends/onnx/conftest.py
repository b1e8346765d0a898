"""Folders made once for all tests of the onnx backend, and a backend for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.tiny_genai import load, make_tiny

from backends.onnx.backend import OnnxBackend


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose KV cache is one buffer, as genai's model builder makes them."""
    return make_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def growing_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with a KV cache that grows (`past_present_share_buffer` false)."""
    return make_tiny(tmp_path_factory.mktemp("models") / "growing", share_buffer=False)


@pytest.fixture(params=["tiny_folder", "growing_folder"])
def folder(request: pytest.FixtureRequest) -> Path:
    """Each of the two."""
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture
def backend(folder: Path) -> Iterator[OnnxBackend]:
    """A loaded backend, for each kind of KV cache."""
    loaded = load(folder)
    yield loaded
    loaded.close()


@pytest.fixture
def tiny(tiny_folder: Path) -> Iterator[OnnxBackend]:
    """A loaded backend where the kind of KV cache does not matter."""
    loaded = load(tiny_folder)
    yield loaded
    loaded.close()
