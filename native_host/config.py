"""The configuration: a TOML file, and environment variables that win over it; and where everything is on disk.

Above it: the daemon and the command line. `Config()` is every default, with no file read. `load_config` reads the
sources, of which the first wins: environment variables such as TABAGENT_DAEMON__IDLE_EXIT_S=60, the file, the defaults.
"""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError

from native_host.config_load import LoadConfig
from native_host.config_problems import DELIMITER, ENV_PREFIX, describe_toml, describe_values
from native_host.config_sections import (
    DaemonConfig,
    DefaultsConfig,
    HttpConfig,
    LogConfig,
    ModelsConfig,
    OriginsConfig,
    StatsConfig,
    WorkerConfig,
)

APP_NAME = "tabagent-native-host"


class Config(BaseModel):
    """Everything that can be set, section by section."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    daemon: DaemonConfig = DaemonConfig()
    models: ModelsConfig = ModelsConfig()
    load: LoadConfig = LoadConfig()
    worker: WorkerConfig = WorkerConfig()
    log: LogConfig = LogConfig()
    stats: StatsConfig = StatsConfig()
    origins: OriginsConfig = OriginsConfig()
    http: HttpConfig = HttpConfig()
    defaults: DefaultsConfig = DefaultsConfig()


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things are on disk. Nothing is created here."""

    data_dir: Path
    config_dir: Path
    log_dir: Path

    @classmethod
    def from_environment(cls) -> "Paths":
        """Each system's own places; TABAGENT_DATA_DIR, TABAGENT_CONFIG_DIR and TABAGENT_LOG_DIR win over them."""
        return cls(
            data_dir=_folder("TABAGENT_DATA_DIR", platformdirs.user_data_path(APP_NAME, appauthor=False)),
            config_dir=_folder("TABAGENT_CONFIG_DIR", platformdirs.user_config_path(APP_NAME, appauthor=False)),
            log_dir=_folder("TABAGENT_LOG_DIR", platformdirs.user_log_path(APP_NAME, appauthor=False)),
        )

    @property
    def config_file(self) -> Path:
        """The TOML file."""
        return self.config_dir / "config.toml"

    @property
    def stats_file(self) -> Path:
        """The statistics, in SQLite."""
        return self.data_dir / "stats.sqlite3"

    @property
    def models_dir(self) -> Path:
        """The folder of models that is always looked into."""
        return self.data_dir / "models"

    @property
    def engine_cache(self) -> Path:
        """What backends measured once and remember; it may be deleted at any time."""
        return self.data_dir / "engine-cache"

    @property
    def daemon_log(self) -> Path:
        """The daemon's log file."""
        return self.log_dir / "daemon.log"


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file and line, or the variable, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def load_config() -> Config:
    """Read the configuration; a missing file is all defaults.

    Raises ConfigError if the file cannot be read, is not TOML, or a value (or a variable's) is not valid.
    """
    file = Paths.from_environment().config_file
    try:
        if not (file.exists() or _has_variables()):
            return Config()
        # pydantic-settings takes 15 ms, which a host that nobody has configured does not wait for
        from native_host.config_sources import SourcedConfig

        return SourcedConfig()
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(describe_toml(file, error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"Cannot read {file}: {error.strerror}. Make it readable, or remove it.") from error
    except ValidationError as error:
        raise ConfigError(describe_values(file, error)) from error
    except ValueError as error:  # pydantic-settings' SettingsError
        names = ", ".join(sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and DELIMITER in name))
        raise ConfigError(f'One of {names} is not valid JSON. Write a list as ["a", "b"].') from error


def _has_variables() -> bool:
    """True if the environment sets anything; pydantic-settings takes variables in either case."""
    names = [name.upper().removeprefix(ENV_PREFIX) for name in os.environ if name.upper().startswith(ENV_PREFIX)]
    return any(name.partition(DELIMITER)[0].lower() in Config.model_fields for name in names)


def _folder(variable: str, default: Path) -> Path:
    value = os.environ.get(variable)
    return Path(value).absolute() if value else default
