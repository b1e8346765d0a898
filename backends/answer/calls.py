"""What stands between the marks of a tool call, read into names and arguments: one function for each way to write it.

Above it: `backends.answer.dialects`, whose rows name these functions. Each raises ValueError for what is no call.
"""

import ast
import json
import re
from dataclasses import dataclass
from typing import Any

from messages.content import read_arguments

_NAMES = ("name", "tool_name")
_ARGUMENTS = ("arguments", "parameters", "args")

_MISTRAL_CALL = re.compile(r"\s*([\w.-]+)\s*(?:\[CALL_ID\][\w-]*)?(?:\[ARGS\])?\s*(?=\{)")
_DEEPSEEK_CALL = re.compile(
    r"<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>(?P<typed>[^\n]+)\n```json\n(?P<fenced>.*?)\n?```"
    r"|(?P<name>[^<]+?)<｜tool▁sep｜>(?P<plain>.*?))\s*<｜tool▁call▁end｜>",
    re.DOTALL,
)
_CHANNEL_CALL = re.compile(r"functions\.([\w.-]+).*?<\|message\|>(.*)", re.DOTALL)
_FUNCTION_CALL = re.compile(r"\s*([\w.-]+)>\s*(\{.*\})\s*", re.DOTALL)
_XML_CALL = re.compile(r"\s*<function=([^>\n]+)>(.*?)(?:</function>)?\s*", re.DOTALL)
_XML_PARAMETER = re.compile(r"\s*<parameter=([^>\n]+)>\n?(.*?)\n?(?:</parameter>|(?=<parameter=))", re.DOTALL)
_PARAM_CALL = re.compile(r'\s*"([^">\n]+)">(.*)', re.DOTALL)
_PARAM = re.compile(r'\s*<param name="([^">\n]+)">(?:<!\[CDATA\[(.*?)\]\]>|(.*?))</param>\s*', re.DOTALL)
_KIMI_CALL = re.compile(
    r"<\|tool_call_begin\|>\s*(?:functions\.)?([\w.-]+?)(?::\d+)?\s*<\|tool_call_argument_begin\|>(.*?)<\|tool_call_end\|>",
    re.DOTALL,
)
_GEMMA_CALL = re.compile(r"call:([\w.-]+)(?=\{)")
_GEMMA_KEY = re.compile(r"(?<=[{,])\s*([\w.-]+)\s*:")
_GEMMA_QUOTE = '<|"|>'
_GLM_NAME = re.compile(r"\s*([\w.-]+)\s*")
_GLM_ARGUMENT = re.compile(r"\s*<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Call:
    """A function's name and its arguments, which are all texts where the form does not tell types."""

    name: str
    arguments: dict[str, Any]
    untyped: bool = False


def typed_arguments(call: Call, schema: dict[str, Any]) -> dict[str, Any]:
    """A call's arguments; those of no type are strings where the schema says so, else JSON if they can be."""
    if not call.untyped:
        return call.arguments
    properties = schema.get("properties", {})
    return {name: _typed(text, properties.get(name)) for name, text in call.arguments.items()}


def require_some(calls: list[Call]) -> list[Call]:
    """The calls; ValueError if there are none."""
    if not calls:
        raise ValueError("there is no call")
    return calls


def read_json_calls(body: str) -> list[Call]:
    """One call as JSON, an array of them, or several one after another (Llama puts a semicolon between them)."""
    return [call for value in _json_values(body) for call in _calls_of(value)]


def read_mistral_calls(body: str) -> list[Call]:
    """`[{"name": ..., "arguments": {...}}]`, or `name[ARGS]{...}` once or more."""
    if body.lstrip().startswith("["):
        return read_json_calls(body)
    calls: list[Call] = []
    place = 0
    while body[place:].strip():
        head = _MISTRAL_CALL.match(body, place)
        if head is None:
            raise ValueError("there is no name before the arguments")
        arguments, place = _decode(body, head.end())
        calls.append(_call(head[1], arguments))
    return calls


def read_deepseek_calls(body: str) -> list[Call]:
    """Calls in DeepSeek's marks: `function`, name and fenced JSON in V3 and R1, name and JSON in V3.1."""
    calls = [
        _call((found["typed"] or found["name"]).strip(), found["fenced"] or found["plain"] or "")
        for found in _DEEPSEEK_CALL.finditer(body)
    ]
    if not calls or _DEEPSEEK_CALL.sub("", body).strip():
        raise ValueError("there is something else between the calls")
    return calls


def read_channel_call(body: str) -> list[Call]:
    """`functions.NAME <|constrain|>json<|message|>{...}`."""
    found = _CHANNEL_CALL.fullmatch(body)
    if found is None:
        raise ValueError("there is no function's name")
    return [_call(found[1], found[2])]


def read_function_call(body: str) -> list[Call]:
    """`NAME>{...}`, behind `<function=`."""
    found = _FUNCTION_CALL.fullmatch(body)
    if found is None:
        raise ValueError("there is no JSON behind the name")
    return [_call(found[1], found[2])]


def read_xml_call(body: str) -> list[Call]:
    """`<function=NAME>` with `<parameter=NAME>` elements, whose values have no type."""
    found = _XML_CALL.fullmatch(body)
    if found is None:
        raise ValueError("there is no function element")
    return [Call(found[1].strip(), _elements(_XML_PARAMETER, found[2]), untyped=True)]


def read_glm_call(body: str) -> list[Call]:
    """NAME, then pairs of `<arg_key>` and `<arg_value>`, whose values have no type."""
    name = _GLM_NAME.match(body)
    if name is None:
        raise ValueError("there is no name")
    return [Call(name[1], _elements(_GLM_ARGUMENT, body[name.end() :]), untyped=True)]


def read_param_call(body: str) -> list[Call]:
    """`"NAME">` and `<param name="NAME">` elements, behind `<function name=`; their values have no type."""
    found = _PARAM_CALL.fullmatch(body)
    if found is None or _PARAM.sub("", found[2]).strip():
        raise ValueError("there is something else between the arguments")
    arguments = {one[1]: one[3] if one[2] is None else one[2] for one in _PARAM.finditer(found[2])}
    return [Call(found[1], arguments, untyped=True)]


def read_kimi_calls(body: str) -> list[Call]:
    """Calls in Kimi's marks: `functions.NAME:INDEX`, then JSON."""
    if _KIMI_CALL.sub("", body).strip():
        raise ValueError("there is something else between the calls")
    return [_call(found[1], found[2]) for found in _KIMI_CALL.finditer(body)]


def read_gemma_calls(body: str) -> list[Call]:
    """`call:NAME{key:<|"|>text<|"|>,key:5}` once or more: JSON whose keys have no quotes, and texts their own."""
    calls: list[Call] = []
    body = body.strip()
    while body:
        head = _GEMMA_CALL.match(body)
        if head is None:
            raise ValueError("there is no name before the arguments")
        parts = body[head.end() :].split(_GEMMA_QUOTE)
        parts[::2] = [_GEMMA_KEY.sub(r'"\1":', part) for part in parts[::2]]
        parts[1::2] = map(json.dumps, parts[1::2])
        text = "".join(parts)
        arguments, end = _decode(text, 0)
        calls.append(_call(head[1], arguments))
        body = text[end:].strip()
    return calls


def read_python_calls(body: str) -> list[Call]:
    """`[name(key="value", ...), ...]`, in Python's own syntax, with literals as values."""
    try:
        tree = ast.parse(body.strip(), mode="eval").body
        parts = tree.elts if isinstance(tree, ast.List | ast.Tuple) else [tree]
        return [_python_call(part) for part in parts]
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("it is no list of calls") from error


def _python_call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call) or node.args or any(keyword.arg is None for keyword in node.keywords):
        raise ValueError("it is no call with named arguments")
    arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    return _call(ast.unparse(node.func), json.dumps(arguments))


