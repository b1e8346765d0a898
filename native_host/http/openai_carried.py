"""Reasoning that a program carries from one response to the next as `encrypted_content`, which it cannot read.

Above it: `native_host.http.openai_response_items`, which gives it out, and `native_host.http.openai_tools`, which takes
it back. Programs that store nothing ask for it (`include: ["reasoning.encrypted_content"]`), and of a reasoning item
some send nothing else back. There is no secret in it, as the same text stands beside it: it is coded, so that it is
told apart from what another server has encrypted.
"""

import base64

_MARK = "tabagent:"


def carried(reasoning: str) -> str:
    """The `encrypted_content` of reasoning."""
    return _MARK + base64.b64encode(reasoning.encode()).decode("ascii")


def carried_back(content: object) -> str | None:
    """The reasoning in an `encrypted_content`; None for another server's, which says nothing here."""
    if not isinstance(content, str) or not content.startswith(_MARK):
        return None
    try:
        return base64.b64decode(content.removeprefix(_MARK), validate=True).decode()
    except ValueError:  # no base64, no ASCII even, or no UTF-8
        return None
