"""Where a configuration's values come from: environment variables, which win, and the TOML file.

Above it: `native_host.config`, which imports this only where there is anything to read. Below it: pydantic-settings.
"""

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from native_host.config import Config, Paths
from native_host.config_problems import DELIMITER, ENV_PREFIX


class SourcedConfig(BaseSettings, Config):
    """The configuration, read as it is made."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter=DELIMITER)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources, the first of which wins."""
        file = Paths.from_environment().config_file
        return env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)
