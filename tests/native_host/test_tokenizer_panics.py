"""Folders whose tokenizer gives up on some texts, through the real relay: one clear error, and the model goes on."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.host_process import BrowserHost, Json, Port
from support.tiny_embedder import make_embedder
from support.tiny_mlx import data_url, make_mlx, picture
from support.tiny_t5 import make_t5
from support.tiny_transformersjs import make_transformersjs

GOOD, BAD = "aaaa", "a" * 60 + "!"
LONG = "a" * 1_000_000 + "!"


@pytest.fixture(scope="module")
def port() -> Iterator[Port]:
    with BrowserHost() as host, host.port() as opened:
        yield opened


def make_exponential(folder: Path) -> Path:
    """Have the tokenizer cut by an expression that takes twice the time for each letter more."""
    file = folder / "tokenizer.json"
    description = json.loads(file.read_text())
    cut = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    steps = [step for step in (cut, description.get("pre_tokenizer")) if step is not None]
    file.write_text(json.dumps({**description, "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}))
    return folder


def fields(action: str, text: str) -> Json:
    """A request about a text."""
    seen = {"type": "image_url", "image_url": {"url": data_url(picture())}}
    few = {"max_tokens": 2}
    asked: dict[str, Json] = {
        "generate": {"messages": [{"role": "user", "content": text}], "settings": few},
        "look": {"messages": [{"role": "user", "content": [seen, {"type": "text", "text": text}]}], "settings": few},
        "count_tokens": {"prompt": text},
        "embed": {"input": [GOOD, text]},
    }
    return asked[action]


MAKE: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "a decoder": (lambda folder: make_transformersjs(folder, dtypes=("fp32",)), ("generate", "count_tokens")),
    "an encoder-decoder": (make_t5, ("generate", "count_tokens")),
    "an embedder": (make_embedder, ("embed", "count_tokens")),
    "mlx": (make_mlx, ("generate", "look", "count_tokens")),
}


@pytest.mark.parametrize("kind", MAKE)
def test_a_tokenizer_that_gives_up_on_a_text_is_one_clear_error_and_reads_the_next(
    port: Port, tmp_path: Path, kind: str
) -> None:
    make, actions = MAKE[kind]
    make(tmp_path / "model")
    model = str(make_exponential(tmp_path / "model"))
    assert port.call("load", model=model)["status"] == "success"
    for asked in actions:
        action = "generate" if asked == "look" else asked
        refused = port.call(action, model=model, **fields(asked, BAD))
        assert refused["error"]["code"] == "model_invalid", refused
        assert refused["error"]["details"]["model_path"] == model
        assert refused["message"].startswith(f"tokenizer.json of {model} gives up on this text (Onig: ")
        too_long = port.call("count_tokens", model=model, **fields("count_tokens", LONG))
        assert too_long["error"]["code"] == "invalid_request"
        assert "A text of 1000001 characters is too long for the model's tokenizer" in too_long["message"]
        answered = port.call(action, model=model, **fields(asked, GOOD))
        assert answered["status"] == "success", answered
    port.call("unload", all=True)
