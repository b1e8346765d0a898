"""Finds the options of the configuration that a model is to be loaded with.

Above it: `native_host.models` and `doctor`. Below it: `native_host.catalog` and `native_host.config_load`.
"""

from pathlib import Path

from backends.registry import BackendRow
from native_host.catalog import ECHO, Catalog, is_same_file
from native_host.config_load import LoadConfig
from native_host.configured_options import ConfiguredOptions


class LoadDefaults:
    """The configured options, found by a model's name or file."""

    def __init__(self, config: LoadConfig, catalog: Catalog) -> None:
        self._general = config.options()
        self._for_all = ConfiguredOptions(self._general)
        self._own = {name: section.options() for name, section in config.models.items()}
        self._catalog = catalog

    def of(self, name: str, path: Path, row: BackendRow) -> ConfiguredOptions:
        """Those of a model, as `Catalog.resolve` tells it; its own name or path comes before a link to it."""
        places = {key: self._catalog.place(key) for key in self._own}
        if row.name == ECHO:
            found = [key for key, place in places.items() if place is None and key == name]
        else:
            found = [key for key, place in places.items() if place == path or (place is None and key == name)]
            found += [key for key, place in places.items() if place is not None and is_same_file(place, path)]
        return ConfiguredOptions(self._general, self._own[found[0]], found[0]) if found else self._for_all
