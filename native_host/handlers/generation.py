"""Handlers that use a model: generate, count_tokens, update_settings; and following a job, which `attach` shares."""

import asyncio

from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import FinishReason
from messages.replies import Accepted, FailedGeneration, Generated, Partial, SettingsUpdated, ThinkingUpdate, TokenCount
from messages.requests import CountTokens, Generate, UpdateSettings
from messages.settings import InferenceSettings, SettingsPatch
from messages.worker import CountCommand, CountedEvent
from native_host.context import JobFailed, RequestContext
from native_host.generation import Generation
from native_host.jobs import Job, JobNews, TextPiece
from native_host.managed_model import ManagedModel
from native_host.refusals import refuse_generation, refuse_media, refuse_settings
from native_host.worker_process import WorkerAbandoned


async def generate(context: RequestContext, request: Generate) -> Generated:
    """Make a job of the request and follow it to its end."""
    host = context.host
    model = host.models.find(request.model)
    settings, prompt = _settings(context, request, model), request.prompt_input
    refuse_generation(model, prompt, settings, logprobs=request.logprobs)
    model.join_queue()
    job = host.jobs.create(context.origin, model.source.name, background=request.background)
    with job.listener():
        Generation(
            job=job,
            model=model,
            prompt=prompt,
            settings=settings,
            response_format=request.response_format,
            top_logprobs=request.wanted_logprobs,
            arrived_at=context.arrived_at,
            on_over=host.generation_over,
            tool_choice=request.tool_choice,
            parallel_tool_calls=request.parallel_tool_calls,
        ).start()
        if not prompt.has_media:
            await asyncio.sleep(0)  # the engine gets its work before all else; pictures take their time
        host.models.use(model)
        accepted = request.stream or request.background
        if accepted:
            await context.send(Accepted(context.request_id, context.action, job.job_id))
        return await follow(context, job, cursor=0, stream=request.stream, accepted=accepted)


async def follow(context: RequestContext, job: Job, cursor: int, *, stream: bool, accepted: bool) -> Generated:
    """Send a job's news from `cursor` on, if it is to be streamed, and return its result; JobFailed if it failed."""
    if stream:
        async for news in job.follow(cursor):
            await context.send(_reply(context, job, news))
    else:
        await job.over.wait()
    if context.takes_result(accepted=accepted):
        context.host.jobs.note_read(job)
    return result_of(job)


def result_of(job: Job) -> Generated:
    """The result of a job that is over; JobFailed if it failed."""
    reasoning = job.reasoning or None
    if job.error is not None:
        left = FailedGeneration(
            job_id=job.job_id, model=job.model, text=job.text, reasoning=reasoning, stats=job.figures
        )
        raise JobFailed(job.error, left)
    return Generated(
        job_id=job.job_id,
        model=job.model,
        text=job.text,
        finish_reason=job.finish_reason or FinishReason.STOP,
        tool_calls=job.tool_calls or None,
        reasoning=reasoning,
        logprobs=job.logprobs,
        stats=job.figures,
    )


async def count_tokens(context: RequestContext, request: CountTokens) -> TokenCount:
    """Count a prompt's tokens with the model's own tokenizer and template."""
    models = context.host.models
    model = models.find(request.model)
    refuse_media(model, request.prompt_input)
    models.use(model)
    try:
        with model.held():
            return await _count(model, request.prompt_input)
    finally:
        models.release(model)


async def _count(model: ManagedModel, prompt: PromptInput) -> TokenCount:
    """Count, on the next worker too if this one is killed because of what somebody else has asked of it."""
    limit_s = model.limits.count_timeout_s
    while True:
        await model.wait_ready()
        refuse_media(model, prompt)
        worker = model.worker
        command = CountCommand(ref=worker.next_ref(), prompt=prompt)
        try:
            event = await worker.call(command, command.ref, limit_s=limit_s)
        except WorkerAbandoned:
            continue
        except TimeoutError:
            raise _uncounted(model.source.name, limit_s) from None
        assert isinstance(event, CountedEvent)
        return TokenCount(tokens=event.tokens, context_length=event.context_length)


def _uncounted(model: str, limit_s: float) -> HostError:
    text = (
        f"{model} did not count this prompt's tokens within {limit_s:g} s, so its engine was killed and is started"
        " again. Send less; if a short prompt takes as long, the model's files are at fault: choose another model."
    )
    return HostError(ErrorCode.TIMEOUT, text)


async def update_settings(context: RequestContext, request: UpdateSettings) -> SettingsUpdated:
    """Set what this origin's next generations start from, for one model or for all."""
    host = context.host
    model = host.models.find(request.model)
    name = model.source.name if request.model is not None else None
    updated = host.settings.updated(context.origin, name, request.settings)
    settings = updated.in_force(context.origin, model.source.name)
    refuse_settings(model, settings)
    host.settings = updated
    changed = [model] if name is not None else host.models.all()
    return SettingsUpdated(
        message=f"Settings hold from the next generation on, for {name or 'all models'}.",
        updated_backends=list(dict.fromkeys(kind for one in changed if (kind := one.backend_type) is not None)),
        settings=settings,
    )


def _settings(context: RequestContext, request: Generate, model: ManagedModel) -> InferenceSettings:
    settings = context.host.settings.in_force(context.origin, model.source.name).patched(request.settings)
    interval = request.thinking_update_interval
    return settings if interval is None else settings.patched(SettingsPatch(thinking_update_interval=interval))


def _reply(context: RequestContext, job: Job, news: JobNews) -> Partial | ThinkingUpdate:
    if isinstance(news, TextPiece):
        return Partial(
            context.request_id,
            job.job_id,
            news.seq,
            news.text,
            news.tokens,
            news.logprobs,
            news.reasoning,
            news.tool_calls,
            news.first_call,
        )
    return ThinkingUpdate(
        id=context.request_id,
        job_id=job.job_id,
        thinking=news.thinking,
        phase=str(news.phase),
        tokens=news.tokens,
        tokens_per_second=news.tokens_per_second,
        elapsed_ms=news.elapsed_ms,
        eta_ms=news.eta_ms,
        memory_bytes=news.memory_bytes,
    )
