"""The table of loaded models, through the real relay: load, share, expire, make room, and the demo on both engines."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support import tiny_gguf
from support.browsers.waiting import wait_until
from support.host_process import BrowserHost, Json, Port, is_alive
from support.tiny_transformersjs import make_transformersjs

FAULTS = {"TABAGENT_TEST_FAULTS": "1"}
GRACE_S = 1.0
"""How long a first load with an id is not told of progress once its engine has begun (PROTOCOL.md)."""

ENGINE_START_S = 5.0
"""How long it is not told of progress if its engine does not begin."""

DEMO_LOAD = {"id": "r1", "action": "load", "model": "demo", "backend": "llamacpp"}
"""Of a model that is there as soon as its engine has begun, which takes long enough to be caught before."""


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost("[models]\nmax_loaded = 2\n", FAULTS) as made:
        yield made


@pytest.fixture
def port(host: BrowserHost) -> Iterator[Port]:
    with host.port() as opened:
        yield opened
        opened.call("unload", all=True)


def load(port: Port, name: str, **options: object) -> Json:
    answer = port.call("load", model=name, backend="echo", options=options)
    assert answer["status"] == "success", answer
    model: Json = answer["model"]
    return model


def loaded(port: Port) -> list[str]:
    return [state["model"] for state in port.call("get_state")["models"]]


def test_a_loaded_model_tells_its_state(port: Port) -> None:
    before = time.time()
    model = load(port, "echo", context_length=100, keep_alive_s=60)
    assert (model["model"], model["backend"], model["backend_type"], model["state"]) == (
        "echo",
        "echo",
        "ECHO",
        "ready",
    )
    assert (model["context_length"], model["device"], model["size_bytes"]) == (100, "cpu", 0)
    assert before - 1 < model["loaded_at"] <= time.time()
    assert 55 < model["expires_at"] - time.time() <= 60
    assert model["resident_bytes"] > 1_000_000
    assert psutil.pid_exists(model["pid"])
    assert model["performance"]["aggregate"]["count"] == 0
    state = port.call("get_state")
    assert (state["active"], [one["model"] for one in state["models"]]) == ("echo", ["echo"])


def test_the_keep_alive_begins_when_the_model_is_ready(port: Port) -> None:
    model = load(port, "echo", keep_alive_s=60)
    assert model["expires_at"] - model["loaded_at"] == pytest.approx(60, abs=0.02)


def test_a_model_that_generates_is_busy(port: Port) -> None:
    load(port, "echo", prefill_ms=60_000)
    port.accepted(port.ask("generate", prompt="x"))
    wait_until("a busy model", lambda: port.call("get_state")["models"][0]["state"] == "busy")
    port.call("stop_generation")
    assert port.call("get_state")["models"][0]["state"] == "ready"


def test_loading_what_is_loaded_is_success_at_once(port: Port) -> None:
    first = load(port, "echo", context_length=100)
    again = port.call("load", model="echo")
    assert (again["status"], again["model"]["pid"]) == ("success", first["pid"])
    assert "already" in again["message"]
    assert port.call("load", model="echo", options={"context_length": 100})["model"]["pid"] == first["pid"]


def test_loading_what_is_loaded_with_other_options_is_refused_and_not_ignored(port: Port) -> None:
    load(port, "echo", context_length=100)
    answer = port.call("load", model="echo", options={"context_length": 200})
    assert answer["error"]["code"] == "invalid_request"
    assert answer["error"]["details"]["fields"] == ["options.context_length: is 100 in the loaded model"]


def test_loading_what_is_loaded_with_what_its_engine_chose_is_success(port: Port) -> None:
    first = load(port, "echo")
    chosen = {"context_length": first["context_length"], "device": first["device"]}
    assert port.call("load", model="echo", options=chosen)["model"]["pid"] == first["pid"]
    answer = port.call("load", model="echo", options={"prefill_ms": 5})
    assert answer["error"]["details"]["fields"] == ["options.prefill_ms: is not set in the loaded model"]
    answer = port.call("load", model="echo", options={"device": "gpu"})
    assert answer["error"]["details"]["fields"] == ['options.device: is "cpu" in the loaded model']


def test_auto_is_content_with_the_device_that_somebody_has_named(port: Port) -> None:
    first = load(port, "echo", device="cpu")
    assert port.call("load", model="echo", options={"device": "auto"})["model"]["pid"] == first["pid"]
    answer = port.call("load", model="echo", options={"device": "gpu"})
    assert answer["error"]["details"]["fields"] == ['options.device: is "cpu" in the loaded model']


SAID_FOR_NOTHING = ({"parallel": 1}, {"device": "auto"}, {"dtype": "auto"}, {"fast_path": False}, {"pictures": False})


def test_loading_what_is_loaded_with_what_is_in_force_without_being_said_is_success(port: Port) -> None:
    first = load(port, "echo")
    for options in SAID_FOR_NOTHING:
        answer = port.call("load", model="echo", options=options)
        assert (answer["status"], answer["model"]["pid"]) == ("success", first["pid"]), options
    answer = port.call("load", model="echo", options={"parallel": 2})
    assert answer["error"]["details"]["fields"] == ["options.parallel: is 1 in the loaded model"]


def test_loading_what_is_loaded_with_the_other_name_of_its_dtype_is_success(port: Port, tmp_path: Path) -> None:
    folder = str(make_transformersjs(tmp_path / "model", dtypes=("q8",)))
    for had in ({}, {"dtype": "q8"}, {"dtype": "quantized"}):
        pid = port.call("load", model=folder, options=had)["model"]["pid"]
        for dtype in ("q8", "quantized"):
            answer = port.call("load", model=folder, options={"dtype": dtype})
            assert (answer["status"], answer["model"]["pid"]) == ("success", pid)
        answer = port.call("load", model=folder, options={"dtype": "q4"})
        assert answer["error"]["details"]["fields"][0].startswith('options.dtype: is "q')
        port.call("unload", model=folder)


def test_an_option_that_says_what_holds_without_it_is_none_that_a_backend_cannot_honour(port: Port) -> None:
    said = {name: value for options in SAID_FOR_NOTHING for name, value in options.items()}
    assert load(port, "echo", **said)["state"] == "ready"
    error = port.call("load", model="other", backend="echo", options={"parallel": 2, "dtype": "q4"})["error"]
    assert (error["code"], error["details"]["fields"]) == ("unsupported_option", ["options.dtype", "options.parallel"])


def test_a_loaded_model_takes_another_keep_alive_at_once(port: Port) -> None:
    first = load(port, "echo", context_length=100)
    again = load(port, "echo", keep_alive_s=60)
    assert again["pid"] == first["pid"]
    assert 50 < again["expires_at"] - time.time() <= 60
    assert 50 < load(port, "echo", context_length=100)["expires_at"] - time.time() <= 60
    refused = port.call("load", model="echo", options={"keep_alive_s": 5, "context_length": 200})
    assert refused["error"]["details"]["fields"] == ["options.context_length: is 100 in the loaded model"]
    assert port.call("get_state")["models"][0]["expires_at"] > time.time() + 50
    load(port, "echo", keep_alive_s=0.2)
    port.wait(lambda message: message["type"] == "event" and message["event"] == "model_unloaded", 5)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_echo_is_loaded_on_the_device_that_it_says(port: Port, device: str) -> None:
    assert load(port, "echo", device=device)["device"] == "cpu"


def test_the_echo_is_loaded_on_no_other_device(port: Port) -> None:
    error = port.call("load", model="echo", options={"device": "gpu"})["error"]
    assert (error["code"], error["details"]["fields"]) == (
        "unsupported_option",
        ["options.device: must be one of auto, cpu"],
    )


def test_a_file_is_loaded_once_however_its_path_is_spelt(host: BrowserHost, port: Port, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    path = tiny_gguf.write_tiny(tmp_path / "folder" / "tiny.gguf")
    link = tmp_path / "link.gguf"
    link.symlink_to(path)
    first = port.call("load", model=str(path), options={"threads": 1})["model"]
    for other in (f"{tmp_path}//folder/tiny.gguf", f"{tmp_path}/folder/../folder/tiny.gguf", str(link)):
        again = port.call("load", model=other)
        assert (again["status"], again["model"]["pid"]) == ("success", first["pid"]), other
        answer = port.call("generate", model=other, prompt="x", settings={"max_tokens": 2})
        assert (answer["status"], answer["model"]) == ("success", first["model"]), other
    assert loaded(port) == [first["model"]]


@pytest.mark.parametrize("name", ["/no\0where", "~\0x", "~\0/x", "no\0where", "~\ud800x", "/\ud800"])
def test_what_can_be_no_path_is_not_found_and_not_loaded(port: Port, name: str) -> None:
    load(port, "echo")  # there is one whose path is compared
    assert port.call("load", model=name)["error"]["code"] == "model_not_found"
    assert port.call("generate", model=name, prompt="x")["error"]["code"] == "model_not_loaded"
    for action in ("unload", "get_state", "get_stats"):
        assert port.call(action, model=name)["error"]["code"] == "model_not_loaded", action


@pytest.fixture
def shelved(host: BrowserHost) -> Iterator[Path]:
    folder = host.home.data_dir / "models" / "shelf"
    folder.mkdir(parents=True)
    yield tiny_gguf.write_tiny(folder / "tiny.gguf")
    shutil.rmtree(folder)


@pytest.mark.parametrize("spelling", ["./shelf/tiny.gguf", "shelf/../shelf/tiny.gguf", "~/data/models/shelf/tiny.gguf"])
def test_a_model_is_used_by_the_spelling_that_loaded_it(port: Port, shelved: Path, spelling: str) -> None:
    assert port.call("load", model=spelling)["status"] == "success"
    for name in (spelling, "shelf/tiny.gguf", str(shelved)):
        answer = port.call("count_tokens", model=name, prompt="x")
        assert answer["status"] == "success", (name, answer)
    assert port.call("unload", model=spelling)["status"] == "success"
    assert loaded(port) == []


@pytest.fixture(scope="module")
def two_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders `a` and `b`, of which each has an `x.gguf` of its own."""
    top = tmp_path_factory.mktemp("folders")
    (top / "a" / "sub").mkdir(parents=True)
    (top / "b").mkdir()
    for file in ("a/x.gguf", "a/sub/y.gguf", "a/y.gguf", "a/link.gguf", "b/x.gguf"):
        tiny_gguf.write_tiny(top / file)
    (top / "b" / "link.gguf").symlink_to(top / "a" / "x.gguf")
    return top / "a", top / "b"


