"""The variables that a request gives to the model's chat template: `chat_template_kwargs`, as Hugging Face calls them.

Above it: `messages.requests`, and `native_host.http`. `backends.chat_template` renders with them.
"""

from typing import Annotated, Any

from pydantic import AfterValidator

from messages.options import JsonSchema

MAX_VARIABLES = 64
"""Most variables that one request gives, those of an effort aside: they may have come as one word, uncounted."""

EFFORT_NAMES = frozenset(("enable_thinking", "thinking", "reasoning_effort"))
"""What templates call how much a model is to think."""

MAX_NAME_CHARACTERS = 64

TEMPLATE_NAMES = frozenset(
    ("messages", "tools", "xml_tools", "documents", "add_generation_prompt", "bos_token", "eos_token")
)
"""What the host itself gives to every template."""

TEMPLATE_FUNCTIONS = frozenset(
    ("raise_exception", "strftime_now", "range", "dict", "lipsum", "cycler", "joiner", "namespace")
)
"""What a template may call by its name: the host's functions, and Jinja's own (3.1)."""


def _refuse_names(variables: dict[str, Any]) -> dict[str, Any]:
    if len(variables.keys() - EFFORT_NAMES) > MAX_VARIABLES:
        raise ValueError(f"must have at most {MAX_VARIABLES} item(s)")
    for name in variables:
        if len(name) > MAX_NAME_CHARACTERS or not (name.isascii() and name.isidentifier()):
            text = f"names must be letters, digits and '_', no digit first, at most {MAX_NAME_CHARACTERS} characters"
            raise ValueError(f"{text}, and {name[:MAX_NAME_CHARACTERS]!r} is not")
        if name in TEMPLATE_NAMES | TEMPLATE_FUNCTIONS:
            raise ValueError(f"{name} is what the host itself gives to every chat template; leave it out")
    return variables


TemplateVariables = Annotated[JsonSchema, AfterValidator(_refuse_names)]
"""JSON values by their names, for the chat template; one that it does not use changes nothing."""
