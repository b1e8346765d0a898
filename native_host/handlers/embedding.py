"""The handler of embed. It takes the model's turn as a generation does, but makes no job: its answer is soon there."""

import asyncio

from messages.errors import ErrorCode, HostError
from messages.replies import Embedded
from messages.requests import Embed
from messages.worker import EmbedCommand, EmbeddedEvent, Event, VectorsEvent
from native_host.context import RequestContext
from native_host.managed_model import ManagedModel
from native_host.worker_process import WorkerAbandoned


async def embed(context: RequestContext, request: Embed) -> Embedded:
    """Make a vector of each text."""
    models = context.host.models
    model = models.find(request.model)
    _refuse_text_model(model)
    model.join_queue()
    models.use(model)
    try:
        async with model.turn():
            return await _embed(model, request)
    finally:
        models.release(model)


async def _embed(model: ManagedModel, request: Embed) -> Embedded:
    """Embed, on the next worker too if this one is killed because it did not get past an earlier call."""
    while True:
        try:
            return await _embed_once(model, request)
        except WorkerAbandoned:
            continue


async def _embed_once(model: ManagedModel, request: Embed) -> Embedded:
    """Embed; how long that may take is bounded once nobody waits for it any more."""
    await model.wait_ready()
    _refuse_text_model(model)
    vectors: list[tuple[float, ...]] = []

    def take(event: Event) -> None:
        if isinstance(event, VectorsEvent):
            vectors.extend(event.vectors)

    worker = model.worker
    command = EmbedCommand(ref=worker.next_ref(), texts=tuple(request.input), normalize=request.normalize)
    try:
        end = await worker.call(command, command.ref, take)
    except asyncio.CancelledError:
        worker.bound(command.ref, model.limits.count_timeout_s)
        raise
    assert isinstance(end, EmbeddedEvent)
    model.note_success()
    return Embedded(
        embeddings=vectors,
        dimensions=end.dimensions,
        input_tokens=end.input_tokens,
        truncated=list(end.truncated),
    )


def _refuse_text_model(model: ManagedModel) -> None:
    """Refuse what a model is known not to do, which it is once it has loaded."""
    if model.info is not None and not model.info.capabilities.embed:
        name = model.source.name
        text = f"{name} ({model.source.row.name}) makes no embeddings; load a sentence-embedding model, or name one."
        raise HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=["model"])