@pytest.fixture(scope="module")
def two_folders_host(two_folders: tuple[Path, Path]) -> Iterator[BrowserHost]:
    a, b = two_folders
    with BrowserHost(f"[models]\nfolders = {[str(a), str(a / 'sub'), str(b)]}\n") as made:
        yield made


@pytest.fixture
def two_folders_port(two_folders_host: BrowserHost) -> Iterator[Port]:
    with two_folders_host.port() as opened:
        yield opened
        opened.call("unload", all=True)


@pytest.mark.parametrize(("first", "second"), [("sub/y.gguf", "y.gguf"), ("x.gguf", "link.gguf")])
def test_a_name_means_the_first_file_that_is_there_and_no_later_one_that_is_loaded(
    two_folders: tuple[Path, Path], two_folders_port: Port, first: str, second: str
) -> None:
    port, (a, _) = two_folders_port, two_folders
    assert port.call("load", model=first)["model"]["model_path"] == str(a / first)
    assert port.call("generate", model=second, prompt="x")["error"]["code"] == "model_not_loaded"
    answer = port.call("load", model=second)
    assert (answer["model"]["model_path"], answer["message"]) == (str(a / second), f"{second} is loaded.")
    assert loaded(port) == [first, second]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_files_of_one_name_in_two_folders_are_two_models(
    two_folders: tuple[Path, Path], two_folders_port: Port, order: tuple[int, int]
) -> None:
    port, paths = two_folders_port, [folder / "x.gguf" for folder in two_folders]
    names = ["x.gguf", str(paths[1])]
    for which in order:
        model = port.call("load", model=str(paths[which]))["model"]
        assert (model["model"], model["model_path"]) == (names[which], str(paths[which]))
        listed = {one["model"]: one for one in port.call("list_models")["models"]}
        assert listed[names[which]]["model_path"] == str(paths[which])
        assert {name: listed[name]["loaded"] for name in names} == {name: name in loaded(port) for name in names}
    for spelling, name in (("x.gguf", names[0]), ("./x.gguf", names[0]), *zip(map(str, paths), names, strict=True)):
        assert port.call("get_state", model=spelling)["models"][0]["model"] == name, spelling
    assert port.call("unload", model=names[0])["unloaded"] == [names[0]]
    assert loaded(port) == [names[1]]


