"""Every request as a model, one for each action, and the one function that reads them.

Above it: the dispatcher. Below it: `messages.frames`. Whatever is wrong with a request is a `HostError` that names
each wrong field in the wire's own spelling.
"""

import re
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from messages.actions import ActionType
from messages.content import Message, PromptInput, picture_urls
from messages.data_urls import MAX_PICTURES
from messages.errors import ErrorCode, HostError
from messages.frames import MAX_SAFE_INTEGER
from messages.options import LoadOptions, ResponseFormat
from messages.settings import SettingsPatch
from messages.template_variables import TemplateVariables
from messages.tools import MAX_TOOLS, Tool, ToolChoice, refuse_tools
from messages.validation import MAX_FIELDS, describe

RequestId = str | int | None
ModelName = Annotated[str, Field(min_length=1, max_length=4096)]

MAX_TEXTS = 2048
"""Most texts that one `embed` takes; as many as OpenAI's API."""

MAX_TOP_LOGPROBS = 20
"""Most likeliest tokens that are told beside an output token; as many as OpenAI's API."""


class Request(BaseModel):
    """What all requests share: the caller's `id`, echoed in every answer, or null; `background` makes a job of it.

    A request's validator is made when the first of its kind comes, in 0.1 to 2 ms: all of them at once would hold up
    the daemon's start. That is in the event loop alone, as pydantic does not expect two threads to make one.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    id: RequestId = None
    background: bool = False


_MODEL_SPELLINGS = ("model", "model_path")


class _NamesModel(Request):
    model: ModelName | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_model_path(cls, data: dict[str, Any]) -> dict[str, Any]:
        given = [data[name] for name in _MODEL_SPELLINGS if data.get(name) is not None]
        if len(given) == 2 and given[0] != given[1]:
            raise ValueError("model_path: model and model_path are two spellings of one field; give one of them")
        others = {key: value for key, value in data.items() if key not in _MODEL_SPELLINGS}
        return {**others, "model": given[0]} if given else others


_ONE_PROMPT = "messages: exactly one of messages and prompt is required"


class _Prompted(_NamesModel):
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    prompt: str | None = None
    chat_template_kwargs: TemplateVariables | None = None

    @model_validator(mode="after")
    def _one_prompt(self) -> "_Prompted":
        if (self.messages is None) == (self.prompt is None):
            raise ValueError(_ONE_PROMPT)
        if self.chat_template_kwargs and self.messages is None:
            raise ValueError("chat_template_kwargs: want messages; a bare prompt goes to the model as it is")
        pictures = sum(1 for _ in picture_urls(self.messages or ()))
        if pictures > MAX_PICTURES:
            raise ValueError(f"messages: has {pictures} pictures, and a request may have {MAX_PICTURES}")
        return self

    @property
    def offered_tools(self) -> tuple[Tool, ...]:
        """The tools that the model is told of."""
        return ()

    @property
    def prompt_input(self) -> PromptInput:
        """The messages with what their template is given, or the prompt, as backends take them."""
        messages = None if self.messages is None else tuple(self.messages)
        variables = self.chat_template_kwargs or {}
        return PromptInput(messages=messages, prompt=self.prompt, tools=self.offered_tools, variables=variables)


class Ping(Request):
    """Is the host there, and which one?"""

    action: Literal[ActionType.PING]


class Load(_NamesModel):
    """Load a model by name or path; `stream` its progress from the first moment on, or the result alone.

    Without `stream` it is not known whether the caller takes more than one message.
    """

    action: Literal[ActionType.LOAD]
    model: ModelName
    backend: Annotated[str, Field(min_length=1)] = "auto"
    options: LoadOptions = LoadOptions()
    stream: bool | None = None


class Unload(_NamesModel):
    """Unload one model, or all."""

    action: Literal[ActionType.UNLOAD]
    all: bool = False

    @model_validator(mode="after")
    def _one_choice(self) -> "Unload":
        if self.all and self.model is not None:
            raise ValueError("all: give model or all, not both")
        return self


class Generate(_Prompted):
    """Generate text; `stream` partials, or the result alone."""

    action: Literal[ActionType.GENERATE]
    settings: SettingsPatch = SettingsPatch()
    stream: bool = True
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    thinking_update_interval: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] = 0

    @model_validator(mode="after")
    def _top_needs_logprobs(self) -> "Generate":
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: wants logprobs to be true")
        return self

    @property
    def wanted_logprobs(self) -> int | None:
        """How many likeliest tokens are to be told beside each output token; None: no probabilities at all."""
        return self.top_logprobs if self.logprobs else None

    @model_validator(mode="after")
    def _check_tools(self) -> "Generate":
        refuse_tools(self.tools or [], self.tool_choice)
        if self.tools and self.messages is None:
            raise ValueError("tools: want messages; a bare prompt goes to the model as it is")
        return self

    @property
    def offered_tools(self) -> tuple[Tool, ...]:
        """The tools that the model is told of: none where it must not call any."""
        return () if self.tool_choice == "none" else tuple(self.tools or ())


class StopGeneration(_NamesModel):
    """Stop one job, a model's jobs, or all of this origin's."""

    action: Literal[ActionType.STOP_GENERATION]
    job_id: str | None = None

    @model_validator(mode="after")
    def _one_choice(self) -> "StopGeneration":
        if self.job_id is not None and self.model is not None:
            raise ValueError("job_id: give job_id or model, not both")
        return self


class UpdateSettings(_NamesModel):
    """Change the settings that this origin's next generations start from."""

    action: Literal[ActionType.UPDATE_SETTINGS]
    settings: SettingsPatch


class GetStats(_NamesModel):
    """The figures of the running or last generation, and the aggregates."""

    action: Literal[ActionType.GET_STATS]
    scope: Literal["last", "aggregate"] = "last"


