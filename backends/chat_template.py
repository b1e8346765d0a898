"""Chat templates: conversations into the prompt that a model was trained on, by its own Jinja source.

Above it: the backends whose models bring a template. A template is foreign code, so it runs in Jinja's immutable
sandbox, with no other template to load, and with a limit on its time. Behaviour is that of Transformers 4.5x
`chat_template_utils`: trim_blocks, lstrip_blocks, loop controls, `raise_exception`, `strftime_now`, a `tojson` that
does not escape HTML, and `generation` blocks that only mark text.
"""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import DictLoader, TemplateError, TemplateNotFound, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from messages.content import AudioPart, Message, Part, TextPart, read_arguments
from messages.errors import ErrorCode, HostError
from messages.tools import Function, Tool

DEFAULT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""ChatML, for models that bring no template of their own."""

TIME_LIMIT_S = 5.0
"""Longest time that one rendering may take, in seconds; 10,000 messages take well under one."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_LARGEST_REPEAT = 1_000_000
_LONGEST_REASON = 500
_NEEDLE = "needle-4711"
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}

_FOREIGN_ERRORS = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What the evaluation of a template can raise: Jinja's own errors, and those of the operations it contains."""


class _Refusal(Exception):
    """The template called `raise_exception`."""


class _OutOfTime(Exception):
    """The template ran for longer than the limit."""


