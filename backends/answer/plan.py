"""What is to be done with one generation: what the engine is asked, and how its raw text is read.

Above it: `backends.worker`. Below it: `backends.answer.dialects` and `backends.answer.reader`. It stands between the
worker and every engine alike, so that none of them knows of reasoning or tools. Where nothing is to be told apart there
is no reader, and tokens go their way as they are.
"""

from dataclasses import dataclass, replace

from backends.answer.dialects import CallForm, Dialect, ReasoningForm, find_dialect
from backends.answer.forced import forced_call
from backends.answer.reader import AnswerReader
from backends.base import ForcedCall, GenerationRequest, ModelInfo, ReasoningFrame
from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.options import JsonObjectFormat, JsonSchemaFormat, ResponseFormat
from messages.tools import NamedTool
from messages.worker import GenerateCommand


@dataclass(frozen=True, slots=True)
class Plan:
    """What the engine is asked, and who reads its text; None: its text is the answer."""

    request: GenerationRequest
    reader: AnswerReader | None


class Planner:
    """Plans the generations of one model."""

    def __init__(self, info: ModelInfo, response_formats: frozenset[str]) -> None:
        self._template = info.template
        self._dialect: Dialect | None = None
        self._can_force = "json_schema" in response_formats
        if info.template is not None:
            self._dialect = find_dialect(info.template.source, info.template.takes_tools, info.markers)

    def plan(self, command: GenerateCommand) -> Plan:
        """Plan one generation.

        Raises HostError `unsupported_option` for tools that the model's template does not tell it of, for a call that
        cannot be forced, and for tools with a response_format that is not of JSON; what the template raises for the
        messages.
        """
        prompt, request, dialect = command.prompt, _request(command), self._dialect
        if prompt.tools:
            _refuse_tools(dialect, request.response_format)
        if dialect is None or prompt.messages is None:
            return Plan(request, None)
        form = dialect.calls if prompt.tools else None
        if dialect.reasoning is None and form is None:
            return Plan(request, None)
        if form is not None and _must_call(command):
            request = replace(request, response_format=None)
        forced = self._forced(command, form, request.response_format is not None)
        thinking = dialect.reasoning
        end = self._end_of(prompt) if thinking else ""
        in_reasoning = thinking is not None and end.endswith(thinking.start)
        has_reasoned = thinking is not None and end.endswith(thinking.end)
        is_constrained = request.response_format is not None or bool(forced)
        request = replace(
            request,
            forced_calls=forced,
            reasoning=_frame(thinking, in_reasoning) if is_constrained and not has_reasoned else None,
            markers=dialect.markers(with_calls=form is not None),
        )
        schemas = {tool.function.name: tool.function.schema_object for tool in prompt.tools}
        return Plan(request, AnswerReader(dialect, schemas, in_reasoning, None if command.parallel_tool_calls else 1))

    def _end_of(self, prompt: PromptInput) -> str:
        """How a conversation's prompt ends: a template may begin the reasoning there, or end it where it wants none."""
        assert self._template is not None
        texts = [message.model_copy(update={"content": message.text}) for message in prompt.messages or ()]
        return self._template.render(texts, prompt.tools, prompt.variables).rstrip()

    def _forced(self, command: GenerateCommand, form: CallForm | None, has_format: bool) -> tuple[ForcedCall, ...]:
        """The calls of which the answer must be one, unless it is of the format; none where it may be anything."""
        if form is None or not (has_format or _must_call(command)):
            return ()
        if form.forced is None or not self._can_force:
            what, field = ("response_format", "response_format") if has_format else ("tool_choice", "tool_choice")
            text = f"This model's calls cannot be held to a form; leave {what} out, or load another model."
            raise HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=[field])
        choice = command.tool_choice
        name = choice.function.name if isinstance(choice, NamedTool) else None
        return tuple(forced_call(form, tool) for tool in command.prompt.tools if name in (None, tool.function.name))


def _request(command: GenerateCommand) -> GenerationRequest:
    wanted = command.response_format
    wanted = None if wanted is None or wanted.type == "text" else wanted
    return GenerationRequest(command.prompt, command.settings, wanted, command.top_logprobs)


def _must_call(command: GenerateCommand) -> bool:
    return command.tool_choice not in (None, "auto", "none")


def _refuse_tools(dialect: Dialect | None, wanted: ResponseFormat | None) -> None:
    if dialect is None or dialect.calls is None:
        text = "This model's chat template knows no tools; leave tools out, or load a model that calls functions."
        raise HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=["tools"])
    if not isinstance(wanted, JsonObjectFormat | JsonSchemaFormat | None):
        text = 'Beside tools a response_format must be of JSON; leave one out, or send tool_choice "none".'
        raise HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=["response_format"])


def _frame(form: ReasoningForm | None, in_reasoning: bool) -> ReasoningFrame | None:
    return None if form is None else ReasoningFrame(None if in_reasoning else form.start, form.end)
