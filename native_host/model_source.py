"""What a model is loaded from, and with which options.

Above it: `native_host.managed_model` and `native_host.models`. Below it: `native_host.configured_options`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from backends.registry import BackendRow
from messages.errors import HostError
from messages.options import LoadOptions
from native_host.configured_options import ConfiguredOptions


@dataclass(frozen=True, slots=True)
class ModelSource:
    """What is loaded from where by which backend.

    asked are the options of its load, which win over those of the configuration.
    """

    name: str
    path: Path
    row: BackendRow
    asked: LoadOptions
    configured: ConfiguredOptions = field(default_factory=ConfiguredOptions)

    @property
    def options(self) -> LoadOptions:
        """The options that it is to be loaded with."""
        return self.asked.over(self.configured.options)

    @property
    def general(self) -> tuple[str, ...]:
        """The names of those that are asked for as far as the backend and the model can do them."""
        return tuple(sorted(self.configured.for_all - self.asked.named()))

    def explained(self, error: HostError) -> HostError:
        """The error of its load, which says so if it is about options of the configuration."""
        return self.configured.explained(error, self.asked)
