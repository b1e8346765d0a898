"""The extension's chat page, used as a person would."""

from __future__ import annotations

import json

from support.browsers.page import Page
from support.browsers.registration import HOST_NAME

READY_S = 60.0


def wait_until_ready(page: Page) -> None:
    """Wait until a question may be sent, or fail with the problem that the page shows."""
    page.wait_for("!document.querySelector('#send').disabled || !document.querySelector('#problem').hidden", READY_S)
    assert shown(page, "#problem") == ""


def shown(page: Page, selector: str) -> str:
    """The text of the last element that matches, as far as a person sees it."""
    last = f"[...document.querySelectorAll({json.dumps(selector)})].at(-1)"
    return str(page.evaluate(f"{last}?.checkVisibility() ? {last}.innerText : ''"))


def ask(page: Page, text: str) -> None:
    """Type a question and send it with Enter."""
    page.click("#input")
    page.type_text(text)
    page.press("Enter")


def wait_for_end(page: Page) -> None:
    """Wait until no answer is on its way."""
    page.wait_for("document.querySelector('#stop').hidden", READY_S)


def choose_echo(page: Page, name: str, **options: object) -> None:
    """Load an ECHO model with options under a name, and choose it in the page."""
    tell_host(page, action="unload", model=name)
    tell_host(page, action="load", model=name, backend="echo", options=options)
    choose(page, name)


def choose(page: Page, name: str) -> None:
    """Choose a model in the page, by its name or path."""
    model = "document.querySelector('#model')"
    option, short = json.dumps(name), name.rpartition("/")[2]
    page.evaluate(f"{model}.add(new Option({option}, {option})), {model}.value = {option}")
    page.evaluate(f"{model}.dispatchEvent(new Event('change')), null")
    page.wait_for(f"document.querySelector('#model-name').textContent.includes({json.dumps(short)} + ' (')")


def tell_host(page: Page, **message: object) -> None:
    """Send one message past the page's own connection."""
    runtime = "(globalThis.browser ?? chrome).runtime"
    page.evaluate(f"{runtime}.sendNativeMessage({HOST_NAME!r}, {json.dumps(message)})")
