"""Keeps the figures of every generation across restarts, off the way of the tokens. Figures only: no text.

Above it: the daemon, `get_stats`. Below it: `native_host.stats_database`. One thread owns the database; `record` only
puts a row on a bounded queue, and a question waits for its answer behind the rows recorded before it.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from messages.facts import Aggregate
from native_host.stats_database import Database, Filter, GenerationRecord

logger = logging.getLogger(__name__)

QUEUE_LIMIT = 10_000
"""Rows that may wait to be written; more are dropped with a warning."""

_BATCH = 500
_PURGE_INTERVAL_S = 86_400.0
_ANSWER_TIMEOUT_S = 10.0

_Question = tuple[Callable[[Database], object], "Future[object]"]


class StatsStore:
    """The statistics of one daemon. Thread-safe."""

    def __init__(self, path: Path | None, retention_days: int = 90) -> None:
        """Open lazily, in the store's own thread: `path` None keeps everything in memory.

        Nothing here or below raises for a bad file or disk: it is a warning in the log, and figures go on in memory.
        """
        self._path = path
        self._retention_s = retention_days * 86_400.0
        self._queue: queue.Queue[GenerationRecord | _Question | None] = queue.Queue(QUEUE_LIMIT)
        self._dropped = False
        self._closed = False
        self._next_purge = 0.0
        self._thread = threading.Thread(target=self._run, name="statistics", daemon=True)
        self._thread.start()

    def record(self, row: GenerationRecord) -> None:
        """Keep a generation's figures. Never blocks."""
        try:
            self._queue.put_nowait(row)
        except queue.Full:
            if not self._dropped:
                logger.warning("Statistics are written too slowly; some generations are missing in them.")
            self._dropped = True

    def aggregate(
        self, *, backend: str | None = None, model: str | None = None, origin: str | None = None
    ) -> Aggregate:
        """Figures over everything that matches, rows recorded just now included; TimeoutError after 10 s."""
        wanted = Filter(backend=backend, model=model, origin=origin)
        answer = self._ask(lambda database: database.aggregate(wanted))
        assert isinstance(answer, Aggregate)
        return answer

    def by_backend(self, *, model: str | None = None, origin: str | None = None) -> dict[str, Aggregate]:
        """The same for each BackendType's name that has generations."""
        wanted = Filter(model=model, origin=origin)
        answer = self._ask(lambda database: database.by_backend(wanted))
        assert isinstance(answer, dict)
        return answer

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits and close the file, within `timeout` seconds. The second time changes nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _ask(self, question: Callable[[Database], object]) -> object:
        if self._closed:
            raise RuntimeError("the statistics are closed")
        answer: Future[object] = Future()
        self._queue.put((question, answer), timeout=_ANSWER_TIMEOUT_S)
        return answer.result(_ANSWER_TIMEOUT_S)

    def _run(self) -> None:
        database = Database(self._path)
        going = True
        while going:
            rows, question, going = self._next_work()
            if rows:
                database.insert(rows)
            self._purge(database)
            if question is not None:
                _answer(database, *question)
        database.close()

    def _next_work(self) -> tuple[list[GenerationRecord], _Question | None, bool]:
        """What has gathered: rows up to the next question, that question, and whether to go on."""
        rows: list[GenerationRecord] = []
        item = self._queue.get()
        while isinstance(item, GenerationRecord):
            rows.append(item)
            if len(rows) >= _BATCH or self._queue.empty():
                return rows, None, True
            item = self._queue.get()
        return rows, item, item is not None

    def _purge(self, database: Database) -> None:
        now = time.time()
        if now >= self._next_purge:
            self._next_purge = now + _PURGE_INTERVAL_S
            database.purge(now - self._retention_s)


def _answer(database: Database, question: Callable[[Database], object], answer: "Future[object]") -> None:
    try:
        answer.set_result(question(database))
    except Exception as error:
        logger.exception("A question to the statistics failed")
        answer.set_exception(error)
