"""What OpenAI's clients may send besides what the host understands: habits that change nothing, and what is refused.

Above it: `native_host.http.openai_requests`. A parameter that would change the answer and that the host does not
have is never passed over: it is an error that names it.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    ValidationInfo,
)
from pydantic.json_schema import JsonSchemaValue

from messages.errors import ErrorCode, HostError
from messages.settings import SettingsPatch, StopString


class Only:
    """The values of a parameter that leave everything as it is; null is one too, and any other is refused by name."""

    def __init__(self, *values: object) -> None:
        self._values = values

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return PlainValidator(self._check).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(self, _schema: object, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"enum": [None, *self._values], "description": "Accepted with these values only."}

    def _check(self, value: object, info: ValidationInfo) -> object:
        if isinstance(value, dict):  # null in it is not set, as elsewhere
            value = {name: one for name, one in value.items() if one is not None}
        if value is not None and not any(type(value) is type(one) and value == one for one in self._values):
            raise unsupported(info.field_name or "", self._values)
        return value


def unsupported(field: str, allowed: tuple[object, ...] = ()) -> HostError:
    """The error for a parameter that the host does not have; `allowed` are its values that change nothing."""
    what = f" other than {' or '.join(map(json.dumps, allowed))}" if allowed else ""
    text = f"{field}{what} is not supported by this host; leave it out."
    return HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=[field])


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
    """

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
        return {name: value for name, value in values.items() if value is not None}