@pytest.mark.parametrize("spelling", ["{a}/x.gguf", "./x.gguf", "{a}//x.gguf"])
def test_an_echo_with_the_name_of_a_file_is_found_by_that_name_alone(
    two_folders: tuple[Path, Path], two_folders_port: Port, spelling: str
) -> None:
    port, path = two_folders_port, str(two_folders[0] / "x.gguf")
    name = spelling.format(a=two_folders[0])
    load(port, "x.gguf")
    assert not next(one for one in port.call("list_models")["models"] if one["model"] == "x.gguf")["loaded"]
    assert port.call("generate", model=name, prompt="x")["error"]["code"] == "model_not_loaded"
    model = port.call("load", model=name)["model"]
    assert (model["backend"], model["model"]) == ("llamacpp", path)
    assert port.call("load", model=name)["model"]["pid"] == model["pid"]
    states = [port.call("get_state", model=one)["models"][0]["backend"] for one in (name, path, "x.gguf")]
    assert states == ["llamacpp", "llamacpp", "echo"]
    assert port.call("load", model="x.gguf", backend="llamacpp")["error"]["details"]["fields"] == [
        "backend: is echo in the loaded model"
    ]


def test_a_file_that_was_loaded_keeps_its_name_though_another_takes_its_place(
    two_folders: tuple[Path, Path], two_folders_port: Port
) -> None:
    port, (a, b) = two_folders_port, two_folders
    tiny_gguf.write_tiny(b / "late.gguf")
    first = port.call("load", model="late.gguf")["model"]
    assert first["model_path"] == str(b / "late.gguf")
    tiny_gguf.write_tiny(a / "late.gguf")
    second = port.call("load", model=str(a / "late.gguf"))["model"]
    assert (second["model"], second["model_path"]) == (str(a / "late.gguf"), str(a / "late.gguf"))
    assert [port.call("load", model=one["model"])["model"]["pid"] for one in (first, second)] == [
        first["pid"],
        second["pid"],
    ]


