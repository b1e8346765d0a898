"""The options of the configuration that one model is loaded with where its load names none.

Above it: `native_host.load_defaults`, which finds them, and `native_host.model_source`. Below it: `messages.options`.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions, options_in
from native_host import toml_keys

_OF_MEMORY = ("context_length", "gpu_layers")
"""Options that memory depends on: where it is missing, they are the ones to change."""

_FILES = ("lora", "projector_path")


@dataclass(frozen=True, slots=True)
class ConfiguredOptions:
    """Those for all models, and those of the one, which win over them; `name` is what the configuration calls it."""

    general: LoadOptions = field(default_factory=LoadOptions)
    own: LoadOptions = field(default_factory=LoadOptions)
    name: str = ""

    @property
    def options(self) -> LoadOptions:
        """Both together."""
        return self.own.over(self.general)

    @property
    def for_all(self) -> set[str]:
        """The names of those that are asked for as far as the backend and the model can do them."""
        return self.general.named() - self.own.named()

    def explained(self, error: HostError, asked: LoadOptions) -> HostError:
        """A load's error, which says so if it is about options that come from here and not from the load itself."""
        ours = self.options.named() - asked.named()
        keys = [self._key(name) for name in self._options_of(error) if name in ours]
        if not keys:
            return error
        details = {name: value for name, value in error.details.items() if name != "fields"}
        if theirs := [field for field in _fields(error) if not set(options_in([field])) & ours]:
            details["fields"] = theirs
        it = "it" if len(keys) == 1 else "them"
        text = f"{error.message} The host's configuration asks for {it}: {', '.join(keys)}."
        return HostError(error.code, text, **details, config_keys=keys)

    def _options_of(self, error: HostError) -> Collection[str]:
        """The options that an error is about, or a file that one of them names."""
        if error.code is ErrorCode.OUT_OF_MEMORY:
            return _OF_MEMORY
        file = error.details.get("model_path")
        files = [name for name in _FILES if file is not None and getattr(self.own, name) == file]
        return [*options_in(_fields(error)), *files]

    def _key(self, name: str) -> str:
        is_own = getattr(self.own, name) is not None
        return toml_keys.written(("load", "models", self.name, name) if is_own else ("load", name))


def _fields(error: HostError) -> list[str]:
    fields = error.details.get("fields")
    return fields if isinstance(fields, list) else []
