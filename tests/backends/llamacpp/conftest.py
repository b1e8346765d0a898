"""Tiny models, made once a run, and backends that have them loaded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.generations import Make
from support.grammar_texts import Accepts, grammar_texts
from support.tiny_gguf import write_tiny

from backends.base import LoadSpec
from backends.llamacpp.backend import LlamaCppBackend
from messages.options import LoadOptions
from tools.make_mmproj import write_vision_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes printable ASCII and never ends by itself; context 2048."""
    return write_tiny(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="session")
def bytes_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes single bytes of multi-byte characters."""
    return write_tiny(tmp_path_factory.mktemp("gguf") / "bytes.gguf", emit="bytes")


@pytest.fixture(scope="session")
def tiny_vl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that sees: Qwen2-VL's architecture, context 2048, its projector beside it."""
    return write_vision_model(tmp_path_factory.mktemp("vl"))


@pytest.fixture(scope="session")
def tiny_omni(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with a projector that also hears."""
    return write_vision_model(tmp_path_factory.mktemp("omni"), audio=True)


@pytest.fixture
def make(tiny: Path) -> Iterator[Make]:
    """Makes backends with the tiny model, or another, loaded with given options; they are closed at the end."""
    made: list[LlamaCppBackend] = []

    def load(path: Path | None = None, **options: Any) -> LlamaCppBackend:
        backend = LlamaCppBackend()
        made.append(backend)
        backend.load(LoadSpec(path or tiny, LoadOptions(**options)), lambda *_: None)
        return backend

    yield load
    for backend in made:
        backend.close()


@pytest.fixture
def backend(make: Make) -> LlamaCppBackend:
    """A backend with the tiny model."""
    return make()


@pytest.fixture
def accepts(backend: LlamaCppBackend) -> Iterator[Accepts]:
    """Tells whether the engine's grammar for a schema takes a text, to its end."""
    with grammar_texts(backend) as accept:
        yield accept
