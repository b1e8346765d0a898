"""What each OpenAI endpoint takes, and the wire's request that says the same.

Above it: `native_host.http.openai_routes`. Below it: `native_host.http.openai_parameters` (what may pass and what
not) and `native_host.http.openai_messages`. Ranges, and whatever is not OpenAI's alone, are the dispatcher's to check.

Source: OpenAI's API reference and the parameter types of the `openai` Python client 3.52.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from messages.frames import JsonObject
from messages.options import JsonSchema
from messages.requests import MAX_TEXTS, MAX_TOP_LOGPROBS, ModelName
from messages.template_variables import TemplateVariables
from native_host.http.openai_messages import chat_messages, message_names, response_messages
from native_host.http.openai_namespaces import placed_tools
from native_host.http.openai_parameters import (
    Habits,
    MaxTokens,
    Only,
    Sampling,
    TopP,
    invalid,
    unsupported,
    wire_settings,
)
from native_host.http.openai_reasoning import Effort, effort_of, template_variables
from native_host.http.openai_tools import wire_choice, wire_tools


def _as_messages(value: object) -> object:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


OneMessage = BeforeValidator(_as_messages, json_schema_input_type=str | list[dict[str, Any]])
"""Lets a string stand for one message of the user."""

TopLogprobs = Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)]


def _as_texts(value: object) -> object:
    """A list of texts; ValueError for tokens, which mean other words to this model than to OpenAI's."""
    if isinstance(value, list) and any(isinstance(text, int | list) for text in value):
        raise ValueError(
            "must be texts; tokens are of another model's tokenizer"
            " (LangChain's OpenAIEmbeddings send them unless check_embedding_ctx_length=False)"
        )
    return [value] if isinstance(value, str) else value


def _as_prompts(value: object) -> object:
    """A list of prompts; ValueError for tokens, which a generation does not take."""
    if isinstance(value, list) and any(isinstance(text, int | list) for text in value):
        raise ValueError("must be text or texts; tokens are not taken (lm_eval: tokenized_requests=False)")
    return _as_texts(value)


MAX_PROMPTS = 128
"""Most prompts that one completion answers, one behind the other."""

Prompts = BeforeValidator(_as_prompts, json_schema_input_type=str | list[str])
"""Lets a string stand for a list of one."""

Texts = BeforeValidator(_as_texts, json_schema_input_type=str | list[str])
"""Lets a string stand for a list of one."""

_INCLUDE_LOGPROBS, _INCLUDE_REASONING = _INCLUDABLE = ("message.output_text.logprobs", "reasoning.encrypted_content")


def _refuse_others(value: list[str]) -> list[str]:
    if not set(value) <= set(_INCLUDABLE):
        raise unsupported("include", _INCLUDABLE)
    return value


Include = Annotated[
    list[str],
    AfterValidator(_refuse_others),
    WithJsonSchema({"type": "array", "items": {"enum": list(_INCLUDABLE)}}),
]

_WHOLE_TALK = "it stores nothing: send the whole conversation as input"

_VERBOSITIES = ("low", "medium", "high")
"""A wish for the length of an answer, of which no chat template knows; whoever needs a limit gives max_tokens."""

_MESSAGE = re.compile(r"\bmessages\[(?P<message>\d{1,9})\](\.tool_calls\[(?P<call>\d{1,9})\](\.function)?)?")

_TOOL = re.compile(r"\btools\[(?P<tool>\d{1,9})\]")

_QUOTED = re.compile(r"('[^']*'|\"[^\"]*\")")
"""What an error quotes of the caller's own words."""

_VARIABLES = re.compile(r"\bchat_template_kwargs\b")
"""What comes of the effort of reasoning, where the caller gives no variables."""

