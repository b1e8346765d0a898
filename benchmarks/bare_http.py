"""The least that the HTTP API could be: FastAPI and uvicorn with our engine in the same process, and nothing else.

`python -m benchmarks.bare_http --model MODEL --threads N --context-length N --port PORT`. No dispatcher, no jobs, no
worker process, no checks: what these cost is how much later than here the first token comes over our API.
Above it: `http_stream`, which starts it.
"""

import argparse
import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from backends.base import CancelToken, GenerationEnd, GenerationEvent, GenerationRequest, LoadSpec, TokenChunk
from backends.llamacpp.backend import LlamaCppBackend
from messages.content import PromptInput
from messages.options import LoadOptions
from messages.settings import InferenceSettings


class _Body(BaseModel):
    """What the benchmark sends; the rest of it is ignored."""

    prompt: str
    max_tokens: int


def _application(backend: LlamaCppBackend) -> FastAPI:
    application = FastAPI()

    @application.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @application.post("/v1/completions")
    async def complete(body: _Body) -> StreamingResponse:
        settings = InferenceSettings(temperature=0, max_tokens=body.max_tokens)
        request = GenerationRequest(PromptInput(prompt=body.prompt), settings)
        return StreamingResponse(_lines(backend, request), media_type="text/event-stream")

    return application


async def _lines(backend: LlamaCppBackend, request: GenerationRequest) -> AsyncIterator[str]:
    events: asyncio.Queue[GenerationEvent] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def run() -> None:
        for event in backend.generate(request, CancelToken()):
            loop.call_soon_threadsafe(events.put_nowait, event)

    threading.Thread(target=run, daemon=True).start()
    while not isinstance(event := await events.get(), GenerationEnd):
        if isinstance(event, TokenChunk):
            yield _line({"choices": [{"index": 0, "text": event.text, "finish_reason": None}]})
    yield _line({"choices": [], "usage": {"completion_tokens": event.output_tokens}})
    yield "data: [DONE]\n\n"


def _line(said: dict[str, Any]) -> str:
    return f"data: {json.dumps(said)}\n\n"


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(description="A bare HTTP server of one GGUF.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context-length", type=int, required=True, help="in tokens")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    backend = LlamaCppBackend()
    options = LoadOptions(threads=given.threads, context_length=given.context_length)
    backend.load(LoadSpec(given.model.resolve(), options), lambda *_: None)
    uvicorn.run(_application(backend), port=given.port, log_level="error", access_log=False)


if __name__ == "__main__":
    main()