def test_two_loads_of_one_model_at_once_load_it_once(host: BrowserHost, port: Port) -> None:
    with host.port() as other:
        mine = [port.ask("load", model="echo") for _ in range(3)]
        theirs = [other.ask("load", model="echo") for _ in range(3)]
        results = [port.result(request) for request in mine] + [other.result(request) for request in theirs]
    assert {result["status"] for result in results} == {"success"}
    assert len({result["model"]["pid"] for result in results}) == 1
    assert len(workers(host)) == 1


def workers(host: BrowserHost) -> list[psutil.Process]:
    return [process for process in host.processes() if "backends.worker" in process.cmdline()]


def test_a_generation_sent_while_its_model_loads_waits_for_it(port: Port) -> None:
    port.ask("load", model="echo")
    assert port.call("generate", prompt="a b")["text"] == "a b"


def test_an_unload_ends_the_worker_and_is_told_to_everybody(host: BrowserHost, port: Port) -> None:
    with host.port() as other:
        other.call("ping")
        worker = psutil.Process(load(port, "echo")["pid"])
        assert port.call("unload")["unloaded"] == ["echo"]
        assert not is_alive(worker)
        event = other.wait(lambda message: message["type"] == "event")
        assert (event["event"], event["model"], event["reason"]) == ("model_unloaded", "echo", "asked for")