_RESPONSE_WORDS = (
    (re.compile(r"\bimage_url\.url\b"), "image_url"),
    (re.compile(r"\bmessages\b"), "input"),
    (re.compile(r"\bresponse_format\b(\.json_schema\b)?"), lambda found: f"text.format{'.schema' if found[1] else ''}"),
    (re.compile(r"\b((?:tools\[\d+\]\.)?tools\[\d+\]|tool_choice)\.function\b"), r"\1"),
    (re.compile(r"\b(settings\.)?max_tokens\b"), "max_output_tokens"),
)
"""What errors call fields of the wire, and what the caller of a response knows them as."""


class ChatBody(Sampling):
    """The body of POST /v1/chat/completions. Without `model` it is the model that was loaded or used last."""

    model: ModelName | None = None
    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    max_completion_tokens: MaxTokens | None = None
    response_format: dict[str, Any] | None = None
    tools: list[JsonSchema] | None = None
    tool_choice: str | JsonSchema | None = None
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    modalities: Annotated[Any, Only(["text"])] = None
    audio: Annotated[Any, Only()] = None
    prediction: Annotated[Any, Only()] = None
    reasoning_effort: Effort | None = None
    chat_template_kwargs: TemplateVariables | None = None
    verbosity: Annotated[Any, Only(*_VERBOSITIES)] = None
    web_search_options: Annotated[Any, Only()] = None
    moderation: Annotated[Any, Only()] = None
    functions: Annotated[Any, Only([])] = None
    function_call: Annotated[Any, Only("none", "auto")] = None

    def to_wire(self) -> JsonObject:
        """The `generate`."""
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise invalid("max_tokens", "and max_completion_tokens are two spellings of one; give one of them")
        return _generate(
            model=self.model,
            messages=chat_messages(self.messages),
            settings=self.settings(self.max_completion_tokens),
            response_format=self.response_format,
            tools=self.tools or None,
            tool_choice=self.tool_choice,
            parallel_tool_calls=self.parallel_tool_calls if self.tools else None,
            logprobs=self.logprobs,
            top_logprobs=self.top_logprobs,
            chat_template_kwargs=template_variables(self.reasoning_effort, self.chat_template_kwargs),
        )

    def in_its_words(self, text: str) -> str:
        """What is said of the wire's request, in the words of this one."""
        return text if self.chat_template_kwargs else _VARIABLES.sub("reasoning_effort", text)


class CompletionBody(Sampling):
    """The body of POST /v1/completions: a bare prompt, to which the model writes on, or several, each by itself."""

    model: ModelName | None = None
    prompt: Annotated[list[str], Prompts, Field(min_length=1, max_length=MAX_PROMPTS)]
    best_of: Annotated[Any, Only(1)] = None
    echo: Annotated[Any, Only(False)] = None
    logprobs: TopLogprobs | None = None
    suffix: Annotated[Any, Only("")] = None

    def to_wire(self) -> JsonObject:
        """The `generate` of the first prompt. HostError for several as a stream."""
        if self.stream and len(self.prompt) > 1:
            raise unsupported("prompt", instead="one prompt makes a stream: send one, or leave stream out")
        told = {} if self.logprobs is None else {"logprobs": True, "top_logprobs": self.logprobs}
        return _generate(model=self.model, prompt=self.prompt[0], settings=self.settings(), **told)


