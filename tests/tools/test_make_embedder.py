"""Every written file runs, padding does not matter, and the pooling inside the graph is that of the config."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from support.tiny_embedder import make_embedder, reference_embedding, run_embedder
from tokenizers import Tokenizer

from tools.make_embedder import POOLING_KEYS, PRESETS, Pooling
from tools.model_files import SUFFIXES

TEXT = "The raining cats, and 2 dogs"
TOLERANCE = 1e-4


def encode(folder: Path, text: str = TEXT) -> list[int]:
    ids: list[int] = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
    return ids


def read_json(path: Path) -> object:
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dtype", SUFFIXES)
def test_every_dtype_of_every_preset_runs_and_stays_near_fp32(dtype: str, preset: str, tmp_path: Path) -> None:
    folder = make_embedder(tmp_path, preset, dtypes=tuple({"fp32", dtype}))
    tokens = np.array([encode(folder)])
    plain = run_embedder(folder, tokens, np.ones_like(tokens))
    other = run_embedder(folder, tokens, np.ones_like(tokens), SUFFIXES[dtype])
    assert list(other) == list(plain)
    for name, value in other.items():
        assert value.dtype == np.float32
        assert np.corrcoef(value.ravel(), plain[name].ravel())[0, 1] > 0.9, name


@pytest.mark.parametrize("preset", PRESETS)
def test_padding_does_not_change_a_rows_result(preset: str, tmp_path: Path) -> None:
    folder = make_embedder(tmp_path, preset)
    short, long = encode(folder, "a cat"), encode(folder)
    alone = run_embedder(folder, np.array([short]), np.ones((1, len(short)), dtype=np.int64))
    missing = len(long) - len(short)
    mask = np.array([[1] * len(long), [1] * len(short) + [0] * missing])
    together = run_embedder(folder, np.array([long, short + [0] * missing]), mask)
    for name, value in alone.items():
        row = together[name][1, : len(short)] if name == "last_hidden_state" else together[name][1]
        assert np.abs(row - value[0]).max() < TOLERANCE, name


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_the_sentence_embedding_output_is_pooled_as_the_config_says(
    pooling: Pooling, normalize: bool, tmp_path: Path
) -> None:
    folder = make_embedder(tmp_path, pooling=pooling, normalize=normalize, sentence_embedding=True)
    tokens = np.array([encode(folder)])
    vector = run_embedder(folder, tokens, np.ones_like(tokens))["sentence_embedding"][0]
    assert np.abs(vector - reference_embedding(folder, TEXT, pooling, normalize)).max() < TOLERANCE
    modes = read_json(folder / "1_Pooling" / "config.json")
    assert isinstance(modes, dict)
    assert [mode for key, mode in POOLING_KEYS.items() if modes[key]] == [pooling]
    modules = read_json(folder / "modules.json")
    assert isinstance(modules, list)
    assert any(module["type"].endswith(".Normalize") for module in modules) == normalize


def test_the_tokenizer_cuts_words_into_pieces_between_cls_and_sep(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(make_embedder(tmp_path) / "tokenizer.json"))
    assert tokenizer.encode("The rained é Ж").tokens == ["[CLS]", "the", "rain", "##ed", "e", "[UNK]", "[SEP]"]


def test_other_texts_have_other_vectors(tmp_path: Path) -> None:
    folder = make_embedder(tmp_path)
    first, second = (reference_embedding(folder, text, "mean", True) for text in ("the rain", "a dog and a cat"))
    assert float(first @ second) < 0.95


def test_a_plain_folder_has_no_files_of_sentence_transformers(tmp_path: Path) -> None:
    names = {file.name for file in make_embedder(tmp_path, "plain").iterdir()}
    assert names == {"config.json", "tokenizer.json", "tokenizer_config.json", "onnx"}
