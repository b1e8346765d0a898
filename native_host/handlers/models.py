"""Handlers about models: load, unload, get_state, list_models."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from messages.errors import ErrorCode, HostError
from messages.facts import LoadProgress, LoadState
from messages.replies import Loaded, ModelList, Progress, State, Unloaded
from messages.requests import GetState, ListModels, Load, Unload
from messages.worker import LoadProgressEvent
from native_host.context import RequestContext
from native_host.managed_model import ManagedModel

ONE_SHOT_GRACE_S = 1.0
"""How long a connection's first `load` without `stream` stays without progress messages, in seconds: the first message
that `sendNativeMessage` gets is all that it gets, and it should be the result. It counts from the engine's first word:
how long an engine takes to start is the machine's affair, not the model's."""

ENGINE_START_S = 5.0
"""How long the engine's first word may take until a client is told without it, in seconds."""


async def load(context: RequestContext, request: Load) -> Loaded:
    """Load a model and wait until it is ready, telling its progress."""
    model, is_new = await context.host.models.load(request.model, request.backend, request.options)
    model.is_for_jobs = request.background and (is_new or model.is_for_jobs)
    try:
        async with _progress(context, model, stream=request.background or request.stream):
            await model.wait_ready()
    except asyncio.CancelledError:
        if request.background:  # a job was stopped; a client that is gone stops nothing
            await context.host.models.give_up(model)
        raise
    name = model.source.name
    message = f"{name} is loaded." if is_new else f"{name} was loaded already."
    return Loaded(model=model.get_state(), message=message)


async def unload(context: RequestContext, request: Unload) -> Unloaded:
    """Stop what a model generates and end its worker."""
    table = context.host.models
    if request.all:
        chosen = table.all()
    elif request.model is None and table.active is None:
        raise HostError(ErrorCode.NO_ACTIVE_BACKEND, "No model is loaded; there is nothing to unload.")
    else:
        chosen = [table.find(request.model)]
    ends = [table.unload(model, generations=_cancel_jobs(context, model)) for model in chosen]
    await asyncio.gather(*(asyncio.shield(end) for end in ends))
    names = [model.source.name for model in chosen]
    return Unloaded(unloaded=names, message=f"Unloaded {', '.join(names)}." if names else "No model was loaded.")


async def get_state(context: RequestContext, request: GetState) -> State:
    """The loaded models, or one of them."""
    table = context.host.models
    models = table.all() if request.model is None else [table.find(request.model)]
    return State(
        models=[model.get_state() for model in models], active=table.active.source.name if table.active else None
    )


async def list_models(context: RequestContext, request: ListModels) -> ModelList:
    """What can be loaded."""
    table = context.host.models
    loaded = {known for model in table.all() for known in (model.source.name, str(model.source.path))}
    return ModelList(models=await asyncio.to_thread(table.catalog.listings, loaded, table.defaults.of))


def _cancel_jobs(context: RequestContext, model: ManagedModel) -> list[asyncio.Event]:
    """Cancel what a model generates, without waiting for the ends."""
    name = model.source.name
    because = HostError(ErrorCode.CANCELLED, f"{name} was unloaded while it generated; load it and ask again.")
    jobs = [job for job in context.host.jobs.running() if job.model == name]
    for job in jobs:
        job.cancel(because)
    return [job.over for job in jobs]


@contextlib.asynccontextmanager
async def _progress(context: RequestContext, model: ManagedModel, stream: bool | None) -> AsyncIterator[None]:
    """While this is entered the client hears of the load's progress, if it takes more than one message."""
    is_told = context.request_id is not None if stream is None else stream
    if not is_told:
        yield
        return
    at_once = stream or context.takes_more.is_set()
    if at_once and model.state is LoadState.LOADING:
        await _tell(context, model.loading or _beginning(model))
    queue: asyncio.Queue[LoadProgressEvent] = asyncio.Queue()
    following = _tell_all(context, queue) if at_once else _tell_all_later(context, model, queue)
    sender = asyncio.get_running_loop().create_task(following)
    with model.hear_progress(queue.put_nowait):
        try:
            yield
        finally:
            sender.cancel()


def _beginning(model: ManagedModel) -> LoadProgress:
    """What there is to tell before the worker runs, which takes longer than anybody should wait for a first word."""
    return LoadProgress(phase="starting", progress=None, message=f"Starting a worker for {model.source.name}.")


async def _tell_all_later(
    context: RequestContext, model: ManagedModel, queue: "asyncio.Queue[LoadProgressEvent]"
) -> None:
    """Tell nothing until the client is known to be a port, or the model takes longer than a small one does."""
    loop = asyncio.get_running_loop()
    more, word = loop.create_task(context.takes_more.wait()), loop.create_task(queue.get())
    try:
        if model.loading is None:
            await asyncio.wait({more, word}, timeout=ENGINE_START_S, return_when=asyncio.FIRST_COMPLETED)
        if model.loading is not None:
            await asyncio.wait({more}, timeout=ONE_SHOT_GRACE_S)
    finally:
        more.cancel()
        word.cancel()
    while not queue.empty():
        queue.get_nowait()
    await _tell(context, model.loading or _beginning(model))
    await _tell_all(context, queue)


async def _tell_all(context: RequestContext, queue: "asyncio.Queue[LoadProgressEvent]") -> None:
    while True:
        await _tell(context, await queue.get())


async def _tell(context: RequestContext, event: LoadProgress | LoadProgressEvent) -> None:
    progress = Progress(
        id=context.request_id,
        action=context.action,
        phase=event.phase,
        message=event.message,
        progress=event.progress,
        loaded_bytes=event.loaded_bytes,
        total_bytes=event.total_bytes,
    )
    await context.send(progress)
