"""Every written file runs, and every form of the graph computes what the genai folder with the same seed does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.graph_decoder import GraphDecoder
from support.tiny_genai import make_tiny
from support.tiny_transformersjs import make_transformersjs

from tools.graph_builder import dequantize_4bit, quantize_4bit
from tools.make_transformersjs import Variant
from tools.model_files import FOUR_BIT_DTYPES, SUFFIXES

TOKENS = [5, 7, 9, 11, 100, 200, 33, 260, 270, 41]
PIECES = (6, 1, 2, 1)
LOGITS_TOLERANCE = 1e-3
HALF_TOLERANCE = 0.05
FORMS: dict[str, dict[str, Any]] = {
    "concat": {},
    "concat without position_ids": {"position_ids": False},
    "concat with num_logits_to_keep": {"num_logits_to_keep": True},
    "concat merged": {"merged": True},
    "gqa": {"attention": "gqa", "position_ids": False},
    "gqa with position_ids": {"attention": "gqa", "position_ids": True},
}


@pytest.fixture(scope="module")
def genai(tmp_path_factory: pytest.TempPathFactory) -> GraphDecoder:
    return GraphDecoder(make_tiny(tmp_path_factory.mktemp("genai")) / "model.onnx")


def only_graph(folder: Path, dtype: str = "fp32") -> Path:
    """The one decoder of a dtype."""
    names = [f"{stem}{SUFFIXES[dtype]}.onnx" for stem in ("model", "decoder_model_merged")]
    (path,) = [folder / "onnx" / name for name in names if (folder / "onnx" / name).is_file()]
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_logits_and_greedy_tokens_of_the_genai_folder(
    form: str, genai: GraphDecoder, tmp_path: Path
) -> None:
    decoder = GraphDecoder(only_graph(make_transformersjs(tmp_path, dtypes=("fp32",), **FORMS[form])))
    expected = genai.read(TOKENS, PIECES)
    assert np.abs(decoder.read(TOKENS, PIECES) - expected).max() < LOGITS_TOLERANCE
    assert decoder.greedy(TOKENS, 40) == genai.greedy(TOKENS, 40)


@pytest.mark.parametrize("attention", ["concat", "gqa"])
def test_four_bit_weights_are_those_of_the_genai_folder(attention: str, tmp_path: Path) -> None:
    sizes = {"int4": True, "scale": 1.0}
    genai = GraphDecoder(make_tiny(tmp_path / "genai", **sizes) / "model.onnx")
    made = make_transformersjs(tmp_path / "made", attention=attention, shape=sizes)
    expected = genai.read(TOKENS, PIECES)
    for dtype in ("q4", "fp32"):
        logits = GraphDecoder(only_graph(made, dtype)).read(TOKENS, PIECES)
        assert np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > 0.999, dtype


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", SUFFIXES)
def test_every_dtype_of_every_form_runs_and_stays_near_fp32(
    dtype: str, form: str, genai: GraphDecoder, tmp_path: Path
) -> None:
    folder = make_transformersjs(tmp_path, dtypes=(dtype,), **FORMS[form])
    logits = GraphDecoder(only_graph(folder, dtype)).read(TOKENS, PIECES)
    least = 0.9 if dtype in (*FOUR_BIT_DTYPES, "bnb4") else 0.99
    assert np.corrcoef(logits.ravel(), genai.read(TOKENS, PIECES).ravel())[0, 1] > least


@pytest.mark.parametrize("form", ["concat", "concat without position_ids", "gqa"])
def test_padding_before_a_row_does_not_change_its_logits(form: str, tmp_path: Path) -> None:
    decoder = GraphDecoder(only_graph(make_transformersjs(tmp_path, dtypes=("fp32",), **FORMS[form])))
    alone = decoder.read(TOKENS[:4], (4,))
    decoder.reset(rows=2)
    if form == "gqa":  # GroupQueryAttention takes padding behind a row only
        rows, mask, columns = [TOKENS[:7], [*TOKENS[:4], 0, 0, 0]], [[1] * 7, [1] * 4 + [0] * 3], slice(0, 4)
    else:
        rows, mask, columns = [TOKENS[:7], [0, 0, 0, *TOKENS[:4]]], [[1] * 7, [0] * 3 + [1] * 4], slice(3, 7)
    together = decoder.step(np.array(rows), np.array(mask))
    assert np.abs(together[1, columns] - alone).max() < LOGITS_TOLERANCE


def test_only_the_wanted_logits_come_out(tmp_path: Path) -> None:
    path = only_graph(make_transformersjs(tmp_path, dtypes=("fp32",), num_logits_to_keep=True))
    decoder = GraphDecoder(path)
    whole = decoder.read(TOKENS, (10,))
    for kept in (1, 3):
        decoder.reset()
        logits = decoder.step(np.array([TOKENS]), kept=kept)
        assert logits.shape[1] == kept
        assert np.abs(logits[0] - whole[-kept:]).max() < LOGITS_TOLERANCE


@pytest.mark.parametrize("half_io", [True, False])
def test_the_caches_of_fp16_files_are_of_the_type_that_the_config_names(half_io: bool, tmp_path: Path) -> None:
    folder = make_transformersjs(tmp_path, dtypes=("fp16", "q4f16"), half_io=half_io)
    told = json.loads((folder / "config.json").read_text("utf-8"))["transformers.js_config"].get("kv_cache_dtype", {})
    for dtype in ("fp16", "q4f16"):
        inputs = GraphDecoder(only_graph(folder, dtype)).inputs
        assert told.get(dtype, "float32") == ("float16" if half_io else "float32")
        assert inputs["past_key_values.0.key"].type == ("tensor(float16)" if half_io else "tensor(float)")


def test_fp16_files_compute_nearly_the_same(genai: GraphDecoder, tmp_path: Path) -> None:
    for form in ("concat", "gqa"):
        folder = make_transformersjs(tmp_path / form, dtypes=("fp16",), **FORMS[form])
        logits = GraphDecoder(only_graph(folder, "fp16")).read(TOKENS, PIECES)
        assert np.abs(logits - genai.read(TOKENS, PIECES)).max() < HALF_TOLERANCE


def test_weights_go_into_a_data_file_where_asked(genai: GraphDecoder, tmp_path: Path) -> None:
    folder = make_transformersjs(tmp_path, dtypes=("fp32", "q4"), external_data=True)
    names = sorted(file.name for file in (folder / "onnx").iterdir())
    assert names == ["model.onnx", "model.onnx_data", "model_q4.onnx", "model_q4.onnx_data"]
    logits = GraphDecoder(folder / "onnx" / "model.onnx").read(TOKENS, PIECES)
    assert np.abs(logits - genai.read(TOKENS, PIECES)).max() < LOGITS_TOLERANCE


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    first, second = make_transformersjs(tmp_path / "first"), make_transformersjs(tmp_path / "second")
    other = make_transformersjs(tmp_path / "other", shape={"seed": 1})
    for file in ("onnx/model.onnx", "onnx/model_q4.onnx", "config.json", "tokenizer.json"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    assert (first / "onnx/model.onnx").read_bytes() != (other / "onnx/model.onnx").read_bytes()


def test_inputs_have_the_names_and_dimensions_that_real_exports_have(tmp_path: Path) -> None:
    inputs = GraphDecoder(only_graph(make_transformersjs(tmp_path, dtypes=("fp32",)))).inputs
    assert list(inputs)[:3] == ["input_ids", "attention_mask", "position_ids"]
    assert inputs["attention_mask"].shape == ["batch_size", "total_sequence_length"]
    assert inputs["past_key_values.1.value"].shape == ["batch_size", 2, "past_sequence_length", 16]


def test_four_bit_blocks_come_back_within_half_a_step() -> None:
    weight = np.random.default_rng(3).standard_normal((64, 5), dtype=np.float32)
    weight[:32, 0] = 0
    packed, scales = quantize_4bit(weight)
    assert (packed.shape, scales.shape) == ((5, 2, 16), (10,))
    steps = np.abs(scales.reshape(5, 2, 1)).repeat(32, axis=2).reshape(5, 64).T
    assert np.all(np.abs(dequantize_4bit(packed, scales) - weight) <= steps * 1.0001)


def test_forms_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="merged"):
        Variant(attention="gqa", merged=True)
    with pytest.raises(ValueError, match="caches"):
        Variant(attention="gqa", half_io=False)