def test_a_load_right_behind_an_unload_loads_anew_though_a_generation_has_to_end_first(port: Port) -> None:
    first = load(port, "echo", tokens_per_second=20)
    generation = port.ask("generate", prompt="a " * 100)
    port.wait(lambda message: message["type"] == "partial")
    unload, again = port.ask("unload", model="echo"), port.ask("load", model="echo", backend="echo")
    assert port.result(unload)["unloaded"] == ["echo"]
    result = port.result(again)
    assert (result["message"], result["model"]["state"]) == ("echo is loaded.", "ready")
    assert result["model"]["pid"] != first["pid"]
    assert port.result(generation)["error"]["code"] == "cancelled"
    assert loaded(port) == ["echo"]
    assert port.call("generate", prompt="a b", stream=False)["text"] == "a b"


def test_a_load_begins_when_the_memory_of_what_was_unloaded_is_given_back() -> None:
    with BrowserHost("[worker]\nstop_timeout_s = 3\n", FAULTS) as own, own.port() as port:
        first = load(port, "large", fault="hang@1")
        port.ask("generate", prompt="a b c")
        port.wait(lambda message: message["type"] == "partial")
        port.ask("unload", model="large")
        assert load(port, "other")["state"] == "ready"
        assert not psutil.pid_exists(first["pid"])


def test_an_unload_goes_on_though_the_port_that_asked_is_gone(host: BrowserHost, port: Port) -> None:
    load(port, "echo", fault="hang@1")
    generation = port.ask("generate", prompt="a b c")
    port.wait(lambda message: message["type"] == "partial")
    with host.port() as other:
        other.ask("unload", model="echo")
        other.call("ping")
    assert port.result(generation)["error"]["code"] == "cancelled"
    port.wait(lambda message: message["type"] == "event" and message["event"] == "model_unloaded")
    assert "model_crashed" not in [arrival.message.get("event") for arrival in port.arrivals]  # it was killed by us
    wait_until("the worker's end", lambda: workers(host) == [])
    assert loaded(port) == []


def test_a_daemon_that_is_stopped_does_not_wait_for_an_unload_that_waits_for_an_engine() -> None:
    with BrowserHost("[worker]\nstop_timeout_s = 600\n", FAULTS) as own, own.port() as port:
        load(port, "echo", fault="hang@1")
        generation = port.ask("generate", prompt="a b c")
        port.wait(lambda message: message["type"] == "partial")
        port.ask("unload", model="echo")
        port.call("ping")
        own.stop_daemon()
        assert port.result(generation)["error"]["code"] == "cancelled"


def test_all_models_can_be_unloaded_at_once(port: Port) -> None:
    load(port, "one")
    load(port, "two")
    assert sorted(port.call("unload", all=True)["unloaded"]) == ["one", "two"]
    assert port.call("unload", all=True)["unloaded"] == []


def test_an_unload_while_it_loads_ends_the_load(port: Port) -> None:
    request = port.ask("load", model="echo", options={"fault": "hang@load"})
    wait_until("a loading model", lambda: loaded(port) == ["echo"])
    assert port.call("get_state")["models"][0]["state"] == "loading"
    assert port.call("unload", model="echo", timeout=10)["unloaded"] == ["echo"]
    assert port.result(request)["error"]["code"] == "cancelled"


def test_a_load_that_takes_too_long_is_a_timeout_and_its_worker_is_gone() -> None:
    with BrowserHost("[worker]\nload_timeout_s = 0.6\n", FAULTS) as host, host.port() as port:
        answer = port.call("load", model="echo", options={"fault": "hang@load"})
        assert answer["error"]["code"] == "timeout"
        assert (loaded(port), workers(host)) == ([], [])


def test_a_model_that_is_not_used_is_unloaded_after_its_keep_alive(port: Port) -> None:
    load(port, "echo", keep_alive_s=0.3)
    event = port.wait(lambda message: message["type"] == "event", 5)
    assert (event["event"], event["reason"]) == ("model_unloaded", "not used")
    assert loaded(port) == []


def test_a_keep_alive_begins_when_a_generation_is_over(port: Port) -> None:
    load(port, "echo", keep_alive_s=0.2, tokens_per_second=20)
    result = port.call("generate", prompt="a b c d e f g h i j k l")
    assert (result["status"], result["finish_reason"]) == ("success", "stop")
    port.wait(lambda message: message["type"] == "event" and message["event"] == "model_unloaded", 5)


