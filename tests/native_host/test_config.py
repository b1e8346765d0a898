"""The configuration: defaults, file, environment, and what a mistake in them is answered with."""

import math
import tomllib
from pathlib import Path

import pytest

from messages.settings import InferenceSettings
from native_host.config import Config, ConfigError, Paths, load_config
from native_host.config_sections import OriginsConfig
from native_host.config_toml import render_default_toml


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TABAGENT_CONFIG_DIR", str(tmp_path))
    return tmp_path / "config.toml"


def test_no_file_is_all_defaults(file: Path) -> None:
    assert load_config().model_dump() == Config().model_dump()


def test_the_written_out_defaults_parse_back_to_the_defaults(file: Path) -> None:
    file.write_text(render_default_toml(), encoding="utf-8")
    assert load_config().model_dump() == Config().model_dump()


def test_every_value_is_written_out_below_its_description() -> None:
    lines = render_default_toml().splitlines()
    for name in Config.model_fields:
        assert f"[{name}]" in lines
        section = getattr(Config(), name)
        for field in type(section).model_fields:
            starts = f"[{name}.{field}." if isinstance(getattr(section, field), dict) else f"{field} ="
            written = [index for index, line in enumerate(lines) if line.removeprefix("# ").startswith(starts)]
            assert written, field
            assert all(lines[index - 1].startswith("#") for index in written), field


def test_text_and_endless_times_survive_the_file(file: Path) -> None:
    file.write_text(
        '[models]\nkeep_alive_s = inf\ndefault = "a\\\\b \\"c\\""\nfolders = ["~/models"]\n', encoding="utf-8"
    )
    models = load_config().models
    assert math.isinf(models.keep_alive_s)
    assert models.default == 'a\\b "c"'
    assert models.folders == [Path.home() / "models"]


def test_the_environment_wins_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("[daemon]\nidle_exit_s = 1\nmax_clients = 2\n", encoding="utf-8")
    monkeypatch.setenv("TABAGENT_DAEMON__IDLE_EXIT_S", "7.5")
    daemon = load_config().daemon
    assert (daemon.idle_exit_s, daemon.max_clients) == (7.5, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[daemon\n", "line 1"),
        ("[daemon]\nidle_exit_s = 1\nmax_clients = 0\n", "line 3: daemon.max_clients: must be >= 1"),
        ("[daemon]\nidle_exit = 1\n", "line 2: daemon.idle_exit: is not a known field"),
        ("[demon]\n", "line 1: demon: is not a known field"),
        ('[models]\nfolders = ["models"]\n', "line 2: models.folders[0]: must be an absolute path"),
        (
            '[models]\nfolders = ["~nobody-at-all/m"]\n',
            "models.folders[0]: begins with ~nobody-at-all, and there is no",
        ),
        ('[http]\nallowed_origins = ["*"]\n', "line 2: http.allowed_origins[0]: must be the origin of one page"),
        ('[http]\nallowed_origins = ["localhost:3000"]\n', "http.allowed_origins[0]: must be the origin of one page"),
        ('[http]\nallowed_origins = ["http://a.b/c"]\n', "http.allowed_origins[0]: must be the origin of one page"),
        ('[http]\nallowed_hosts = ["box.lan:8000"]\n', "http.allowed_hosts[0]: must be a name or an address alone"),
        ('[log]\nlevel = "LOUD"\n', "line 2: log.level: must be 'DEBUG'"),
        ("[defaults]\ntemperature = 3\n", "line 2: defaults.temperature: must be <= 2"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(file: Path, text: str, expected: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config()
    assert str(file) in caught.value.message
    assert expected in caught.value.message
    assert "\n" not in caught.value.message


def test_a_file_that_is_not_utf_8_or_cannot_be_read_is_named(file: Path) -> None:
    file.write_bytes(b'[models]\ndefault = "\xff"\n')
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config()


def test_a_config_folder_that_is_a_file_counts_as_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").write_bytes(b"")
    monkeypatch.setenv("TABAGENT_CONFIG_DIR", str(tmp_path / "plain"))
    assert load_config().model_dump() == Config().model_dump()


def test_a_mistake_in_a_variable_is_named_by_the_variable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABAGENT_DAEMON__MAX_CLIENTS", "many")
    with pytest.raises(ConfigError, match=r"variable TABAGENT_DAEMON__MAX_CLIENTS: daemon\.max_clients"):
        load_config()


def test_a_list_in_a_variable_that_is_not_json_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABAGENT_MODELS__FOLDERS", "/models")
    with pytest.raises(ConfigError, match="TABAGENT_MODELS__FOLDERS is not valid JSON"):
        load_config()


def test_default_settings_are_those_of_the_protocol(file: Path) -> None:
    assert Config().defaults.settings() == InferenceSettings()
    file.write_text('[defaults]\ntemperature = 0\nstop = ["END"]\nseed = 3\n', encoding="utf-8")
    settings = load_config().defaults.settings()
    assert (settings.temperature, settings.stop, settings.seed) == (0, ("END",), 3)


def test_every_origin_is_permitted_until_a_list_names_some() -> None:
    assert OriginsConfig().permits("chrome-extension://a/")
    some = OriginsConfig(allowed=["chrome-extension://a"], blocked=["chrome-extension://b/"])
    assert some.permits("chrome-extension://a/")
    assert some.permits("cli")
    assert some.permits("http")
    assert not some.permits("chrome-extension://b/")
    assert not some.permits("chrome-extension://c/")
    assert not OriginsConfig(blocked=["cli"]).permits("cli")
    assert not OriginsConfig(blocked=["http"]).permits("http")


def test_paths_follow_the_home_folder_or_their_own_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TABAGENT_DATA_DIR", "TABAGENT_CONFIG_DIR", "TABAGENT_LOG_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = Paths.from_environment()
    assert all(folder.is_relative_to(tmp_path) for folder in (paths.data_dir, paths.config_dir, paths.log_dir))
    monkeypatch.setenv("TABAGENT_DATA_DIR", str(tmp_path / "d"))
    assert Paths.from_environment().stats_file == tmp_path / "d" / "stats.sqlite3"


def test_the_rendered_file_is_plain_toml() -> None:
    assert set(tomllib.loads(render_default_toml())) == set(Config.model_fields)
