"""The fast path over a fused graph, through the backend: the plain path's text in every turn, nothing left behind."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.reference_text import ROUNDING, Reference
from support.tiny_genai import run
from support.tiny_transformersjs import make_transformersjs
from support.turns import LETTERS, LONG, cancel_in_prefill, check_any_order, check_next_turn, check_rewinds_everywhere

from backends.base import LoadSpec
from backends.onnx.backend import OnnxBackend
from backends.onnx.genai.capi import GenaiLibrary
from backends.onnx.transformersjs import fast_path
from backends.onnx.transformersjs.fast_path import NotFusedError, open_fast
from backends.onnx.transformersjs.folder import read_folder
from backends.onnx.transformersjs.graph import read_decoder_graph
from messages.options import LoadOptions

USED = "The fast path is used: it gives the same tokens as the plain one."


@pytest.fixture(scope="module", params=["fp32", "q4"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a graph of primitive nodes, in one dtype."""
    return make_transformersjs(tmp_path_factory.mktemp("models") / "model", dtypes=(request.param,))


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for what is temporary."""
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def load(folder: Path, *, fast: bool, cache: Path | None = None) -> OnnxBackend:
    """A backend; with `fast` its one note says that the fast path is used."""
    backend = OnnxBackend()
    info = backend.load(LoadSpec(folder, LoadOptions(threads=1, fast_path=fast), cache), lambda *progress: None)
    assert info.notes == ((USED,) if fast else ())
    return backend


@pytest.fixture
def only_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no graph run on the fast path as it is."""

    def refuse(graph: object, place: Path) -> None:
        raise AssertionError("the graph was not fused")

    monkeypatch.setattr(fast_path, "_link", refuse)


@pytest.fixture
def fast(folder: Path, only_fused: None) -> Iterator[OnnxBackend]:
    """A loaded backend, certainly fused."""
    backend = load(folder, fast=True)
    yield backend
    backend.close()


@pytest.fixture
def reference(folder: Path) -> Reference:
    """What the graph as it is gives."""
    (graph,) = (folder / "onnx").glob("*.onnx")
    return Reference(folder, graph, rounding=ROUNDING if "q4" in graph.name else 0.0)


def test_two_hundred_greedy_tokens_are_those_of_the_plain_path(fast: OnnxBackend, folder: Path) -> None:
    plain = load(folder, fast=False)
    for prompt in ("Hello", LONG[:150]):
        outcome = run(fast, prompt, max_tokens=200)
        assert outcome.text == run(plain, prompt, max_tokens=200).text
    plain.close()


def test_the_next_turn_is_right_and_reads_only_what_is_new(fast: OnnxBackend, reference: Reference) -> None:
    asked = [("user", "What is in the box?")]
    first = run(fast, asked, LETTERS, max_tokens=12)
    assert check_next_turn(fast, reference, asked, first.text) >= first.end.input_tokens


def test_a_prompt_changed_at_any_place_is_answered_as_from_the_start(fast: OnnxBackend, reference: Reference) -> None:
    check_rewinds_everywhere(fast, reference, LONG[:40])


def test_a_turn_after_a_cancel_in_prefill_is_right(fast: OnnxBackend, reference: Reference) -> None:
    cancel_in_prefill(fast, LONG[:350], 100)
    assert run(fast, LONG[:200] + "?").text == reference.text(LONG[:200] + "?")


@pytest.mark.parametrize("seed", [0, 1])
def test_stops_cancels_and_changes_in_any_order_leave_the_next_answer_right(
    fast: OnnxBackend, reference: Reference, seed: int
) -> None:
    check_any_order(fast, reference, seed, steps=20)


def test_nothing_that_was_written_for_it_is_left(folder: Path, scratch: Path) -> None:
    backend = load(folder, fast=True)
    assert list(scratch.iterdir()) == []
    assert run(backend, "Hello").end.output_tokens == 24
    backend.close()


def test_a_graph_that_cannot_be_fused_is_used_as_it_is_and_not_tried_again(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tried = make_transformersjs(tmp_path / "model", dtypes=("fp32",)), []

    def refuse(*given: object) -> None:
        tried.append(given)
        raise NotFusedError("its attention cannot be fused: it is another one")

    monkeypatch.setattr(fast_path, "_fuse", refuse)
    for _ in ("first", "second"):
        backend = load(folder, fast=True, cache=tmp_path / "cache")
        assert run(backend, "Hello").end.output_tokens == 24
        backend.close()
    assert len(tried) == 1
    assert list(scratch.iterdir()) == []


def test_a_missing_onnx_package_costs_the_fusion_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "backends.onnx.transformersjs.fused_graph", None)
    backend = load(folder, fast=True)
    assert run(backend, "Hello").end.output_tokens == 24
    backend.close()


def test_a_graph_that_is_too_large_is_not_read_into_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_folder(folder)
    graph = read_decoder_graph(next(iter(whole.graphs["model"].values())), whole.config)
    monkeypatch.setattr("backends.onnx.transformersjs.fused_graph.LARGEST_BYTES", 1000)
    with pytest.raises(NotFusedError, match="too large"):
        open_fast(GenaiLibrary(), whole, graph, 128, provider="", threads=1, fused=True)
