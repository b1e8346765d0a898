"""Every written file runs, and the decoder really looks at its source, at its past, and at nothing that is padding."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from support.tiny_t5 import T5Graphs, make_t5
from tokenizers import Tokenizer

from tools.model_files import SUFFIXES

SOURCE = [10, 20, 30, 40, 50, 1]
TARGET = [0, 60, 70, 80, 90]
TOLERANCE = 1e-3
DTYPES = ("fp32", "q4", "int8", "uint8", "q8", "bnb4")


@pytest.fixture(scope="module", params=["tiny", "tiny-split"])
def graphs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> T5Graphs:
    return T5Graphs(make_t5(tmp_path_factory.mktemp("t5"), request.param))


def test_target_tokens_read_one_by_one_give_the_logits_of_all_at_once(graphs: T5Graphs) -> None:
    graphs.encode(np.array([SOURCE]))
    whole = graphs.step(np.array([TARGET]))
    graphs.encode(np.array([SOURCE]))
    one_by_one = [graphs.step(np.array([[token]])) for token in TARGET]
    assert np.abs(np.concatenate(one_by_one, axis=1) - whole).max() < TOLERANCE


def test_merged_and_split_decoders_give_the_same_greedy_tokens(tmp_path: Path) -> None:
    merged = T5Graphs(make_t5(tmp_path / "merged"))
    split = T5Graphs(make_t5(tmp_path / "split", "tiny-split"))
    assert merged.greedy(SOURCE, 30) == split.greedy(SOURCE, 30)
    assert len(merged.greedy(SOURCE, 30)) > 3


def test_the_target_depends_on_the_source_and_on_its_own_past(graphs: T5Graphs) -> None:
    graphs.encode(np.array([SOURCE]))
    logits = graphs.step(np.array([TARGET]))[0, -1]
    graphs.encode(np.array([[11, *SOURCE[1:]]]))
    assert np.abs(graphs.step(np.array([TARGET]))[0, -1] - logits).max() > 0.1
    graphs.encode(np.array([SOURCE]))
    assert np.abs(graphs.step(np.array([[0, 61, *TARGET[2:]]]))[0, -1] - logits).max() > 0.1


def test_padding_behind_a_source_changes_nothing(graphs: T5Graphs) -> None:
    graphs.encode(np.array([SOURCE]))
    alone = graphs.step(np.array([TARGET]))[0]
    mask = np.array([[1] * 8, [1] * 6 + [0] * 2])
    graphs.encode(np.array([[5, 6, 7, *SOURCE[:5]], [*SOURCE, 9, 9]]), mask)
    assert np.abs(graphs.step(np.array([TARGET, TARGET]))[1] - alone).max() < TOLERANCE


def test_the_merged_decoder_gives_dummies_for_the_encoders_cache_after_the_first_step(tmp_path: Path) -> None:
    graphs = T5Graphs(make_t5(tmp_path))
    graphs.encode(np.array([SOURCE]))
    graphs.step(np.array([[0]]))
    first = graphs.last_outputs
    graphs.step(np.array([[60]]))
    later = graphs.last_outputs
    assert first["present.1.encoder.value"].shape == (1, 4, len(SOURCE), 16)
    assert later["present.1.encoder.value"].shape == (0, 4, 1, 16)
    assert later["present.1.decoder.value"].shape == (1, 4, 2, 16)


def _logits_behind_a_past(graphs: T5Graphs) -> npt.NDArray[np.float32]:
    graphs.encode(np.array([SOURCE]))
    graphs.step(np.array([TARGET[:3]]))
    logits: npt.NDArray[np.float32] = graphs.step(np.array([TARGET[3:]])).ravel()
    return logits


@pytest.mark.parametrize("preset", ["tiny", "tiny-split"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_runs_and_stays_near_fp32(dtype: str, preset: str, graphs: T5Graphs, tmp_path: Path) -> None:
    quantized = T5Graphs(make_t5(tmp_path, preset, dtypes=(dtype,)), SUFFIXES[dtype])
    assert np.corrcoef(_logits_behind_a_past(graphs), _logits_behind_a_past(quantized))[0, 1] > 0.8


def test_the_config_says_encoder_decoder_and_the_tokenizer_ends_each_text(tmp_path: Path) -> None:
    folder = make_t5(tmp_path)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["is_encoder_decoder"] is True
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode("the").ids[-1] == config["eos_token_id"] == tokenizer.token_to_id("</s>")
    assert config["decoder_start_token_id"] == tokenizer.token_to_id("<pad>")
    assert tokenizer.decode(tokenizer.encode("Grüß the rain").ids) == "Grüß the rain"
