"""Answers that only HTTP gives, as models: what /docs and /openapi.json say of them. Nothing is made of these models.

Above it: the routers, through `native_host.http.schemas`. Below it: `messages`. The fuzz test and `test_documents` hold
real answers against them.
"""

from typing import Any, Literal

from pydantic import BaseModel

from messages.content import ToolCall
from messages.facts import Aggregate, Figures, ModelState, TokenLogprob
from messages.job_replies import JobRead
from messages.replies import ModelListing
from messages.settings import InferenceSettings
from native_host.http.job_progress import JobStatus
from native_host.stats_queries import HistoryPoint, MemoryPoint

FinishWord = Literal["stop", "length", "tool_calls"]


class Health(BaseModel):
    """The host is there."""

    status: Literal["ok"]
    version: str
    protocol: int
    pid: int
    token_required: bool
    model_loaded: str | None


class Params(BaseModel):
    """The settings in force."""

    status: Literal["success"]
    settings: InferenceSettings


class Models(BaseModel):
    """What can be loaded, and what is."""

    status: Literal["success"]
    models: list[ModelListing]
    loaded: list[ModelState]
    active: str | None


class OneModel(BaseModel):
    """How a model can be loaded, and its state if it is."""

    status: Literal["success"]
    listing: ModelListing | None
    state: ModelState | None


class JobBegun(BaseModel):
    """A generation that goes on by itself; `stream` is where its events are."""

    status: Literal["success"]
    job_id: str
    stream: str


class JobNow(JobRead, JobStatus):
    """A job's text since the cursor and where the job stands; from `model` on, what there is once it is over."""

    message: str | None
    model: str | None = None
    finish_reason: str | None = None
    tool_calls: list[ToolCall] | None = None
    logprobs: list[TokenLogprob] | None = None
    stats: Figures | None = None
    error: dict[str, Any] | None = None


class FiveFigures(BaseModel):
    """Of one generation: times in ms from the request's arrival; what is not known is null."""

    time_to_first_token: float | None
    tokens_per_second: float | None
    input_tokens: int | None
    output_tokens: int | None
    total_time: float | None


class GroupedStats(BaseModel):
    """Aggregates by name."""

    by: Literal["backend", "model", "origin"]
    groups: dict[str, Aggregate]


class StatsHistory(BaseModel):
    """Percentiles over time, for each backend."""

    backends: dict[str, list[HistoryPoint]]


class MemoryHistory(BaseModel):
    """Resident memory over time, for each model."""

    models: dict[str, list[MemoryPoint]]


class TopToken(BaseModel):
    """One of the likeliest tokens of a place."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatToken(TopToken):
    """An output token."""

    top_logprobs: list[TopToken]


class ChatLogprobs(BaseModel):
    """Every output token, if they were asked for."""

    content: list[ChatToken]
    refusal: None


class ChatMessage(BaseModel):
    """The answer. reasoning_content is what the model thought before it."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(BaseModel):
    """The one answer."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishWord


class CachedTokens(BaseModel):
    """Prompt tokens that were in the KV cache from before."""

    cached_tokens: int


class ReasoningTokens(BaseModel):
    """Output tokens that the model spent on its reasoning."""

    reasoning_tokens: int


class Usage(BaseModel):
    """Token counts, the engine's own."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens
    completion_tokens_details: ReasoningTokens


class ChatCompletion(BaseModel):
    """The answer to a conversation, in OpenAI's shape."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[ChatChoice]
    usage: Usage


class Own(BaseModel):
    """What /api/v1 tells beside OpenAI's shape."""

    status: Literal["success"]
    job_id: str
    stats: Figures


class ChatCompletionWithStats(ChatCompletion, Own):
    """The answer to a conversation, in OpenAI's shape, with the host's own fields beside it."""


class CompletionLogprobs(BaseModel):
    """Every output token, if they were asked for; text_offset is where each begins, in characters."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(BaseModel):
    """What follows the prompt."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishWord | None


class Completion(BaseModel):
    """What follows a bare prompt, in OpenAI's shape."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class CompletionWithStats(Completion, Own):
    """What follows a bare prompt, in OpenAI's shape, with the host's own fields beside it."""


class Vector(BaseModel):
    """A text's vector; as base64 of little-endian floats of 4 bytes if that was asked for."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """A vector for each text."""

    object: Literal["list"]
    data: list[Vector]
    model: str
    usage: EmbeddingUsage


class EmbeddingListWithFacts(BaseModel):
    """A vector for each text, with the host's own fields beside them."""

    status: Literal["success"]
    object: Literal["list"]
    data: list[Vector]
    usage: EmbeddingUsage
    dimensions: int
    input_tokens: int
    truncated: list[int]


class ModelObject(BaseModel):
    """A model that a request may name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelObjects(BaseModel):
    """Every model that a request may name."""

    object: Literal["list"]
    data: list[ModelObject]


class ResponseObject(BaseModel):
    """The answer of the responses endpoint: its main fields; OpenAI's reference tells the others."""

    id: str
    object: Literal["response"]
    created_at: int
    model: str
    status: Literal["completed", "incomplete", "failed", "in_progress"]
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None


class OpenAIErrorBody(BaseModel):
    """What was wrong; `param` is the parameter that was."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """An error in OpenAI's shape."""

    error: OpenAIErrorBody


SHAPES: tuple[type[BaseModel], ...] = (
    Health,
    Params,
    Models,
    OneModel,
    JobBegun,
    JobNow,
    FiveFigures,
    GroupedStats,
    StatsHistory,
    MemoryHistory,
    ChatCompletion,
    ChatCompletionWithStats,
    Completion,
    CompletionWithStats,
    EmbeddingList,
    EmbeddingListWithFacts,
    ModelObject,
    ModelObjects,
    ResponseObject,
    OpenAIError,
)
