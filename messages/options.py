"""How a model is to be loaded, and how its output is to be constrained."""

from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_DEPTH = 100
"""Levels that a JSON value inside a request may be nested: every hop's parser and writer takes that many."""


def _refuse_unwritable(value: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _children(outer)]
        if not all(_is_of_a_double(inner) for inner in level):
            raise ValueError("must have no number beyond those of a double")
        if not level:
            return value
    raise ValueError(f"must not be nested deeper than {MAX_DEPTH} levels")


def _is_of_a_double(value: Any) -> bool:
    """False of a number that no double holds; an integer of hundreds of digits is one as well."""
    try:
        return not isinstance(value, int | float) or isfinite(value)
    except OverflowError:
        return False


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


JsonSchema = Annotated[dict[str, Any], AfterValidator(_refuse_unwritable)]
"""A JSON schema, or an object that holds one."""


def _refuse_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must have no NUL character")
    return value


FilePath = Annotated[str, Field(min_length=1), AfterValidator(_refuse_nul)]
"""A path that a system can be asked for."""

Dtype = Literal["auto", "fp32", "fp16", "q4", "q4f16", "int8", "uint8", "q8", "quantized", "bnb4"]
"""Which of a folder's weights files to load, in the words of Transformers.js; q8 and quantized are one."""

DTYPE_SPELLINGS: Mapping[str, str] = {"quantized": "q8"}
"""Second names of a dtype."""


SHORTEST_CONTEXT = 8
"""The least that a context may be asked for, in tokens."""

ContextLength = Annotated[int, Field(ge=SHORTEST_CONTEXT, le=2**24)]
"""Tokens of context."""

GpuLayers = Annotated[int, Field(ge=-1, le=10_000)]
"""Layers of a model that are to run on the GPU; -1 is all."""

Threads = Annotated[int, Field(ge=1, le=1024)]
"""Threads of an engine."""

DeviceName = Annotated[str, Field(min_length=1, max_length=100)]
"""A device, as its engine calls it."""


class LoadOptions(BaseModel):
    """The `options` of a `load`; what is left out is the backend's own choice.

    context_length is in tokens, threads in threads, keep_alive_s in seconds without use after which the model is
    unloaded (0: after each use). dtype chooses among the weights files of a Transformers.js folder; fast_path lets
    such a folder run in a faster engine, where that gives the same tokens. tokens_per_second, prefill_ms, pictures
    (take pictures, and tell their sizes) and fault belong to the ECHO backend.
    An option that a backend cannot honour is refused with `unsupported_option`, never ignored.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    context_length: ContextLength | None = None
    gpu_layers: GpuLayers | None = None
    threads: Threads | None = None
    device: DeviceName | None = None
    parallel: Annotated[int, Field(ge=1, le=64)] | None = None
    projector_path: FilePath | None = None
    draft_model: FilePath | None = None
    lora: FilePath | None = None
    dtype: Dtype | None = None
    fast_path: bool | None = None
    keep_alive_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    tokens_per_second: Annotated[float, Field(ge=0.0001, le=1_000_000, allow_inf_nan=False)] | None = None
    prefill_ms: Annotated[float, Field(ge=0, le=3_600_000, allow_inf_nan=False)] | None = None
    pictures: bool | None = None
    fault: str | None = None

    def over(self, others: "LoadOptions") -> "LoadOptions":
        """These options, and those of `others` that are not set here."""
        return others.model_copy(update=self.model_dump(exclude_none=True))

    def without(self, names: Collection[str]) -> "LoadOptions":
        """These options, of which some are left out."""
        return self.model_copy(update=dict.fromkeys(names))

    def named(self) -> set[str]:
        """The names of the options that were set."""
        return set(self.model_dump(exclude_none=True))

    def wanted(self) -> set[str]:
        """The names of the options that ask for something: those that say what holds without them do not."""
        return {name for name in self.named() if getattr(self, name) != LEFT_OUT.get(name)}


LEFT_OUT: Mapping[str, str | int | bool] = {
    "device": "auto",
    "dtype": "auto",
    "parallel": 1,
    "fast_path": False,
    "pictures": False,
}
"""What is in force of options that a load leaves out, beside what the engine chooses: saying so asks for nothing."""


def options_in(fields: Sequence[str]) -> list[str]:
    """The options that the `fields` of an error name, such as `options.threads: must be <= 1024`."""
    names = [field.partition(":")[0] for field in fields]
    return [name.removeprefix("options.") for name in names if name.startswith("options.")]


class TextFormat(BaseModel):
    """Free text."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
    type: Literal["text"]


class JsonObjectFormat(BaseModel):
    """Any JSON object."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
    type: Literal["json_object"]

    @property
    def schema_object(self) -> dict[str, Any]:
        """The JSON schema of any object."""
        return {"type": "object"}


class JsonSchemaFormat(BaseModel):
    """JSON that a schema accepts; `json_schema` is the schema itself or OpenAI's `{"name", "schema", "strict"}`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
    type: Literal["json_schema"]
    json_schema: JsonSchema

    @property
    def schema_object(self) -> dict[str, Any]:
        """The JSON schema, out of OpenAI's wrapper if it came in one."""
        inner = self.json_schema.get("schema")
        return inner if isinstance(inner, dict) else self.json_schema


class GrammarFormat(BaseModel):
    """Text that a grammar accepts, in GBNF (llama.cpp)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
    type: Literal["grammar"]
    grammar: Annotated[str, Field(min_length=1)]


class RegexFormat(BaseModel):
    """Text that a regular expression matches whole."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
    type: Literal["regex"]
    regex: Annotated[str, Field(min_length=1)]


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat | GrammarFormat | RegexFormat,
    Field(discriminator="type"),
]
