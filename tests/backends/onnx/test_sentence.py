"""The files of sentence-transformers are read as their library writes them, and refused where we cannot follow."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.tiny_embedder import make_embedder
from support.tiny_genai import load

from backends.onnx.transformersjs.sentence import Pooling, read_sentence_settings
from messages.errors import ErrorCode, HostError

DENSE = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}


def write(folder: Path, name: str, value: Any) -> Path:
    """Write a JSON file, and give its folder."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value))
    return folder


def module(kind: str, path: str) -> dict[str, str]:
    return {"type": f"sentence_transformers.models.{kind}", "path": path}


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, Pooling.MEAN),
        ({"pooling_mode_cls_token": True}, Pooling.CLS),
        ({"pooling_mode_lasttoken": True, "pooling_mode_max_tokens": False}, Pooling.LAST_TOKEN),
        ({"pooling_mode": "cls", "embedding_dimension": 32}, Pooling.CLS),
    ],
)
def test_a_pooling_config_names_one_kind(config: dict[str, Any], pooling: Pooling, tmp_path: Path) -> None:
    settings = read_sentence_settings(write(tmp_path, "1_Pooling/config.json", config))
    assert (settings.pooling, settings.normalize) == (pooling, True)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"pooling_mode_max_tokens": True}, "max_tokens"),
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean_tokens"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, "max_tokens and mean_tokens"),
        ({"pooling_mode_mean_tokens": False}, "none"),
        ({"pooling_mode": ["mean", "max"]}, "['mean', 'max']"),
    ],
)
def test_another_pooling_is_an_error_that_names_it_and_what_can_be_done(
    config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = make_embedder(tmp_path)
    write(folder, "1_Pooling/config.json", config)
    with pytest.raises(HostError) as caught:
        load(folder)
    assert caught.value.code is ErrorCode.MODEL_INVALID
    assert f"({said}); it can do mean, cls and last token" in caught.value.message
    assert caught.value.details["file"] == str(folder / "1_Pooling" / "config.json")


def test_modules_decide_about_normalising_and_where_the_pooling_is(tmp_path: Path) -> None:
    write(tmp_path, "elsewhere/config.json", {"pooling_mode_cls_token": True})
    write(tmp_path, "modules.json", [module("Transformer", ""), module("Pooling", "elsewhere")])
    settings = read_sentence_settings(tmp_path)
    assert (settings.pooling, settings.normalize) == (Pooling.CLS, False)
    newer = "sentence_transformers.sentence_transformer.modules.normalize.Normalize"
    write(tmp_path, "modules.json", [module("Pooling", "elsewhere"), {"type": newer, "path": "2_Normalize"}])
    assert read_sentence_settings(tmp_path).normalize


def test_a_folder_without_any_of_these_files_is_normalised_and_its_pooling_is_not_told(tmp_path: Path) -> None:
    settings = read_sentence_settings(tmp_path)
    assert (settings.pooling, settings.normalize) == (None, True)
    notes = load(make_embedder(tmp_path / "model", "plain"))._require().info.notes
    assert notes == ("The folder has no pooling config; a vector is the mean of its text's tokens.",)


def test_a_layer_behind_the_pooling_must_be_in_the_graph(tmp_path: Path) -> None:
    modules = [module("Transformer", ""), module("Pooling", "1_Pooling"), DENSE]
    outside = write(make_embedder(tmp_path / "outside"), "modules.json", modules)
    with pytest.raises(HostError) as caught:
        load(outside)
    assert caught.value.code is ErrorCode.MODEL_INVALID
    assert "Dense" in caught.value.message
    load(write(make_embedder(tmp_path / "inside", sentence_embedding=True), "modules.json", modules))


@pytest.mark.parametrize(
    "modules", [{}, "x", ["x"], [{}], [{"type": 1}], [{"type": "a.Pooling", "path": "../../x"}], [DENSE | {"path": 1}]]
)
def test_damaged_modules_are_one_clear_error(modules: Any, tmp_path: Path) -> None:
    folder = write(make_embedder(tmp_path), "modules.json", modules)
    with pytest.raises(HostError) as caught:
        load(folder)
    assert caught.value.code is ErrorCode.MODEL_INVALID
    assert "modules.json" in caught.value.message


def test_limits_that_leave_no_room_for_a_text_are_an_error(tmp_path: Path) -> None:
    folder = write(make_embedder(tmp_path), "sentence_bert_config.json", {"max_seq_length": 2})
    with pytest.raises(HostError) as caught:
        load(folder)
    assert caught.value.code is ErrorCode.MODEL_INVALID
    assert "adds 2 tokens to each text, of which the model reads 2" in caught.value.message


def test_no_limit_at_all_is_none(tmp_path: Path) -> None:
    folder = write(make_embedder(tmp_path), "sentence_bert_config.json", {"max_seq_length": None})
    write(folder, "tokenizer_config.json", {"model_max_length": 10**30})
    assert load(folder)._require().info.context_length == 64
