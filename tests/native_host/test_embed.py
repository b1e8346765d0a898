"""embed through a whole host: vectors arrive in order whatever their number, and who cannot make any says so."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.browsers.waiting import wait_until
from support.host_process import BrowserHost, Json, Port
from support.tiny_embedder import make_embedder, reference_embedding
from support.tiny_genai import make_tiny

TEXTS = ["a cat", "the raining sun", "the dog " * 100, ""]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_embedder(tmp_path_factory.mktemp("models") / "embedder")


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost() as made:
        yield made


@pytest.fixture
def port(host: BrowserHost) -> Iterator[Port]:
    with host.port() as opened:
        yield opened


@pytest.fixture
def model(port: Port, folder: Path) -> Json:
    """The embedding model's state, loaded and in use last."""
    state: Json = port.call("load", model=str(folder))["model"]
    return state


def code_of(answer: Json) -> str:
    code: str = answer["error"]["code"]
    return code


def test_each_text_gets_its_vector_and_what_was_cut_off_is_named(port: Port, model: Json, folder: Path) -> None:
    assert model["capabilities"]["embed"]
    assert not model["capabilities"]["text"]
    answer = port.call("embed", input=TEXTS, model=model["model"])
    assert (answer["dimensions"], answer["truncated"]) == (32, [2])
    assert answer["input_tokens"] == 4 + 6 + 48 + 2
    for place in (0, 1, 3):
        expected = reference_embedding(folder, TEXTS[place], "mean", True)
        assert np.abs(np.array(answer["embeddings"][place]) - expected).max() < TOLERANCE


def test_a_single_text_gets_a_list_of_one_vector_of_the_active_model(port: Port, model: Json, folder: Path) -> None:
    answer = port.call("embed", input="a cat", normalize=False)
    assert len(answer["embeddings"]) == 1
    expected = reference_embedding(folder, "a cat", "mean", False)
    assert np.abs(np.array(answer["embeddings"][0]) - expected).max() < TOLERANCE


def test_as_many_texts_as_one_request_may_have_arrive_in_pieces_and_in_order(port: Port, model: Json) -> None:
    alone = port.call("embed", input=["rain 7"])["embeddings"][0]
    answer = port.call("embed", input=[f"rain {place % 100}" for place in range(2048)])
    assert len(answer["embeddings"]) == 2048
    for place in range(7, 2048, 100):
        assert np.abs(np.array(answer["embeddings"][place]) - alone).max() < TOLERANCE
    assert max(port.frame_sizes) < 256 * 1024


def test_a_model_that_still_loads_is_waited_for(host: BrowserHost, port: Port, tmp_path: Path) -> None:
    folder = str(make_embedder(tmp_path))
    load = port.ask("load", model=folder)
    embed = port.ask("embed", model=folder, input="x")
    assert port.result(embed)["status"] == "success"
    assert port.result(load)["status"] == "success"


def test_requests_at_once_are_answered_each_with_its_own(port: Port, model: Json) -> None:
    asked = {place: port.ask("embed", input=["a"] * place) for place in range(1, 12)}
    assert [len(port.result(request)["embeddings"]) for request in asked.values()] == list(asked)


@pytest.mark.parametrize("name", ["echo", "genai"])
def test_a_model_that_makes_text_says_that_it_makes_no_vectors(port: Port, name: str, tmp_path: Path) -> None:
    path = "echo" if name == "echo" else str(make_tiny(tmp_path))
    load = port.ask("load", model=path)
    early = port.call("embed", model=path, input="x")
    assert port.result(load)["status"] == "success"
    late = port.call("embed", model=path, input="x")
    assert [code_of(early), code_of(late)] == ["unsupported_option"] * 2
    assert "embedding" in early["message"]
    assert port.call("generate", model=path, prompt="x", stream=False, settings={"max_tokens": 2})["text"]


def test_an_embedding_model_says_that_it_makes_no_text_and_goes_on(port: Port, model: Json) -> None:
    answer = port.call("generate", model=model["model"], prompt="x", stream=False)
    assert code_of(answer) == "unsupported_option"
    assert "send embed" in answer["message"]
    assert port.call("embed", input="x")["status"] == "success"
    assert port.call("count_tokens", prompt="a cat")["tokens"] == 4


def test_a_client_that_leaves_does_not_keep_the_model_from_the_next(host: BrowserHost, port: Port, model: Json) -> None:
    with host.port() as other:
        other.ask("embed", model=model["model"], input=["the cat " * 40] * 2048)
        wait_until("the model's work", lambda: port.call("get_state")["models"][0]["state"] == "busy")
    assert port.call("embed", model=model["model"], input="x")["status"] == "success"
    wait_until("the model's rest", lambda: port.call("get_state")["models"][0]["state"] == "ready")


def test_an_unload_ends_what_runs_with_an_error(port: Port, model: Json) -> None:
    request = port.ask("embed", input=["the cat " * 40] * 2048)
    wait_until("the model's work", lambda: port.call("get_state", model=model["model"])["models"][0]["state"] == "busy")
    assert port.call("unload", model=model["model"])["status"] == "success"
    assert code_of(port.result(request)) == "cancelled"


def test_a_crash_costs_one_error_and_the_model_is_there_again(port: Port, model: Json) -> None:
    request = port.ask("embed", input=["the cat " * 40] * 2048)
    wait_until("the model's work", lambda: port.call("get_state", model=model["model"])["models"][0]["state"] == "busy")
    os.kill(port.call("get_state", model=model["model"])["models"][0]["pid"], signal.SIGKILL)
    assert code_of(port.result(request)) == "backend_crashed"
    assert port.call("embed", model=model["model"], input="x")["status"] == "success"


def test_a_model_is_unloaded_only_when_its_vectors_are_made(port: Port, tmp_path: Path) -> None:
    name = port.call("load", model=str(make_embedder(tmp_path)), options={"keep_alive_s": 0})["model"]["model"]
    assert len(port.call("embed", model=name, input=["the cat " * 40] * 300)["embeddings"]) == 300
    gone = port.wait(lambda message: message.get("event") == "model_unloaded" and message["model"] == name)
    assert gone["reason"] == "not used"


def test_a_request_without_a_loaded_model_says_what_to_do() -> None:
    with BrowserHost() as host, host.port() as port:
        assert code_of(port.call("embed", input="x")) == "no_active_backend"
        assert code_of(port.call("embed", input="x", model="demo")) == "model_not_loaded"
        assert "embed" in port.call("ping")["features"]
