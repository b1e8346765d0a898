"""How much a model is to think, in OpenAI's words, as variables of its chat template.

Above it: `native_host.http.openai_requests`. Templates call the switch `enable_thinking` (Qwen, GLM, Gemma) or
`thinking` (DeepSeek, Kimi, Granite), and the degree `reasoning_effort` (gpt-oss); names that one does not use change
nothing.

Source: llama.cpp's server (pull request 26941) and vLLM (43401) for `enable_thinking`, so that a program finds the same
here; `thinking` is ours beside it.
"""

from typing import Any, Literal, get_args

from messages.frames import JsonObject
from native_host.http.openai_parameters import invalid, unsupported

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

_SUMMARIES = ("auto", "concise", "detailed")

_UNCHANGED = {"summary": _SUMMARIES, "generate_summary": _SUMMARIES, "context": ("auto",), "mode": ("standard",)}
"""What else `reasoning` of a response may hold: the values that leave everything as it is. There are no summaries:
the reasoning itself comes."""


def template_variables(effort: Effort | None, given: JsonObject | None) -> JsonObject | None:
    """The wire's chat_template_kwargs; those that the caller gives win over what an effort means."""
    if effort is None:
        return given
    thinks = effort != "none"
    switches: JsonObject = {"enable_thinking": thinks, "thinking": thinks}
    return {**switches, **({"reasoning_effort": effort} if thinks else {}), **(given or {})}


def effort_of(reasoning: dict[str, Any] | None) -> Effort | None:
    """The effort of a response's `reasoning`. HostError for what is not had of it, by its name."""
    given = {name: value for name, value in (reasoning or {}).items() if value is not None}
    effort: Effort | None = given.pop("effort", None)
    for name, value in given.items():
        if name not in _UNCHANGED:
            raise invalid(f"reasoning.{name[:100]}", "is not a known field")
        if value not in _UNCHANGED[name]:
            raise unsupported(f"reasoning.{name}", _UNCHANGED[name])
    if effort is not None and effort not in get_args(Effort):
        raise invalid("reasoning.effort", f"must be one of {', '.join(get_args(Effort))}")
    return effort
