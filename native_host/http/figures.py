"""Figures over HTTP beside those of get_stats: over time for charts, every generation as CSV.

Above it: `native_host.http.app`. Below it: `native_host.stats_store`. A program sees those of all origins, as the
terminal does; a page that the configuration lets in sees its own.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from messages.errors import HostError
from messages.facts import Fact
from native_host import stats_csv
from native_host.http.answer_schemas import GroupedStats, MemoryHistory, StatsHistory
from native_host.http.client import break_off, host_of, origin_of
from native_host.http.errors import json_response
from native_host.http.schemas import gives
from native_host.origins import OWNER_ORIGINS
from native_host.stats_queries import Grouping
from native_host.stats_rows import Filter
from native_host.stats_store import StatsStore

logger = logging.getLogger("tabagent.http")

router = APIRouter()

Name = Annotated[str | None, Query(max_length=4096)]
Seconds = Annotated[float | None, Query(ge=0, le=1e11, allow_inf_nan=False, description="seconds since the epoch")]
Parts = Annotated[int, Query(ge=1, le=1000, description="into how many parts of time at most")]


def wanted_rows(
    request: Request,
    backend: Name = None,
    model: Name = None,
    origin: Name = None,
    since: Seconds = None,
    until: Seconds = None,
) -> Filter:
    """The rows that a request asks for, as far as it may see them."""
    asker = origin_of(request)
    seen = origin if asker in OWNER_ORIGINS else asker
    return Filter(backend=backend, model=model, origin=seen, since=since, until=until)


Wanted = Annotated[Filter, Depends(wanted_rows)]


@router.get("/stats/grouped", responses=gives(GroupedStats))
async def grouped(request: Request, wanted: Wanted, by: Grouping = "backend") -> Response:
    """Counts, sums and percentiles for each backend, model or origin."""
    found = await asyncio.to_thread(host_of(request).stats.grouped, by, wanted)
    return json_response({"by": by, "groups": {name: one.model_dump(mode="json") for name, one in found.items()}})


@router.get("/stats/history", responses=gives(StatsHistory))
async def history(request: Request, wanted: Wanted, parts: Parts = 60) -> Response:
    """Percentiles of time to first token (ms) and tokens a second over time, for each backend."""
    found = await asyncio.to_thread(host_of(request).stats.history, wanted, parts)
    return json_response({"backends": _dumped(found)})


@router.get("/stats/memory", responses=gives(MemoryHistory))
async def memory(request: Request, wanted: Wanted, parts: Parts = 60) -> Response:
    """Resident memory over time, in bytes, for each model; whoever asks sees all models."""
    found = await asyncio.to_thread(host_of(request).stats.memory, wanted, parts)
    return json_response({"models": _dumped(found)})


@router.get("/stats/export.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
async def export(request: Request, wanted: Wanted) -> Response:
    """Every generation that was kept, oldest first, a line each; the connection breaks off where no more can be had."""
    stats = host_of(request).stats
    first, last = await asyncio.to_thread(_csv_page, stats, wanted, 0)

    async def body() -> AsyncIterator[bytes]:
        yield stats_csv.header().encode()
        text, after = first, last
        while text:
            yield text
            try:
                text, after = await asyncio.to_thread(_csv_page, stats, wanted, after)
            except HostError as error:
                logger.warning("An export of the statistics broke off: %s", error.message)
                break_off(request)
                return

    headers = {"Content-Disposition": 'attachment; filename="tabagent-stats.csv"'}
    return StreamingResponse(body(), media_type="text/csv; charset=utf-8", headers=headers)


def _dumped(lines: Mapping[str, Sequence[Fact]]) -> dict[str, list[object]]:
    return {name: [point.model_dump(mode="json") for point in points] for name, points in lines.items()}


def _csv_page(stats: StatsStore, wanted: Filter, after_id: int) -> tuple[bytes, int]:
    """The next lines, and the id to go on after; for a thread, since a thousand lines take milliseconds."""
    records, last = stats.page(wanted, after_id)
    return "".join(stats_csv.lines(records)).encode("utf-8", "replace"), last
