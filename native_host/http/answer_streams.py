"""A generation as an answer: whole, or as server-sent events while it goes on. The same under /api/v1 and /v1.

Above it: `native_host.http.api_v1_generation` and `native_host.http.openai_routes`. Below it: `native_host.http.client`
(the dispatcher's answers) and `native_host.http.openai_answers` (what is said).
"""

import asyncio
from collections.abc import Callable

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from messages.replies import Accepted, Failure, Generated, Partial, Reply, Success, ThinkingUpdate
from messages.requests import Generate
from native_host.http.client import LastReply, carry_out, host_of, origin_of, stop_job, unless_gone, wait_gone
from native_host.http.errors import HttpError, error_body
from native_host.http.openai_answers import Answer, comment
from native_host.jobs import Job

Reword = Callable[[HttpError], HttpError]

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def generate(request: Request, wanted: Generate) -> Generated:
    """Run a streaming `generate` to its end; it is stopped if its caller goes away. HttpError if it fails."""
    client = LastReply(origin_of(request))
    try:
        await unless_gone(request, carry_out(request, wanted, client))
    finally:
        if client.job_id is not None and not client.is_over:
            stop_job(request, client.job_id)
    return _generated(client.result())


class AnswerStream(Response):
    """A streaming `generate` whose replies are written as they come; it is stopped if its caller goes away.

    It is the dispatcher's client and the server's response in one, with no queue and no task between the two: each
    would stand between the first token and its reader. `answer_of` makes the answer once there is a job. The stream
    begins when the model reads the prompt, or with `begins_at_once` when there is a job, which it then names in
    `X-Job-Id`; what fails before is an HttpError, with a status of its own, put into the caller's words by `reword`.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        request: Request,
        wanted: Generate,
        answer_of: Callable[[Job], Answer],
        *,
        begins_at_once: bool = False,
        reword: Reword | None = None,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.origin = origin_of(request)
        self._request = request
        self._wanted = wanted
        self._answer_of = answer_of
        self._begins_at_once = begins_at_once
        self._reword = reword
        self._job: Job | None = None
        self._answer: Answer | None = None
        self._write: Send | None = None
        self._watch: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called by the server. HttpError if the generation fails before the stream has begun."""
        self._write = send
        try:
            await carry_out(self._request, self._wanted, self)
        finally:
            if self._watch is not None:
                self._watch.cancel()
            if self._job is not None:
                self._job.cancel()

    async def send(self, reply: Reply) -> None:
        """Called by the dispatcher: write a reply, waiting while the caller does not read."""
        if isinstance(reply, Accepted):
            await self._accept(reply)
        elif self._answer is not None:
            is_last = isinstance(reply, Success | Failure)
            await self._write_body(_told(reply, self._answer, self._request.url.path), more=not is_last)
        elif isinstance(reply, Failure):
            error = HttpError.of_failure(reply)
            raise self._reword(error) if self._reword else error

    async def _accept(self, accepted: Accepted) -> None:
        job = self._job = host_of(self._request).jobs.get(accepted.job_id, self.origin)
        self._watch = asyncio.create_task(self._stop_when_gone(job))
        if not self._begins_at_once:
            await job.wait_begun()
        if job.error is None or job.next_seq:
            await self._begin(job)

    async def _begin(self, job: Job) -> None:
        assert self._write is not None
        self._answer = self._answer_of(job)
        self.init_headers(_HEADERS | ({"X-Job-Id": job.job_id} if self._begins_at_once else {}))
        await self._write({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await self._write_body("".join(self._answer.begin()), more=True)

    async def _write_body(self, text: str, *, more: bool) -> None:
        assert self._write is not None
        if text or not more:
            await self._write({"type": "http.response.body", "body": text.encode(), "more_body": more})

    async def _stop_when_gone(self, job: Job) -> None:
        await wait_gone(self._request)
        job.cancel()


def _generated(result: Success) -> Generated:
    """The fields of a generation that went well."""
    assert isinstance(result.fields, Generated)
    return result.fields


def _told(reply: Reply, answer: Answer, path: str) -> str:
    match reply:
        case ThinkingUpdate():
            return comment(reply.thinking)
        case Success():
            return "".join(answer.end(_generated(reply)))
        case Failure():
            return "".join(answer.fail(dict(error_body(path, HttpError.of_failure(reply)).content)))
        case Partial():
            return "".join(answer.partial(reply))
        case _:
            return ""
