"""What the end-to-end tests ask of the host's ECHO model, as they would write it in an extension."""

from __future__ import annotations

from typing import Any

from support.browsers.page import Page

Json = dict[str, Any]
ECHO = "echo"


def one_shot(page: Page, action: str, **fields: object) -> Json:
    """Send one message over sendNativeMessage and return the reply."""
    outcome: Json = page.call("oneShot", {"action": action, **fields})
    assert "reply" in outcome, outcome
    reply: Json = outcome["reply"]
    return reply


def load_echo(page: Page, **options: float) -> Json:
    """Load the ECHO model with these options, which hold from now on."""
    one_shot(page, "unload", all=True)
    reply = one_shot(page, "load", model=ECHO, backend="echo", options=options)
    assert reply["status"] == "success", reply
    model: Json = reply["model"]
    return model


def saying(text: str, **fields: object) -> Json:
    """The fields of a ``generate`` that has ``text`` echoed."""
    return {"model": ECHO, "messages": [{"role": "user", "content": text}], **fields}


def words(count: int) -> str:
    """A text of ``count`` different words, each of which is a token of the ECHO model."""
    return " ".join(f"word{number}" for number in range(count))