def test_a_keep_alive_of_zero_unloads_after_the_first_use_and_not_before(port: Port) -> None:
    load(port, "echo", keep_alive_s=0)
    assert port.call("generate", prompt="a b")["text"] == "a b"
    port.wait(lambda message: message["type"] == "event" and message["event"] == "model_unloaded", 5)
    assert loaded(port) == []


def test_tokens_are_counted_though_the_keep_alive_would_end_meanwhile(port: Port) -> None:
    load(port, "echo", keep_alive_s=0, tokens_per_second=20)
    generation = port.ask("generate", prompt="a " * 2000)
    port.wait(lambda message: message["type"] == "partial")
    counts = [port.ask("count_tokens", prompt="a " * 200_000) for _ in range(2)]
    port.call("stop_generation")  # answered after the counts have begun, and however slow the machine is
    assert [port.result(count).get("tokens") for count in counts] == [200_001, 200_001]
    assert port.result(generation)["finish_reason"] == "cancelled"
    port.wait(lambda message: message["type"] == "event" and message["event"] == "model_unloaded", 5)


def test_one_model_too_many_unloads_the_one_that_was_not_used_for_longest(port: Port) -> None:
    load(port, "one")
    load(port, "two")
    port.call("generate", model="one", prompt="x")
    load(port, "three")
    assert sorted(loaded(port)) == ["one", "three"]
    event = port.wait(lambda message: message["type"] == "event")
    assert (event["model"], event["reason"]) == ("two", "room for another")


def test_models_in_use_are_not_unloaded_for_another(port: Port) -> None:
    for name in ("one", "two"):
        load(port, name, prefill_ms=60_000)
        port.accepted(port.ask("generate", model=name, prompt="x"))
    answer = port.call("load", model="three", backend="echo")
    assert answer["error"]["code"] == "busy"
    assert answer["error"]["details"]["retry_after_ms"] > 0
    assert sorted(loaded(port)) == ["one", "two"]
    port.call("stop_generation")


def test_a_request_that_names_no_model_means_the_last_one_loaded_or_used(port: Port) -> None:
    load(port, "one")
    load(port, "two", context_length=8)
    assert port.call("count_tokens", prompt="x")["context_length"] == 8
    port.call("generate", model="one", prompt="x")
    assert port.call("get_state")["active"] == "one"
    port.call("unload", model="one")
    assert port.call("get_state")["active"] == "two"


def test_the_end_of_a_generation_takes_no_requests_from_a_model_that_was_used_since(port: Port) -> None:
    load(port, "one", tokens_per_second=20)
    generation = port.ask("generate", model="one", prompt="a b c d e f g h")
    port.accepted(generation)
    load(port, "two")
    assert port.result(generation)["status"] == "success"
    assert port.call("get_state")["active"] == "two"


