"""What OpenAI's clients may send besides what the host understands: habits that change nothing, and what is refused.

Above it: `native_host.http.openai_requests`. A parameter that would change the answer and that the host does not
have is never passed over: it is an error that names it.
"""

import json
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue

from messages.errors import ErrorCode, HostError
from messages.settings import SettingsPatch, StopString


class Only:
    """The values of a parameter that leave everything as it is; null is one too, and any other is refused by name."""

    def __init__(self, *values: object, instead: str = "leave it out") -> None:
        """`instead` is what the error tells a caller to do."""
        self._values, self._instead = values, instead

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return PlainValidator(self._check).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(self, _schema: object, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"enum": [None, *self._values], "description": "Accepted with these values only."}

    def _check(self, value: object, info: ValidationInfo) -> object:
        if isinstance(value, dict):  # null in it is not set, as elsewhere
            value = {name: one for name, one in value.items() if one is not None}
        if value is not None and not any(type(value) is type(one) and value == one for one in self._values):
            raise unsupported(info.field_name or "", self._values, self._instead)
        return value


def unsupported(field: str, allowed: tuple[object, ...] = (), instead: str = "leave it out") -> HostError:
    """The error for a parameter that the host does not have; `allowed` are its values that change nothing."""
    what = f" other than {' or '.join(map(json.dumps, allowed))}" if allowed else ""
    text = f"{field}{what} is not supported by this host; {instead}."
    return HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=[field])


def invalid(field: str, problem: str) -> HostError:
    """The error for a field that is wrong, in OpenAI's word for it."""
    return HostError(ErrorCode.INVALID_REQUEST, f"{field} {problem}.", fields=[f"{field}: {problem}"])


NO_LIMIT, MOST_TOKENS = -1, 2**31 - 1

LEAST_TOP_P = 1e-9
"""So little that the likeliest token alone is left, which every engine leaves."""

_MEANT: Mapping[str, tuple[float, float]] = {
    "max_tokens": (NO_LIMIT, MOST_TOKENS),
    "top_k": (-1, 0),
    "top_p": (0, LEAST_TOP_P),
}
"""Values that other servers of OpenAI's API take for some settings, and what they mean there in this host's words.

Source: llama.cpp's `tools/server/README.md`, vLLM's `sampling_params.py`, LM Studio's documentation; top_p: OpenAI's.
"""


def wire_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The wire's `settings`, of those that were set.

    A seed of -1 is drawn here: left out, it would be the one that was set for the origin, if any was.
    """
    settings = {name: value for name, value in given.items() if value is not None}
    for name, (value, meaning) in _MEANT.items():
        if settings.get(name) == value:
            settings[name] = meaning
    if settings.get("seed") == -1:
        settings["seed"] = secrets.randbits(32)
    return settings


def _refuse_too_few(value: int) -> int:
    if value < 1 and value != NO_LIMIT:
        raise ValueError("must be >= 1, or -1 for no limit")
    return value


MaxTokens = Annotated[
    int,
    Field(le=MOST_TOKENS),
    AfterValidator(_refuse_too_few),
    WithJsonSchema({"anyOf": [{"const": NO_LIMIT}, {"type": "integer", "minimum": 1, "maximum": MOST_TOKENS}]}),
]
"""-1 is no limit: the answer ends by itself, or where the context does."""

TopP = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""0 leaves the likeliest token alone."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


OneOrMore = BeforeValidator(_as_list, json_schema_input_type=str | list[str])
"""Lets a string stand for a list of one."""


class Habits(BaseModel):
    """Parameters that clients send by habit; whatever they say, the answer is the same."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None

    def in_its_words(self, text: str) -> str:
        """What is said of the wire's request, in the words of this one."""
        return text


class Sampling(SettingsPatch, Habits):
    """The settings of a generation under the names that OpenAI and this host share, with this host's ranges.

    top_k, min_p and repeat_penalty are this host's own, for clients that can send more than OpenAI's (`extra_body`).
    cache_prompt is llama.cpp's: this host keeps what it can of each prompt anyhow.
    """

    max_tokens: MaxTokens | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    top_p: TopP | None = None
    seed: Annotated[int, Field(ge=-1, le=2**32 - 1)] | None = None
    cache_prompt: Annotated[Any, Only(True)] = None

    stop: Annotated[list[StopString], OneOrMore, Field(max_length=64)] | None = None
    logit_bias: Annotated[Any, Only({})] = None
    n: Annotated[Any, Only(1)] = None
    stream: bool | None = None
    stream_options: dict[Literal["include_usage", "include_obfuscation"], bool | None] | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream is to end with its usage."""
        return bool((self.stream_options or {}).get("include_usage"))

    def settings(self, max_tokens: int | None = None) -> dict[str, Any]:
        """The wire's `settings`: those that were set; `max_tokens` wins over the field."""
        values = {name: getattr(self, name) for name in SettingsPatch.model_fields}
        values["max_tokens"] = self.max_tokens if max_tokens is None else max_tokens
        return wire_settings(values)
