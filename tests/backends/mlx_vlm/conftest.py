"""Folders made once for all tests of the mlx_vlm backend, and a backend for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.tiny_mlx import SCRIPT, load, make_mlx

from backends.mlx_vlm.backend import MlxVlmBackend


@pytest.fixture(scope="session")
def vision_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2-VL with random weights."""
    return make_mlx(tmp_path_factory.mktemp("models") / "vision")


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with random weights, which takes no pictures."""
    return make_mlx(tmp_path_factory.mktemp("models") / "text", "text")


@pytest.fixture(scope="session")
def scripted_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2-VL that says the same to everything."""
    return make_mlx(tmp_path_factory.mktemp("models") / "scripted", script=SCRIPT)


@pytest.fixture
def vision(vision_folder: Path) -> Iterator[MlxVlmBackend]:
    """A loaded backend that takes pictures."""
    loaded = load(vision_folder)
    yield loaded
    loaded.close()


@pytest.fixture
def text(text_folder: Path) -> Iterator[MlxVlmBackend]:
    """A loaded backend that does not."""
    loaded = load(text_folder)
    yield loaded
    loaded.close()


@pytest.fixture
def scripted(scripted_folder: Path) -> Iterator[MlxVlmBackend]:
    """A loaded backend whose answer is known."""
    loaded = load(scripted_folder)
    yield loaded
    loaded.close()
