"""One function for each action; `HANDLERS` is complete, by a test.

Above it: `native_host.dispatcher`. A handler gets its context and its request, sends what comes before the result
through the context, and returns the result's fields or raises HostError.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from messages.actions import ActionType
from messages.facts import Fact
from native_host.context import RequestContext
from native_host.handlers import door, embedding, generation, info, jobs, models

Handler = Callable[[RequestContext, Any], Awaitable[Fact]]

HANDLERS: Mapping[ActionType, Handler] = {
    ActionType.PING: info.ping,
    ActionType.LOAD: models.load,
    ActionType.UNLOAD: models.unload,
    ActionType.GENERATE: generation.generate,
    ActionType.STOP_GENERATION: jobs.stop_generation,
    ActionType.UPDATE_SETTINGS: generation.update_settings,
    ActionType.GET_STATS: info.get_stats,
    ActionType.GET_STATE: models.get_state,
    ActionType.LIST_MODELS: models.list_models,
    ActionType.LIST_BACKENDS: info.list_backends,
    ActionType.GET_SYSTEM_INFO: info.get_system_info,
    ActionType.COUNT_TOKENS: generation.count_tokens,
    ActionType.EMBED: embedding.embed,
    ActionType.LIST_JOBS: jobs.list_jobs,
    ActionType.ATTACH: jobs.attach,
    ActionType.READ_JOB: jobs.read_job,
    ActionType.OPEN_HTTP: door.open_http,
}

IMMEDIATE = frozenset({ActionType.PING, ActionType.GET_STATE})
"""Actions that wait for nothing, and whose answers are one frame: they are answered without a task."""

MAKE_THEIR_JOB = frozenset({ActionType.GENERATE, ActionType.ATTACH, ActionType.READ_JOB})
"""Actions whose job, in the background too, is their own: the one that they make or name."""
