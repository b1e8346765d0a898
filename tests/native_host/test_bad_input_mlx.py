"""MLX folders that cannot run and pictures that are none, through the real relay: one clear error each."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file
from support.host_process import BrowserHost, Json, Port
from support.tiny_mlx import SCRIPT, assistant, data_url, make_mlx, picture, user

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def port() -> Iterator[Port]:
    with BrowserHost() as host, host.port() as opened:
        yield opened


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mlx(tmp_path_factory.mktemp("models") / "vision", script=SCRIPT)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mlx(tmp_path_factory.mktemp("models") / "text", "text", script=SCRIPT)


def ask(port: Port, *messages: Json) -> Json:
    return port.call("generate", messages=list(messages), settings={"temperature": 0})


def set_in(name: str, **values: Any) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return damage


def without_vision(folder: Path) -> None:
    file = folder / "model.safetensors"
    save_file({name: held for name, held in load_file(file).items() if not name.startswith("visual.")}, file)


def cut_off(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


BAD: dict[str, tuple[Damage, str]] = {
    "no vision weights": (without_vision, "the weights of that part are missing"),
    "a model that is code": (set_in("config.json", model_file="evil.py"), "the host runs no code of a model"),
    "a tokenizer that is code": (
        set_in("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tok", None]}),
        "the host runs no code of a model",
    ),
    "weights cut off": (cut_off, "is cut off"),
    "another kind of model": (set_in("config.json", model_type="foo_bar"), "foo_bar"),
    "a projector of another model": (set_in("config.json", hidden_size=32), "shape"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_folder_that_cannot_run_is_one_clear_error(port: Port, tmp_path: Path, vision: Path, case: str) -> None:
    damage, reason = BAD[case]
    folder = shutil.copytree(vision, tmp_path / "model")
    damage(folder)
    answer = port.call("load", model=str(folder))
    assert answer["error"]["code"] == "model_invalid"
    assert answer["error"]["details"]["model_path"] == str(folder)
    assert reason in answer["message"]
    assert "Traceback" not in answer["message"]
    assert port.call("get_state")["models"] == []


def test_a_talk_about_a_picture_goes_on_from_the_cache_and_tells_its_sizes(port: Port, vision: Path) -> None:
    state = port.call("load", model=str(vision))["model"]
    assert (state["backend"], state["backend_type"], state["capabilities"]["image"]) == ("mlx_vlm", "MLX_CPU", True)
    first = ask(port, user("What is it?", picture()))
    assert first["text"] == "".join(SCRIPT)
    assert first["stats"]["pictures"] == [{"width": 112, "height": 84, "scaled_width": 112, "scaled_height": 84}]
    second = ask(port, user("What is it?", picture()), assistant(first["text"]), user("And then?"))
    read_before = first["stats"]["input_tokens"] + first["stats"]["output_tokens"]
    assert second["stats"]["cached_tokens"] > read_before
    assert ask(port, user("Only text"))["text"] == "".join(SCRIPT)
    port.call("unload", all=True)


def test_what_is_no_picture_is_one_clear_error_and_everything_goes_on(port: Port, vision: Path) -> None:
    port.call("load", model=str(vision))
    whole = data_url(picture())
    for data, code in (
        ("data:image/png;base64,bm8gcGljdHVyZQ==", "invalid_request"),
        (whole[: len(whole) // 2 // 4 * 4], "invalid_request"),
        (whole.replace("image/png", "image/svg+xml"), "invalid_request"),
        ("https://example.com/cat.png", "invalid_request"),
        ("/etc/passwd", "invalid_request"),
    ):
        broken = {"role": "user", "content": [{"type": "image", "data": data}, {"type": "text", "text": "Hi"}]}
        assert ask(port, broken)["error"]["code"] == code, data[:60]
    assert ask(port, *[user("Hi", picture())] * 50)["error"]["code"] == "invalid_request"
    assert ask(port, user("Hi", picture()))["status"] == "success"
    port.call("unload", all=True)


def test_a_picture_for_a_text_model_is_one_clear_error(port: Port, text: Path) -> None:
    port.call("load", model=str(text))
    assert ask(port, user("Hi", picture()))["error"]["code"] == "unsupported_option"
    assert ask(port, user("Hi"))["text"] == "".join(SCRIPT)
    port.call("unload", all=True)
