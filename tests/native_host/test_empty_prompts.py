"""A prompt of no tokens, through the real relay: every engine counts it, and none generates from it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import tiny_gguf
from support.host_process import BrowserHost, Port
from support.tiny_genai import make_tiny
from support.tiny_mlx import make_mlx
from support.tiny_t5 import make_t5
from support.tiny_transformersjs import make_transformersjs

MAKERS: dict[str, Callable[[Path], Path]] = {
    "llamacpp": lambda folder: tiny_gguf.write_tiny(folder / "tiny.gguf", add_bos=False),
    "genai": make_tiny,
    "transformersjs": make_transformersjs,
    "encoder-decoder": make_t5,
    "mlx_vlm": make_mlx,
}


@pytest.fixture(scope="module")
def port() -> Iterator[Port]:
    with BrowserHost() as host, host.port() as opened:
        yield opened


@pytest.mark.parametrize("kind", MAKERS)
def test_an_empty_prompt_counts_nothing_and_is_refused_by_its_name(port: Port, tmp_path: Path, kind: str) -> None:
    model = port.call("load", model=str(MAKERS[kind](tmp_path)), timeout=60)["model"]["model"]
    counted = port.call("count_tokens", model=model, prompt="")
    assert (counted["status"], counted.get("tokens")) == ("success", 0), counted
    answer = port.call("generate", model=model, prompt="")
    assert answer["error"] == {"code": "invalid_request", "details": {"fields": ["prompt: must not be empty"]}}
    assert port.call("generate", model=model, prompt="a", settings={"max_tokens": 1})["status"] == "success"
    port.call("unload", model=model)
