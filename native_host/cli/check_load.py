"""`doctor`'s check of what the configuration says of loading models: whether it is of a model, and what it can do."""

from collections.abc import Iterator

from messages.errors import ErrorCode, HostError
from native_host import toml_keys
from native_host.catalog import Catalog
from native_host.cli.findings import Finding, ok, warn
from native_host.config import Config, ConfigError, Paths, load_config
from native_host.config_load import LoadSection
from native_host.load_defaults import LoadDefaults

_SUBJECT = "load options"


def check_load() -> Iterator[Finding]:
    """Each table of options, if there is any."""
    try:
        config = load_config()
    except ConfigError:  # another finding says so
        return
    if config.load.options().named():
        yield ok(_SUBJECT, f"all models: {_in_words(config.load)}")
    catalog = Catalog([Paths.from_environment().models_dir, *config.models.folders])
    for name in config.load.models:
        yield _judge(name, config, catalog)


def _judge(name: str, config: Config, catalog: Catalog) -> Finding:
    table = f"[{toml_keys.written(('load', 'models', name))}]"
    section = config.load.models[name]
    try:
        known, path, row = catalog.resolve(name, "auto")
        configured = LoadDefaults(config.load, catalog).of(known, path, row)
        if configured.name != name:
            counts = f"[{toml_keys.written(('load', 'models', configured.name))}]"
            remedy = "Move what is in it into that table, which alone counts, and remove it."
            return warn(_SUBJECT, f"{table} is of the same model as {counts}", remedy)
        row.read_description(path, configured.options, configured.for_all)
    except HostError as error:
        remedy = "Until it is mended, the model cannot be loaded with these options."
        if error.code is ErrorCode.MODEL_NOT_FOUND:
            remedy = "It is of no model until the file is there or the name is mended; GET /v1/models lists all names."
        return warn(_SUBJECT, f"{table}: {error.message}", remedy)
    missing = next((file for file in (section.lora, section.projector_path) if file and not file.exists()), None)
    if missing is not None:
        return warn(
            _SUBJECT, f"{table}: there is no {missing}", "Mend the path; the model cannot be loaded without it."
        )
    return ok(_SUBJECT, f"{known}: {_in_words(section)}")


def _in_words(section: LoadSection) -> str:
    values = section.model_dump(exclude_none=True, exclude={"models"})
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "nothing is set"
