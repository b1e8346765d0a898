"""`stats`: how fast generations were, from the statistics file, as a table of at most 80 columns or as CSV.

Above it: the command line. Below it: `native_host.stats_queries` and `native_host.cli.stats_table`. The file is read,
never written; a daemon that runs is asked first, so that what it has gathered is in the file.
"""

import contextlib
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from messages.actions import ActionType
from messages.errors import HostError
from messages.replies import Stats
from messages.wording import plural
from native_host import stats_csv, stats_queries
from native_host.cli.running import is_listening
from native_host.cli.sparkline import levels_for
from native_host.cli.stats_table import PARTS, Report, render
from native_host.cli.terminal import CliError
from native_host.client import HostClient, HostGone
from native_host.config import ConfigError, Paths, load_config
from native_host.stats_queries import HistoryPoint
from native_host.stats_rows import Filter
from native_host.stats_schema import open_to_read

_FLUSH_TIMEOUT_S = 10.0
_EVERYTHING = Filter()
_NOTHING = "There are no figures yet. Ask a model something first: tabagent-host chat"


def stats(csv_file: str | None) -> int:
    """Print the figures, or write them as CSV to a file ("-": stdout)."""
    _flush_the_daemon()
    file = Paths.from_environment().stats_file
    try:
        return _tell(file, csv_file)
    except sqlite3.Error as error:  # opening it may fail, and a question to one that another version or program made
        raise CliError(f"{file} cannot be read ({error}). Run `tabagent-host doctor`.") from error


def _tell(file: Path, csv_file: str | None) -> int:
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(closing(open_to_read(file))) if file.exists() else None
        report = None if connection is None else _report(connection)
        if connection is None or report is None:
            return _say_nothing_is_there(csv_file)
        if csv_file is not None:
            _export(connection, csv_file)
        else:
            print("\n".join(render(report, levels_for(sys.stdout))))
    return 0


def _flush_the_daemon() -> None:
    """A question to the statistics makes the daemon write what it has gathered; without an answer the file must do."""
    if is_listening():
        with contextlib.suppress(HostGone, HostError, TimeoutError), HostClient() as client:
            client.call(ActionType.GET_STATS, Stats, timeout=_FLUSH_TIMEOUT_S)


def _report(connection: sqlite3.Connection) -> Report | None:
    last = stats_queries.newest(connection, _EVERYTHING)
    if last is None:
        return None
    oldest = next(stats_queries.pages(connection, _EVERYTHING, limit=1))
    backends = stats_queries.grouped(connection, "backend", _EVERYTHING)
    models = {name: stats_queries.grouped(connection, "model", Filter(backend=name)) for name in backends}
    return Report(
        since=oldest.time,
        total=stats_queries.aggregate(connection, _EVERYTHING),
        backends=backends,
        models=models,
        history={name: _history(connection, name, models[name], oldest.time) for name in backends},
        last=last,
    )


def _history(
    connection: sqlite3.Connection, backend: str, models: Iterable[str], since: float
) -> dict[str, list[HistoryPoint]]:
    wanted = {model: Filter(backend=backend, model=model, since=since) for model in models}
    found = {model: stats_queries.history(connection, one, PARTS) for model, one in wanted.items()}
    return {model: by_backend.get(backend, []) for model, by_backend in found.items()}


def _say_nothing_is_there(csv_file: str | None) -> int:
    text = _NOTHING if _is_kept() else "Figures are not kept: the configuration has stats.enabled = false. Change it."
    if csv_file is not None:
        raise CliError(text)
    print(text)
    return 0


def _is_kept() -> bool:
    try:
        return load_config().stats.enabled
    except ConfigError as error:
        raise CliError(error.message) from error


def _export(connection: sqlite3.Connection, file: str) -> None:
    if file == "-":
        for line in _csv(connection):
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        return
    count = -1
    try:
        with Path(file).open("wb") as stream:
            for line in _csv(connection):
                stream.write(line)
                count += 1
    except OSError as error:
        raise CliError(f"Cannot write {file}: {error.strerror}.") from error
    print(f"Wrote {count:,} {plural(count, 'generation')} to {file}.")


def _csv(connection: sqlite3.Connection) -> Iterator[bytes]:
    yield stats_csv.header().encode()
    for line in stats_csv.lines(stats_queries.pages(connection, _EVERYTHING)):
        yield line.encode("utf-8", "replace")
