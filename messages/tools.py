"""The functions that a model may call, and whether it must. The calls themselves are in `messages.content`.

Above it: `messages.requests`. The shapes are those of OpenAI's chat completions.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from messages.options import JsonSchema

MAX_TOOLS = 128
"""Most tools that one request offers; as many as OpenAI's API."""

MAX_NAME_CHARACTERS = 64


def _refuse_name(value: str) -> str:
    """A pattern would be answered in the words that validation has for data URLs."""
    if not value.isascii() or not value.replace("_", "").replace("-", "").replace(".", "").isalnum():
        raise ValueError("must be letters, digits, '_', '-' and '.' only")
    return value


ToolName = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS), AfterValidator(_refuse_name)]


def _refuse_parameters(schema: dict[str, Any]) -> dict[str, Any]:
    """Check what every reader of a tool counts on; the rest of the schema is the model's to read."""
    if schema and schema.get("type", "object") != "object":
        raise ValueError('must be a JSON schema of type "object"')
    properties = schema.get("properties", {})
    if not isinstance(properties, dict) or not all(isinstance(value, dict | bool) for value in properties.values()):
        raise ValueError("properties must be an object of JSON schemas")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise ValueError("required must be an array of strings")
    return schema


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class Function(_Closed):
    """A function: its name, what it is for, and a JSON schema of its arguments."""

    name: ToolName
    description: str | None = None
    parameters: Annotated[JsonSchema, AfterValidator(_refuse_parameters)] | None = None
    strict: bool | None = None

    @property
    def schema_object(self) -> dict[str, Any]:
        """The JSON schema of its arguments; without one it takes none, and no others than those with a name."""
        schema = {"type": "object", **(self.parameters or {"properties": {}})}
        return {"additionalProperties": False, **schema} if "properties" in schema else schema


class Tool(_Closed):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: Function


class NamedFunction(_Closed):
    """A function's name."""

    name: str


class NamedTool(_Closed):
    """The tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


def _choice_kind(value: Any) -> str:
    return "named" if isinstance(value, dict | NamedTool) else "word"


ToolChoice = Annotated[
    Annotated[Literal["auto", "none", "required"], Tag("word")] | Annotated[NamedTool, Tag("named")],
    Discriminator(_choice_kind),
]
"""Whether the model may call (auto), must not (none), must (required), and which one."""


def refuse_tools(tools: Sequence[Tool], choice: ToolChoice | None) -> None:
    """Raise ValueError where tools and the choice among them do not go together."""
    names = [tool.function.name for tool in tools]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise ValueError(f"tools: two of them have the same name, {name!r}")
    if not tools and choice not in (None, "auto", "none"):
        raise ValueError("tool_choice: there are no tools to choose from")
    if isinstance(choice, NamedTool) and choice.function.name not in names:
        raise ValueError(f"tool_choice: there is no tool {choice.function.name[:MAX_NAME_CHARACTERS]!r}")
