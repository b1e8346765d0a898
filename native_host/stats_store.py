"""Keeps the figures of every generation across restarts, off the way of the tokens. Figures only: no text.

Above it: the daemon, `get_stats`, the HTTP API. Below it: `native_host.stats_database`. One thread owns the database.
`record` only puts a row where that thread finds it; the thread gathers rows for a quarter of a second and writes them
at once, since each awakening could cost a token its turn. A question is answered at once, rows recorded before it
included.
"""

import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from messages.errors import ErrorCode, HostError
from messages.facts import Aggregate
from native_host import stats_queries
from native_host.stats_database import Database
from native_host.stats_queries import Grouping, HistoryPoint, MemoryPoint
from native_host.stats_rows import Filter, GenerationRecord, StatsRow

logger = logging.getLogger(__name__)

QUEUE_LIMIT = 10_000
"""Rows that may wait to be written; more are dropped with a warning."""

ANSWER_TIMEOUT_S = 10.0
"""How long a question waits for its answer, in seconds."""

RETRY_AFTER_MS = 5000
"""After how long one that was not answered in time may be asked again, in ms."""

_GATHER_S = 0.25
_PURGE_INTERVAL_S = 86_400.0

_T = TypeVar("_T")
_Question = Callable[[Database], None]


class StatsStore:
    """The statistics of one daemon. Thread-safe; questions wait for their answers, HostError `busy` after 10 s."""

    def __init__(self, path: Path | None, retention_days: int = 90) -> None:
        """Open lazily, in the store's own thread: `path` None keeps everything in memory.

        Nothing here or below raises for a bad file or disk: it is a warning in the log, and figures go on in memory.
        """
        self._path = path
        self._retention_s = retention_days * 86_400.0
        self._rows: deque[StatsRow] = deque()
        self._questions: queue.SimpleQueue[_Question] = queue.SimpleQueue()
        self._work = threading.Event()
        self._hurry = threading.Event()
        self._dropped = False
        self._closed = False
        self._next_purge = 0.0
        self._thread = threading.Thread(target=self._run, name="statistics", daemon=True)
        self._thread.start()

    def record(self, row: StatsRow) -> None:
        """Keep a row. Never blocks."""
        if len(self._rows) >= QUEUE_LIMIT:
            if not self._dropped:
                logger.warning("Statistics are written too slowly; some generations are missing in them.")
            self._dropped = True
            return
        self._rows.append(row)
        if not self._work.is_set():
            self._work.set()

    def aggregate(
        self, *, backend: str | None = None, model: str | None = None, origin: str | None = None
    ) -> Aggregate:
        """Figures over everything that matches."""
        wanted = Filter(backend=backend, model=model, origin=origin)
        return self._ask(lambda connection: stats_queries.aggregate(connection, wanted))

    def by_backend(self, *, model: str | None = None, origin: str | None = None) -> dict[str, Aggregate]:
        """The same for each BackendType's name that has generations."""
        return self.grouped("backend", Filter(model=model, origin=origin))

    def grouped(self, by: Grouping, wanted: Filter | None = None) -> dict[str, Aggregate]:
        """The same for each backend, model or origin that has generations."""
        return self._ask(lambda connection: stats_queries.grouped(connection, by, wanted or Filter()))

    def history(self, wanted: Filter, parts: int) -> dict[str, list[HistoryPoint]]:
        """Percentiles over time for each backend, in at most `parts` parts of time."""
        return self._ask(lambda connection: stats_queries.history(connection, wanted, parts))

    def memory(self, wanted: Filter, parts: int) -> dict[str, list[MemoryPoint]]:
        """Resident memory over time for each model, in at most `parts` parts of time."""
        return self._ask(lambda connection: stats_queries.memory(connection, wanted, parts))

    def page(self, wanted: Filter, after_id: int, limit: int = 1000) -> tuple[list[GenerationRecord], int]:
        """The next rows, oldest first, and the id to go on after; no rows: that was all."""
        return self._ask(lambda connection: stats_queries.page(connection, wanted, after_id, limit))

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits and close the file, within `timeout` seconds. The second time changes nothing."""
        self._closed = True
        self._hurry.set()
        self._work.set()
        self._thread.join(timeout)

    def _ask(self, question: Callable[[sqlite3.Connection], _T]) -> _T:
        if self._closed:
            raise RuntimeError("the statistics are closed")
        answer: Future[_T] = Future()
        self._questions.put(lambda database: _answer(database, question, answer))
        self._hurry.set()
        self._work.set()
        try:
            return answer.result(ANSWER_TIMEOUT_S)
        except TimeoutError:
            text = "The statistics take too long to answer; ask again in a moment."
            raise HostError(ErrorCode.BUSY, text, retry_after_ms=RETRY_AFTER_MS) from None

    def _run(self) -> None:
        database = Database(self._path)
        going = True
        while going:
            self._work.wait()
            self._hurry.wait(_GATHER_S)
            self._work.clear()
            self._hurry.clear()
            going = not self._closed
            try:
                self._write_and_answer(database)
            except Exception:
                logger.exception("some figures could not be written")
        database.close()

    def _write_and_answer(self, database: Database) -> None:
        """Questions are taken first, so that the rows that were recorded before them are written before them."""
        questions = list(_taken(self._questions))
        rows = [self._rows.popleft() for _ in range(len(self._rows))]
        if rows:
            database.insert(rows)
        self._purge(database)
        for question in questions:
            question(database)

    def _purge(self, database: Database) -> None:
        now = time.time()
        if now >= self._next_purge:
            self._next_purge = now + _PURGE_INTERVAL_S
            database.purge(now - self._retention_s)


def _taken(questions: "queue.SimpleQueue[_Question]") -> Iterator[_Question]:
    while True:
        try:
            yield questions.get_nowait()
        except queue.Empty:
            return


def _answer(database: Database, question: Callable[[sqlite3.Connection], _T], answer: "Future[_T]") -> None:
    try:
        answer.set_result(database.ask(question))
    except Exception as error:
        logger.exception("A question to the statistics failed")
        answer.set_exception(error)