class ResponseBody(Habits):
    """The body of POST /v1/responses. Nothing is kept, so none can be gone on from.

    Truncation "auto" cuts nothing either: an input that does not fit is an error. client_metadata is a habit of Codex.
    """

    model: ModelName | None = None
    input: Annotated[list[dict[str, Any]], OneMessage, Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: MaxTokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: TopP | None = None
    text: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: dict[Literal["include_obfuscation"], bool | None] | None = None
    truncation: Annotated[Any, Only("disabled", "auto")] = None
    tools: list[JsonSchema] | None = None
    tool_choice: str | JsonSchema | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = None
    include: Include | None = None
    background: Annotated[Any, Only(False)] = None
    top_logprobs: TopLogprobs | None = None
    reasoning: dict[str, Any] | None = None
    chat_template_kwargs: TemplateVariables | None = None
    previous_response_id: Annotated[Any, Only(instead=_WHOLE_TALK)] = None
    conversation: Annotated[Any, Only(instead=_WHOLE_TALK)] = None
    context_management: Annotated[Any, Only([])] = None
    prompt: Annotated[Any, Only()] = None
    image: Annotated[Any, Only()] = None
    moderation: Annotated[Any, Only()] = None
    access_programs: Annotated[Any, Only([])] = None
    client_metadata: dict[str, Any] | None = None

    @property
    def includes_reasoning(self) -> bool:
        """Whether reasoning is to come as `encrypted_content` too."""
        return _INCLUDE_REASONING in (self.include or ())

    def to_wire(self) -> JsonObject:
        """The `generate`."""
        settings = {"max_tokens": self.max_output_tokens, "temperature": self.temperature, "top_p": self.top_p}
        return _generate(
            model=self.model,
            messages=response_messages(self.input, self.instructions),
            settings=wire_settings(settings),
            response_format=_response_format(self.text or {}),
            tools=wire_tools(self.tools),
            tool_choice=wire_choice(self.tool_choice, self.tools),
            parallel_tool_calls=self.parallel_tool_calls if self.tools else None,
            logprobs=bool(_INCLUDE_LOGPROBS in (self.include or ()) or self.top_logprobs),
            top_logprobs=self.top_logprobs,
            chat_template_kwargs=template_variables(effort_of(self.reasoning), self.chat_template_kwargs),
        )

    def in_its_words(self, text: str) -> str:
        """What is said of the wire's request, in the words of this one; what it quotes stays."""
        return "".join(part if place % 2 else self._reworded(part) for place, part in enumerate(_QUOTED.split(text)))

    def _reworded(self, text: str) -> str:
        names = dict(enumerate(message_names(self.input, self.instructions)))

        def name(found: re.Match[str]) -> str:
            """That of a message or of a call in it; what only looks like one, in the caller's own text, stays."""
            message = names.get(int(found["message"]))
            if message is None:
                return found[0]
            call = found["call"]
            if call is None or int(call) >= len(message.calls):
                return found[0].replace(f"messages[{found['message']}]", message.name)
            return message.calls[int(call)]

        tools = [placed.place for placed in placed_tools(self.tools)]
        text = _TOOL.sub(lambda found: tools[at] if (at := int(found["tool"])) < len(tools) else found[0], text)
        text = _MESSAGE.sub(name, text)
        for pattern, word in _RESPONSE_WORDS:
            text = pattern.sub(word, text)
        return text if self.chat_template_kwargs else _VARIABLES.sub("reasoning.effort", text)


class EmbeddingBody(Habits):
    """The body of POST /v1/embeddings. `dimensions` may be the model's own number of them, and no other."""

    model: ModelName | None = None
    input: Annotated[list[str], Texts, Field(min_length=1, max_length=MAX_TEXTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None

    def to_wire(self) -> JsonObject:
        """The `embed`. Vectors have length 1, as OpenAI's do."""
        return _named(self.model) | {"input": self.input, "normalize": True}


def _generate(model: str | None, **fields: object) -> JsonObject:
    known = {name: value for name, value in fields.items() if value is not None}
    return _named(model) | {"stream": True} | known


def _named(model: str | None) -> JsonObject:
    return {} if model is None else {"model": model}


def _response_format(text: dict[str, Any]) -> JsonObject | None:
    """The wire's response_format of a response's `text`, whose `format` has the schema beside its type."""
    for name in text:
        if name not in ("format", "verbosity"):
            raise invalid(f"text.{name}", "is not a known field")
    if text.get("verbosity") not in (None, *_VERBOSITIES):
        raise unsupported("text.verbosity", _VERBOSITIES)
    form = text.get("format")
    if form is None:
        return None
    if not isinstance(form, dict):
        raise invalid("text.format", "must be an object")
    if form.get("type") == "json_schema":
        return {"type": "json_schema", "json_schema": {name: form[name] for name in form if name != "type"}}
    return form