class ChatTemplate:
    """One compiled chat template. `takes_tools` is true if it tells the model of tools.

    Raises HostError `model_invalid` if the source is not a Jinja template, or one that does not end.
    """

    def __init__(self, source: str, *, bos_token: str, eos_token: str) -> None:
        self.source = source
        self._deadline = 0.0
        self._variables = {"bos_token": bos_token, "eos_token": eos_token, "documents": None}
        environment = _Environment(self._check_time)
        if "\0" in source:
            raise _broken("it has a NUL character (U+0000)")
        try:
            self._template = environment.from_string(source)
        except _FOREIGN_ERRORS as error:
            raise _broken(error) from error
        self._wants_parts = self._prints_parts_only()
        self.takes_tools = self._prints_tools()

    def render(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), variables: Mapping[str, Any] | None = None
    ) -> str:
        """Return the prompt of a conversation and the tools it may use, up to where the assistant begins to speak.

        variables are given to the template beside what every one gets, which they do not replace.

        Raises HostError `invalid_request` if the template refuses the conversation (its own `raise_exception`),
        leaves nothing of it, or does not work with these variables, `model_invalid` if the template fails, imports, or
        takes longer than `TIME_LIMIT_S`.
        """
        try:
            text = self._render_with_calls(messages, tools, variables or {})
        except HostError as error:
            if variables and self._takes(messages, tools):
                raise _refused_variables(error) from error
            raise
        if text:
            return text
        nothing = "The model's chat template makes an empty prompt of this conversation."
        raise HostError(ErrorCode.INVALID_REQUEST, nothing, fields=["messages: make an empty prompt"])

    def _takes(self, messages: Sequence[Message], tools: Sequence[Tool]) -> bool:
        """True if the template works where it is given no variables."""
        try:
            self._render_with_calls(messages, tools, {})
        except HostError:
            return False
        return True

    def _render_with_calls(
        self, messages: Sequence[Message], tools: Sequence[Tool], variables: Mapping[str, Any]
    ) -> str:
        """Arguments of calls are given as what they are, and as JSON text to a template that joins them to a text."""
        given = [tool.model_dump(exclude_none=True) for tool in tools] or None
        try:
            return self._render([_plain(message, self._wants_parts) for message in messages], given, variables)
        except HostError as error:
            if not isinstance(error.__cause__, TypeError) or not any(message.tool_calls for message in messages):
                raise
            plain = [_plain(message, self._wants_parts, read=False) for message in messages]
            return self._render(plain, given, variables)

    def _render(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        self._deadline = time.monotonic() + TIME_LIMIT_S
        try:
            text = self._template.render({**(variables or {}), **self._given(messages, tools)})
        except _Refusal as refusal:
            text = f"The model's chat template refuses this conversation: {_short(refusal)}"
            raise HostError(ErrorCode.INVALID_REQUEST, text, fields=[f"messages: {_short(refusal)}"]) from refusal
        except _OutOfTime as error:
            raise _broken(error) from error
        except TemplateNotFound as error:
            raise _broken(f"it imports {error.name}, and a template may import nothing") from error
        except MemoryError as error:
            raise _broken("it makes a text that does not fit into memory") from error
        except _FOREIGN_ERRORS as error:
            raise _broken(error) from error
        return _LONE_SURROGATE.sub("\ufffd", text)

    def _given(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> dict[str, Any]:
        """What every template gets: `TEMPLATE_NAMES`. SmolLM3's calls the tools xml_tools."""
        prompt = {"messages": messages, "tools": tools, "xml_tools": tools, "add_generation_prompt": True}
        return {**prompt, **self._variables}

    def _check_time(self) -> str:
        if time.monotonic() > self._deadline:
            raise _OutOfTime(f"it runs for longer than {TIME_LIMIT_S:.0f} seconds")
        return ""

    def _prints_parts_only(self) -> bool:
        """True if the template prints a message's content only where it is a list of parts."""
        return not self._prints(_NEEDLE) and self._prints([{"type": "text", "text": _NEEDLE}])

    def _prints_tools(self) -> bool:
        """True if the template prints the name of a tool."""
        tool = Tool(type="function", function=Function(name=_NEEDLE, description="", parameters=_NO_PARAMETERS))
        content = [{"type": "text", "text": ""}] if self._wants_parts else ""
        return "tools" in self.source and self._prints(content, [tool.model_dump(exclude_none=True)])

    def _prints(self, content: str | list[dict[str, str]], tools: list[dict[str, Any]] | None = None) -> bool:
        try:
            return _NEEDLE in self._render([{"role": "user", "content": content}], tools)
        except HostError as error:
            if isinstance(error.__cause__, _OutOfTime):
                raise
            return False


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with Transformers' extras, and a call of `tick` at each turn of a loop or macro."""

    intercepted_binops = frozenset(["*", "**"])

    def __init__(self, tick: Callable[[], str]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _GenerationBlock],
            loader=DictLoader({}),
        )
        self.filters["tojson"] = _to_json
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now
        self._tick = tick

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        bodies = [loop.body for loop in template.find_all(nodes.For)]
        bodies += [macro.body for macro in template.find_all(nodes.Macro)]
        for body in bodies:
            body.insert(0, _call_of("tick"))
        return template

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Evaluate `*` and `**` where the result is of a sensible size; OverflowError otherwise."""
        sizes = [len(side) if hasattr(side, "__len__") else abs(side) for side in (left, right)]
        texts = any(hasattr(side, "__len__") for side in (left, right))
        if (operator == "**" and max(sizes) > 1000) or (texts and sizes[0] * sizes[1] > _LARGEST_REPEAT):
            raise OverflowError(f"the result of {operator} is too large")
        return super().call_binop(context, operator, left, right)

    @property
    def tick(self) -> Callable[[], str]:
        """What the inserted calls run."""
        return self._tick


class _GenerationBlock(Extension):
    """`{% generation %}` marks what the assistant said, for training; here its body is simply printed."""

    tags = {"generation"}  # noqa: RUF012 - Jinja declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the block's body."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _call_of(attribute: str) -> nodes.Node:
    return nodes.ExprStmt(nodes.Call(nodes.EnvironmentAttribute(attribute), [], [], None, None), lineno=1)


def _plain(message: Message, as_parts: bool, read: bool = True) -> dict[str, Any]:
    """A message as templates know it. They ask whether a key is there, so one without a value is left out.

    With `read` the arguments of calls are objects, as Transformers has them; a few templates (DeepSeek R1's) put them
    together with texts, and want JSON text.
    """
    plain: dict[str, Any] = {"role": message.role, "content": _plain_content(message, as_parts)}
    if message.tool_calls:
        plain["tool_calls"] = [call.model_dump() for call in message.tool_calls]
        for call in plain["tool_calls"] if read else ():
            call["function"]["arguments"] = read_arguments(call["function"]["arguments"])
    if message.reasoning:
        plain["reasoning_content"] = message.reasoning
        if not (message.tool_calls and message.text):  # gpt-oss' template takes text or thinking beside calls
            plain["thinking"] = message.reasoning
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        plain["name"] = message.name
    return plain


def _plain_content(message: Message, as_parts: bool) -> str | list[dict[str, str]]:
    """Text, or parts where the template wants them or the message has a picture."""
    parts = [] if isinstance(message.content, str) else [_part(part) for part in message.content]
    if any(part["type"] == "image" for part in parts):
        return parts
    return [{"type": "text", "text": message.text}] if as_parts else message.text


def _part(part: Part) -> dict[str, str]:
    """A part as templates know it; a picture's data is no business of theirs."""
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "audio" if isinstance(part, AudioPart) else "image"}


def _raise_exception(message: object) -> None:
    raise _Refusal(str(message))


def _strftime_now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _short(reason: object) -> str:
    """What a template says, which may repeat what it was given, in no more than `_LONGEST_REASON` characters."""
    text = str(reason)
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def _refused_variables(error: HostError) -> HostError:
    reason = _short(error.__cause__ or "") or error.message
    text = f"The model's chat template does not take what is in chat_template_kwargs: {reason.rstrip('.')}."
    return HostError(ErrorCode.INVALID_REQUEST, text, fields=[f"chat_template_kwargs: {reason}"])


def _broken(reason: object) -> HostError:
    return HostError(ErrorCode.MODEL_INVALID, f"The model's chat template does not work: {_short(reason).rstrip('.')}.")
