"""`[load]` of the configuration: how models are loaded where their load says nothing."""

import tomllib
from pathlib import Path

import pytest

from messages.options import LoadOptions
from native_host.config import Config, ConfigError, load_config
from native_host.config_load import LoadConfig, ModelLoadConfig
from native_host.config_sections import FOREVER_S
from native_host.config_toml import render_default_toml

OF_ONE_MODEL = {"keep_alive_s", "lora", "projector_path"}
NOT_CONFIGURED = {"parallel", "draft_model", "tokens_per_second", "prefill_ms", "pictures", "fault"}
"""What no backend of today can do, and what belongs to the echo."""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TABAGENT_CONFIG_DIR", str(tmp_path))
    return tmp_path / "config.toml"


def test_each_option_of_a_load_can_be_configured_or_is_known_not_to_be() -> None:
    general = set(LoadConfig.model_fields) - {"models"}
    assert general | OF_ONE_MODEL == set(ModelLoadConfig.model_fields)
    assert set(ModelLoadConfig.model_fields) | NOT_CONFIGURED == set(LoadOptions.model_fields)


def test_options_of_all_models_and_of_single_ones_are_read(file: Path) -> None:
    file.write_text(
        "[load]\ncontext_length = 16384\nfast_path = false\n[load.models.'folder/name.gguf']\ngpu_layers = 8\n"
        'keep_alive_s = inf\nlora = "~/a.gguf"\n[load.models]\ndemo = { keep_alive_s = 5, dtype = "q4" }\n',
        encoding="utf-8",
    )
    load = load_config().load
    assert load.options() == LoadOptions(context_length=16_384, fast_path=False)
    assert {name: section.options() for name, section in load.models.items()} == {
        "folder/name.gguf": LoadOptions(gpu_layers=8, keep_alive_s=FOREVER_S, lora=str(Path.home() / "a.gguf")),
        "demo": LoadOptions(keep_alive_s=5, dtype="q4"),
    }


def test_a_variable_sets_an_option_of_all_models(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("[load]\ncontext_length = 100\nthreads = 2\n", encoding="utf-8")
    monkeypatch.setenv("TABAGENT_LOAD__CONTEXT_LENGTH", "200")
    assert load_config().load.options() == LoadOptions(context_length=200, threads=2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[load]\n\ncontxt_length = 5\n", "line 3: load.contxt_length: is not a known field."),
        ("[load]\ncontext_length = 4\n", "line 2: load.context_length: must be >= 8."),
        ('[load]\ncontext_length = "many"\n', "line 2: load.context_length: must be an integer."),
        ("[load]\nlora = 4\n", "line 2: load.lora: is not a known field."),
        ("[load]\nkeep_alive_s = 4\n", "is not a known field; that of all models is models.keep_alive_s."),
        (
            "[load.demo]\n",
            "line 1: load.demo: is not a known field; the options of one model go into [load.models.demo].",
        ),
        ("[load.models]\ndemo = 4\n", "line 2: load.models.demo: must be a table: [load.models.demo]."),
        (
            "[load]\n[load.models.'a/b.gguf'] # mine\nthreads = 1\ngpu_layer = 3\n",
            "line 4: load.models.'a/b.gguf'.gpu_layer: is not a known field.",
        ),
        (
            '[load.models]\n"a b" = { threads = 1, dtype = "q3" }\n',
            "line 2: load.models.'a b'.dtype: must be 'auto', 'fp32'",
        ),
        ("[load.models.demo]\nlora = 'x.gguf'\n", "line 2: load.models.demo.lora: must be an absolute path"),
        ('[load.models.demo]\nlora = "/a\\u0000"\n', "line 2: load.models.demo.lora: must have no NUL character."),
        ("[load.models.demo]\nkeep_alive_s = nan\n", "line 2: load.models.demo.keep_alive_s: must be >= 0."),
        (
            "[load]\n[load.models.b.gguf]\nthreads = 1\n",
            "line 2: load.models.b.gguf: is not a known field. Put a model's name into single quotes: [load.models.'",
        ),
        ("[load]\n[load.models.a/b.gguf]\n", "(at line 2, column 15). Put a model's name into single quotes:"),
        ('[load.models."C:\\Users\\b.gguf"]\n', "(at line 1, column 19). Put a model's name into single quotes:"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_was_meant(file: Path, text: str, expected: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config()
    assert str(file) in caught.value.message
    assert expected in caught.value.message


def test_a_mistake_in_a_variable_that_holds_tables_is_named_by_the_variable(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("[load]\nthreads = 2\n", encoding="utf-8")
    monkeypatch.setenv("TABAGENT_LOAD__MODELS", '{"demo": {"threads": 0}}')
    with pytest.raises(ConfigError, match=r"variable TABAGENT_LOAD__MODELS: load\.models\.demo\.threads: must be >= 1"):
        load_config()


def test_the_examples_of_the_written_out_file_can_be_used_as_they_are(file: Path) -> None:
    section = render_default_toml().partition("[load]")[2].partition("\n[")[0]
    names = {"load.models", *LoadConfig.model_fields, *ModelLoadConfig.model_fields}
    lines = [line.removeprefix("# ") for line in section.splitlines()]
    examples = [line for line in lines if line.startswith(tuple(f"{name} =" for name in names)) or line[:1] == "["]
    file.write_text("\n".join(["[load]", *examples]), encoding="utf-8")
    load = load_config().load
    assert load.model_fields_set == set(LoadConfig.model_fields)
    assert load.models["folder/name.gguf"].model_fields_set == set(ModelLoadConfig.model_fields)


def test_without_an_uncommented_line_nothing_is_configured() -> None:
    assert tomllib.loads(render_default_toml())["load"] == {}
    assert Config().load.options() == LoadOptions()
