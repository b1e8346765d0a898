"""An encoder-decoder through a whole host: streamed, stopped in the middle, and refused where its folder is bad."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.full_recompute import FullRecompute
from support.host_process import BrowserHost, Port
from support.tiny_t5 import make_t5

GREEDY = {"temperature": 0.0, "max_tokens": 24}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with room for long answers."""
    return make_t5(tmp_path_factory.mktemp("models") / "t5", context=4096)


@pytest.fixture(scope="module")
def port() -> Iterator[Port]:
    with BrowserHost() as host, host.port() as opened:
        yield opened


@pytest.fixture
def model(port: Port, folder: Path) -> str:
    """The loaded model's name."""
    state = port.call("load", model=str(folder))["model"]
    assert (state["backend_type"], state["dtype"], state["context_length"]) == ("ONNX_CPU", "fp32", 4096)
    name: str = state["model"]
    return name


def test_a_stream_is_the_text_and_messages_are_joined_by_line_breaks(port: Port, model: str, folder: Path) -> None:
    messages = [{"role": "system", "content": "summarize:"}, {"role": "user", "content": "A story."}]
    request = port.ask("generate", model=model, messages=messages, settings=GREEDY)
    result = port.result(request)
    assert result["text"] == FullRecompute(folder).text("summarize:\nA story.")
    assert "".join(part["text"] for part in port.of(request, "partial")) == result["text"]
    tokens = port.call("count_tokens", model=model, messages=messages)["tokens"]
    assert (
        result["stats"]["input_tokens"]
        == tokens
        == port.call("count_tokens", model=model, prompt="summarize:\nA story.")["tokens"]
    )


def test_a_stop_in_mid_answer_leaves_the_next_answer_right(port: Port, model: str, folder: Path) -> None:
    settings = {"temperature": 0.0, "max_tokens": 4000}
    request = port.ask("generate", model=model, prompt="Hello", settings=settings)
    port.wait(lambda message: message.get("id") == request and message["type"] == "partial")
    port.call("stop_generation", model=model)
    assert port.result(request)["finish_reason"] == "cancelled"
    answer = port.call("generate", model=model, prompt="Hello", settings=GREEDY, stream=False)
    assert answer["text"] == FullRecompute(folder).text("Hello")


def test_a_bad_folder_is_one_error_and_the_next_load_goes_well(port: Port, tmp_path: Path) -> None:
    folder = make_t5(tmp_path / "bad")
    (folder / "onnx" / "decoder_model_merged.onnx").unlink()
    answer = port.call("load", model=str(folder))
    assert (answer["status"], answer["error"]["code"]) == ("error", "model_invalid")
    assert "decoder_model.onnx is missing" in answer["message"]
    assert port.call("load", model=str(make_t5(tmp_path / "good")))["status"] == "success"
