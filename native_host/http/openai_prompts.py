"""Several prompts of one completion: each is a generation of its own, begun when the one before it has ended.

Above it: `native_host.http.openai_routes`. Below it: `native_host.http.answer_streams`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fastapi import Request

from messages.errors import ErrorCode, HostError
from messages.facts import Figures, FinishReason
from messages.replies import Generated
from messages.requests import Generate
from native_host.http.answer_streams import generate
from native_host.http.client import count_from_now, host_of
from native_host.http.errors import HttpError


async def generate_each(request: Request, wanted: Generate, prompts: Sequence[str]) -> list[Generated]:
    """Answer prompts in their order. Who stops one stops those behind it, whose answers are empty.

    HttpError if one fails, which it names: none is answered then.
    """
    with _kept(request, wanted.model):
        return await _each(request, wanted, prompts)


@contextmanager
def _kept(request: Request, name: str | None) -> Iterator[None]:
    """While this is entered the model stays loaded, as it was: its keep-alive counts from the last prompt's end."""
    models = host_of(request).models
    try:
        model = models.find(name)
    except HostError:  # it was unloaded just now, and the first prompt loads it again
        yield
        return
    try:
        with model.held():
            yield
    finally:
        models.release(model)


async def _each(request: Request, wanted: Generate, prompts: Sequence[str]) -> list[Generated]:
    results: list[Generated] = []
    for at, prompt in enumerate(prompts):
        if results and results[-1].finish_reason == FinishReason.CANCELLED:
            results.append(_unanswered(results[-1]))
            continue
        try:
            results.append(await generate(request, wanted.model_copy(update={"prompt": prompt})))
        except HttpError as error:
            raise _naming(error, at) from None
        count_from_now(request)  # the next did not wait for the model while this one had it
    return results


def _unanswered(stopped: Generated) -> Generated:
    """What there is of a prompt behind one that was stopped."""
    return stopped.model_copy(update={"text": "", "logprobs": None, "stats": Figures()})


def _naming(error: HttpError, at: int) -> HttpError:
    """An error over a prompt, with its place; any other as it is."""
    fields = error.details.get("fields")
    named = fields[0].partition(":")[0] if isinstance(fields, list) and fields else ""
    if error.code is ErrorCode.CONTEXT_OVERFLOW or "prompt" in named:
        error.message = f"prompt[{at}]: {error.message}"
        error.details["fields"] = [error.message]
    return error