class GetState(_NamesModel):
    """The loaded models."""

    action: Literal[ActionType.GET_STATE]


class ListModels(Request):
    """What can be loaded."""

    action: Literal[ActionType.LIST_MODELS]


class ListBackends(Request):
    """Which engines there are."""

    action: Literal[ActionType.LIST_BACKENDS]


class GetSystemInfo(Request):
    """What machine this is."""

    action: Literal[ActionType.GET_SYSTEM_INFO]


class CountTokens(_Prompted):
    """How many tokens a prompt is."""

    action: Literal[ActionType.COUNT_TOKENS]


def _as_texts(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise ValueError("must be a string or an array")
    return [value] if isinstance(value, str) else value


class Embed(_NamesModel):
    """Vectors of one text or of many."""

    action: Literal[ActionType.EMBED]
    input: Annotated[list[str], BeforeValidator(_as_texts), Field(min_length=1, max_length=MAX_TEXTS)]
    normalize: bool | None = None


class ListJobs(Request):
    """This origin's jobs."""

    action: Literal[ActionType.LIST_JOBS]


class Attach(Request):
    """Follow a job from a cursor on."""

    action: Literal[ActionType.ATTACH]
    job_id: str
    cursor: Annotated[int, Field(ge=0)] = 0


class ReadJob(Request):
    """Read what a job has said since a cursor, waiting up to `wait_ms` for more."""

    action: Literal[ActionType.READ_JOB]
    job_id: str
    cursor: Annotated[int, Field(ge=0)] = 0
    wait_ms: Annotated[int, Field(ge=0, le=30_000)] = 0


class OpenHttp(Request):
    """Offer the HTTP API, for the terminal alone; null is as the configuration says."""

    action: Literal[ActionType.OPEN_HTTP]
    port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    token: bool | None = None


AnyRequest = (
    Ping
    | Load
    | Unload
    | Generate
    | StopGeneration
    | UpdateSettings
    | GetStats
    | GetState
    | ListModels
    | ListBackends
    | GetSystemInfo
    | CountTokens
    | Embed
    | ListJobs
    | Attach
    | ReadJob
    | OpenHttp
)

_KINDS: dict[ActionType, type[AnyRequest]] = {
    get_args(kind.model_fields["action"].annotation)[0]: kind for kind in get_args(AnyRequest)
}
_ACTION_OF: dict[type[Request], ActionType] = {kind: action for action, kind in _KINDS.items()}
_ACTIONS = {str(action): action for action in ActionType}


def parse(message: dict[str, Any]) -> AnyRequest:
    """Read a JSON object as a request.

    Raises HostError `unknown_action` (details.known_actions) or `invalid_request` (details.fields: one
    "path: what is wrong" for each wrong field).
    """
    wrong = _wrong_envelope(message)
    name = message.get("action")
    action = _ACTIONS.get(name) if isinstance(name, str) else None
    if action is None:
        raise _invalid(wrong) if wrong else _unknown(str(name))
    kind = _KINDS[action]
    try:
        request = kind.model_validate({**message, "action": action, "id": request_id(message)})
    except ValidationError as error:
        raise _invalid([*wrong, *_wrong_fields(kind, message, error)]) from None
    if wrong:
        raise _invalid(wrong)
    return request


RequestT = TypeVar("RequestT", bound=AnyRequest)


def read_as(kind: type[RequestT], fields: dict[str, Any]) -> RequestT:
    """Read a request of one kind of which the action is known otherwise; raises as `parse` does."""
    request = parse({**fields, "action": str(_ACTION_OF[kind])})
    assert isinstance(request, kind)
    return request


def model_of(request: AnyRequest) -> str | None:
    """The model that a request names, None if it names none."""
    return request.model if isinstance(request, _NamesModel) else None


def request_id(message: dict[str, Any]) -> str | int | None:
    """The `id` to answer with, even if the rest of the message is wrong; null if the `id` itself is."""
    value = message.get("id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    if isinstance(value, str):
        return value if len(value) <= 1024 else None
    return value if abs(value) <= MAX_SAFE_INTEGER else None


def action_of(message: dict[str, Any]) -> str | None:
    """The `action` to answer with, as it was sent."""
    action = message.get("action")
    return action[:100] if isinstance(action, str) else None


def _wrong_envelope(message: dict[str, Any]) -> list[str]:
    fields = []
    if message.get("id") is not None and request_id(message) is None:
        fields.append("id: must be a string of at most 1024 characters, or an integer within +-2**53")
    if not isinstance(message.get("action"), str):
        fields.append("action: must be a string" if "action" in message else "action: is required")
    return fields


def _wrong_fields(kind: type[AnyRequest], message: dict[str, Any], error: ValidationError) -> list[str]:
    """One line for each wrong field; a missing prompt too, for which pydantic looks only where all else is well."""
    fields = describe(error)
    if message.get("model") is None and message.get("model_path") is not None:
        fields = [re.sub("^model(?=: )", "model_path", field) for field in fields]
    if issubclass(kind, _Prompted) and message.get("messages") is None and message.get("prompt") is None:
        fields.append(_ONE_PROMPT)
    return list(dict.fromkeys(fields))


def _unknown(name: str) -> HostError:
    asked = name[:100]
    return HostError(
        ErrorCode.UNKNOWN_ACTION,
        f"There is no action {asked!r}; see details.known_actions.",
        action=asked,
        known_actions=[str(action) for action in ActionType],
    )


def _invalid(wrong: list[str]) -> HostError:
    fields = wrong[:MAX_FIELDS]
    more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
    return HostError(ErrorCode.INVALID_REQUEST, f"The request is not valid: {fields[0]}{more}.", fields=fields)
