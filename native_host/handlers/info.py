"""Handlers that tell: ping, get_stats, list_backends, get_system_info."""

import asyncio
import os
from functools import cache

from messages.facts import BackendType, Figures
from messages.replies import BackendList, Pong, Stats
from messages.requests import GetStats, GetSystemInfo, ListBackends, Ping
from messages.system import SystemInfo
from native_host import runtime
from native_host.context import RequestContext
from native_host.origins import OWNER_ORIGINS

FEATURES = [
    *("streaming", "jobs", "chunks", "thinking_update", "cancel_in_prefill", "prompt_cache", "json_schema"),
    "embed",
    *("logprobs", "tools", "reasoning", "pictures", "background"),
]


_BACKEND_TYPES = frozenset(BackendType)
"""What by_backend tells of: a generation that ended before its model was loaded was on none of them."""


async def ping(context: RequestContext, request: Ping) -> Pong:
    """Answer."""
    return _pong(context.host.http_url)


@cache
def _pong(http_url: str | None) -> Pong:
    return Pong(
        version=runtime.VERSION, protocol=runtime.PROTOCOL, pid=os.getpid(), features=FEATURES, http_url=http_url
    )


async def get_stats(context: RequestContext, request: GetStats) -> Stats:
    """The figures of the running or last generation, with aggregates over all that were kept for this origin.

    The user's own programs see those of all origins.
    """
    host = context.host
    model = host.models.find(request.model) if request.model is not None else host.models.active
    name = model.source.name if model else None
    figures = host.figures(model) if request.scope == "last" else Figures()
    origin = None if context.origin in OWNER_ORIGINS else context.origin
    only = name if request.model is not None else None
    aggregate = await asyncio.to_thread(host.stats.aggregate, model=name, origin=origin)
    by_backend = await asyncio.to_thread(host.stats.by_backend, model=only, origin=origin)
    known = {backend: one for backend, one in by_backend.items() if backend in _BACKEND_TYPES}
    return Stats(**figures.model_dump(), model=name, aggregate=aggregate, by_backend=known)


async def list_backends(context: RequestContext, request: ListBackends) -> BackendList:
    """Every engine of the registry, asked in a process of its own."""
    return BackendList(backends=await context.host.engines.listings())


async def get_system_info(context: RequestContext, request: GetSystemInfo) -> SystemInfo:
    """What machine this is."""
    # takes 8 ms, psutil's included: the daemon's start goes without
    from native_host.system_info import read_system_info

    return await asyncio.to_thread(read_system_info, context.host.paths.data_dir)