def test_progress_is_told_on_the_way_of_a_load(port: Port) -> None:
    port.call("ping")
    request = port.ask("load", model="demo", backend="llamacpp")
    result = port.result(request)
    progress = port.of(request, "progress")
    assert result["model"]["state"] == "ready"
    fractions = [one["progress"] for one in progress if one["progress"] is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert progress[-1]["total_bytes"] == result["model"]["size_bytes"] > 0
    assert progress[-1]["loaded_bytes"] == progress[-1]["total_bytes"]
    assert {one["action"] for one in progress} == {"load"}
    assert [one["phase"] for one in progress] == ["starting"] + ["loading"] * (len(progress) - 1)


def test_a_one_shot_load_without_an_id_gets_its_result_and_nothing_else(host: BrowserHost, port: Port) -> None:
    with host.port() as one_shot:
        one_shot.send({"action": "load", "model": "demo"})
        assert one_shot.wait(lambda _: True)["model"]["state"] == "ready"
        assert len(one_shot.arrivals) == 1
    assert loaded(port) == ["demo"]


def test_a_one_shot_load_with_an_id_gets_its_result_however_long_the_engine_takes_to_start(
    host: BrowserHost, port: Port
) -> None:
    wait_until("no worker of the test before", lambda: not workers(host))
    with host.port() as one_shot:
        one_shot.send(DEMO_LOAD)
        worker = wait_until("a worker", lambda: workers(host))[0]
        worker.suspend()
        time.sleep(GRACE_S + 0.5)
        worker.resume()
        assert one_shot.wait(lambda _: True)["type"] == "result"
        assert one_shot.result("r1")["model"]["state"] == "ready"
    assert loaded(port) == ["demo"]


def test_a_ports_only_load_is_told_a_second_after_its_engine_has_begun(host: BrowserHost, port: Port) -> None:
    wait_until("no worker of the test before", lambda: not workers(host))
    with host.port() as alone:
        sent = time.monotonic()
        alone.send({"id": "r1", "action": "load", "model": "echo", "options": {"fault": "hang@load"}})
        told = alone.wait(lambda _: True)
        assert (told["type"], told["phase"], told["message"]) == ("progress", "loading", "Loading echo")
        assert alone.arrivals[0].at - sent >= GRACE_S


def test_a_ports_only_load_is_told_five_seconds_after_it_if_its_engine_does_not_start(
    host: BrowserHost, port: Port
) -> None:
    wait_until("no worker of the test before", lambda: not workers(host))
    with host.port() as alone:
        sent = time.monotonic()
        alone.send(DEMO_LOAD)
        worker = wait_until("a worker", lambda: workers(host))[0]
        worker.suspend()
        told = alone.wait(lambda _: True, timeout=20)
        assert (told["type"], told["phase"]) == ("progress", "starting")
        assert alone.arrivals[0].at - sent >= ENGINE_START_S
        worker.resume()
        assert alone.result("r1")["status"] == "success"


def test_a_load_goes_on_though_the_port_that_asked_is_gone(host: BrowserHost, port: Port) -> None:
    with host.port() as gone:
        gone.send({"id": 1, "action": "load", "model": "demo"})
        wait_until("a loading model", lambda: loaded(port) == ["demo"])
    wait_until("a loaded model", lambda: port.call("get_state")["models"][0]["state"] == "ready", 20)


@pytest.mark.parametrize("backend", ["llamacpp", "onnx"])
def test_the_demo_answers_on_each_engine(port: Port, backend: str) -> None:
    model = port.call("load", model="demo", backend=backend)["model"]
    assert (model["model"], model["backend"]) == ("demo", backend)
    question = [{"role": "user", "content": "How do I install the host?"}]
    answer = port.call("generate", messages=question, settings={"temperature": 0, "max_tokens": 60})
    assert answer["status"] == "success", answer
    assert "install" in answer["text"]
    assert answer["stats"]["input_tokens"] > 5


def test_what_lies_in_the_model_folder_is_listed_and_loaded_by_name(host: BrowserHost, port: Port) -> None:
    folder = host.home.data_dir / "models" / "mine"
    folder.mkdir(parents=True)
    tiny_gguf.write_tiny(folder / "tiny.gguf")
    (folder / "broken.gguf").write_bytes(b"GGUF" + bytes(20))
    (folder / "notes.txt").write_text("not a model")
    listed = {model["model"]: model for model in port.call("list_models")["models"]}
    assert sorted(listed) == ["demo", "demo-vision", "mine/broken.gguf", "mine/tiny.gguf"]
    tiny, broken = listed["mine/tiny.gguf"], listed["mine/broken.gguf"]
    assert (tiny["format"], tiny["backend"], tiny["problem"], tiny["loaded"]) == ("GGUF", "llamacpp", None, False)
    assert tiny["fits_in_memory"] is True
    assert tiny["needed_bytes"] > 0
    assert broken["problem"]
    assert listed["demo"]["problem"] is None
    assert port.call("load", model="mine/tiny.gguf")["model"]["model"] == "mine/tiny.gguf"
    assert port.call("load", model=str(folder / "tiny.gguf"))["message"].endswith("was loaded already.")
    assert {one["model"]: one["loaded"] for one in port.call("list_models")["models"]}["mine/tiny.gguf"]


def test_a_file_that_changes_while_it_is_loaded_disturbs_nobody(host: BrowserHost, port: Port, tmp_path: Path) -> None:
    model = tiny_gguf.write_tiny(tmp_path / "tiny.gguf")
    port.call("load", model=str(model))
    model.unlink()
    answer = port.call("generate", prompt="hello", settings={"max_tokens": 3})
    assert answer["status"] == "success"
