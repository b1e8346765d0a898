"""What can be loaded: finds models on disk, and turns a name or path from the wire into a file and its backend.

Above it: `native_host.handlers.models`, `native_host.load_defaults` and `native_host.models`. Below it:
`native_host.shipped` and `backends.registry`. No engine is imported.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from backends import registry
from backends.registry import BackendRow
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions
from messages.replies import ModelListing
from native_host import shipped
from native_host.configured_options import ConfiguredOptions

logger = logging.getLogger("tabagent.catalog")

ECHO = "echo"
SEARCH_DEPTH = 4

Configured = Callable[[str, Path, BackendRow], ConfiguredOptions]
"""The options of the configuration for a model, by its name, path and backend."""


def _not_configured(_name: str, _path: Path, _row: BackendRow) -> ConfiguredOptions:
    return ConfiguredOptions()


class Catalog:
    """The models in the model folders, and those that are always there."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)

    def resolve(self, name: str, backend: str) -> tuple[str, Path, BackendRow]:
        """The name, absolute path and backend of a model.

        Raises HostError `model_not_found`, `unknown_format`, `model_invalid`, `engine_missing`, `invalid_request`.
        """
        wanted = None if backend == "auto" else registry.row(backend)
        if name in shipped.NAMES:
            return (name, *shipped.resolve(name, wanted))
        if (wanted and wanted.name == ECHO) or (wanted is None and name == ECHO):
            return name, Path(name), registry.row(ECHO)
        path = self._find(name)
        row = _row_for(path, wanted)
        row.require_installed()
        return self._name_of(path), path, row

    def listings(self, loaded: set[str], configured: Configured = _not_configured) -> list[ModelListing]:
        """All models that can be loaded, `loaded` being the names and the paths of those that are."""
        import psutil  # takes 6 ms, which the daemon's start does not wait for

        free = psutil.virtual_memory().available
        shipped_models = [(name, *shipped.form_to_list(name), name in loaded) for name in shipped.NAMES]
        rows = {path: row for folder in self._folders for path, row in _search(folder, SEARCH_DEPTH)}
        others = [(self._name_of(path), path, row, str(path) in loaded) for path, row in rows.items()]
        return [
            _listing(name, path, row, configured(name, path, row), is_loaded, free)
            for name, path, row, is_loaded in [*shipped_models, *others]
        ]

    def place(self, name: str) -> Path | None:
        """The absolute path that a name or path means; None if nothing is there that can be looked at.

        None too for the names of models that are always there, whatever lies in the folders.
        """
        if name in shipped.NAMES or name == ECHO:
            return None
        try:
            return self._first(name)
        except OSError:
            return None

    def _find(self, name: str) -> Path:
        try:
            path = self._first(name)
        except OSError as error:
            raise _unreadable(Path(error.filename), error) from error
        if path is not None:
            return path
        where = "" if _expanded(name).is_absolute() else f" in {', '.join(str(folder) for folder in self._folders)}"
        raise HostError(
            ErrorCode.MODEL_NOT_FOUND,
            f"No model file at {name}{where}. Give a name from the list of models, or an absolute path.",
            model_path=name,
        )

    def _first(self, name: str) -> Path | None:
        """The first that exists of the paths that a name may mean; OSError if one before it cannot be looked at."""
        given = _expanded(name)
        for candidate in [given] if given.is_absolute() else [folder / given for folder in self._folders]:
            try:
                os.stat(candidate)
            except (FileNotFoundError, NotADirectoryError, ValueError):  # no file has a NUL in its name
                continue
            return candidate.absolute()
        return None

    def _name_of(self, path: Path) -> str:
        """The path within a folder if that means this file and no other, else the whole path."""
        for folder in self._folders:
            if path.is_relative_to(folder):
                name = path.relative_to(folder).as_posix()
                if self.place(name) == path:
                    return name
        return str(path)


def is_same_file(one: Path, other: Path) -> bool:
    """True if two paths are spellings of one; False if one of them is gone."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _expanded(name: str) -> Path:
    try:
        return Path(os.path.expanduser(name))
    except ValueError:  # no user has a NUL or half a character in their name
        return Path(name)


def _row_for(path: Path, wanted: BackendRow | None) -> BackendRow:
    try:
        row = registry.detect(path) if wanted is None else wanted
        reads = row.detects(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not reads:
        raise HostError(
            ErrorCode.MODEL_INVALID,
            f"{path} is not in a format that the {row.name} backend reads ({', '.join(row.formats)}).",
            model_path=str(path),
        )
    return row


def _unreadable(path: Path, error: OSError) -> HostError:
    reason = error.strerror or str(error)
    return HostError(ErrorCode.MODEL_INVALID, f"{path} cannot be read: {reason}.", model_path=str(path))


def _listing(
    name: str, path: Path, row: BackendRow, configured: ConfiguredOptions, loaded: bool, free_bytes: int
) -> ModelListing:
    format_name, size, needed, problem = row.formats[0], 0, None, None
    try:
        description = row.read_description(path, configured.options, configured.for_all)
        format_name, size, needed = description.format, description.size_bytes, description.needed_bytes
    except HostError as error:
        problem = configured.explained(error, asked=LoadOptions()).message
    problem = problem or row.missing
    return ModelListing(
        model=name,
        model_path=str(path),
        format=format_name,
        size_bytes=size,
        backend=row.name,
        needed_bytes=needed,
        fits_in_memory=None if needed is None else needed <= free_bytes,
        loaded=loaded,
        problem=problem,
    )


def _search(folder: Path, depth: int) -> Iterator[tuple[Path, BackendRow]]:
    """Yield the models below a folder, in order of name; one that is itself a model is not looked into."""
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning("cannot look for models in %s: %s", folder, error)
        return
    for entry in entries:
        row = _detected(entry)
        if row is not None:
            yield entry, row
        elif depth > 1 and entry.is_dir() and not entry.is_symlink():
            yield from _search(entry, depth - 1)


def _detected(path: Path) -> BackendRow | None:
    try:
        row = registry.detect(path)
        return None if row.is_part(path) else row
    except HostError:
        return None
    except OSError as error:
        logger.warning("cannot read %s: %s", path, error)
        return None