def _json_values(body: str) -> list[Any]:
    values, place = [], 0
    while place < len(body):
        value, place = _decode(body, place)
        values.append(value)
        while place < len(body) and (body[place].isspace() or body[place] in ";,"):
            place += 1
    return values


def _decode(body: str, place: int) -> tuple[Any, int]:
    """The JSON value at a place, white space before it skipped, and the place behind it."""
    while place < len(body) and body[place].isspace():
        place += 1
    try:
        return json.JSONDecoder(parse_constant=_refuse_constant).raw_decode(body, place)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _calls_of(value: Any) -> list[Call]:
    if isinstance(value, list):
        return [call for one in value for call in _calls_of(one)]
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    name = next((value[key] for key in _NAMES if key in value), None)
    arguments: Any = next((value[key] for key in _ARGUMENTS if key in value), {})
    return [_call(name, arguments)]


def _call(name: Any, arguments: Any) -> Call:
    if not isinstance(name, str) or not name or len(name) > 256:
        raise ValueError("there is no name")
    if isinstance(arguments, str):
        arguments = read_arguments(arguments)
    if not isinstance(arguments, dict):
        raise ValueError("its arguments are no object")
    return Call(name, arguments)


def _elements(pattern: re.Pattern[str], body: str) -> dict[str, str]:
    """Names and values of elements, which must be all there is."""
    if pattern.sub("", body).strip():
        raise ValueError("there is something else between the arguments")
    return {found[1].strip(): found[2] for found in pattern.finditer(body)}


def _typed(text: str, schema: Any) -> Any:
    if isinstance(schema, dict) and schema.get("type") == "string":
        return text
    try:
        value, end = _decode(text, 0)
    except ValueError:
        return text
    return value if not text[end:].strip() else text
