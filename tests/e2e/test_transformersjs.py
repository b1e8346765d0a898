"""A Transformers.js folder in a real browser: loaded by its path, streamed to the page, the same text on both paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.browsers.page import Page

from backends import demo

FOLDER = Path(str(demo.__file__)).parent / "transformersjs"
QUESTION = {"messages": [{"role": "user", "content": "how do i install it"}], "settings": {"temperature": 0}}


def _load(page: Page, client: Any, **options: Any) -> dict[str, Any]:
    request = {"model": str(FOLDER), "options": {"threads": 1, **options}}
    reply = page.call("request", client, "load", request)
    state: dict[str, Any] = reply["result"]["model"]
    return state


@pytest.mark.parametrize("fast", [False, True], ids=["plain path", "fast path"])
def test_a_page_loads_a_transformersjs_folder_and_streams_its_answer(page: Page, fast: bool) -> None:
    client = page.call("connect")
    state = _load(page, client, fast_path=fast)
    assert (state["backend"], state["backend_type"], state["dtype"]) == ("onnx", "ONNX_CPU", "q4")
    assert [note.startswith("The fast path is used") for note in state["notes"]] == [True] * fast
    page.call("begin", client, {**QUESTION, "model": state["model"]})
    end = page.call("finished", client)
    assert end["text"] == end["result"]["text"]
    assert end["text"].startswith("Clone the repository and run: python3 install.py.")
    page.call("request", client, "unload", {"model": state["model"]})
