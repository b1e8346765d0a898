"""Generations through the real relay: streams, signs of life, stops, crashes, and their figures."""

import json
import re
import signal
import statistics
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import psutil
import pytest
from support.browsers.waiting import wait_until
from support.host_process import BrowserHost, Json, Port, raw_frame

from messages.frames import MAX_INBOUND_BYTES

CONFIG = "[worker]\nstop_timeout_s = 0.5\n[daemon]\nqueue_limit = 2\n"
THINKING = re.compile(r"Generating analysis\.\.\. \((\d+) tokens,\s*([\d.]+) tps\)")
READING = re.compile(r"Reading prompt\.\.\. \((\d+) of (\d+) tokens\)")


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost(CONFIG, env={"TABAGENT_TEST_FAULTS": "1"}) as made:
        yield made


@pytest.fixture
def port(host: BrowserHost) -> Iterator[Port]:
    with host.port() as opened:
        yield opened
        opened.call("unload", all=True)


def load(port: Port, name: str = "echo", **options: object) -> None:
    answer = port.call("load", model=name, backend="echo", options=options)
    assert answer["status"] == "success", answer


def words(count: int) -> str:
    return " ".join(f"w{number}" for number in range(count))


def test_a_stream_is_accepted_then_partials_in_order_then_its_result(port: Port) -> None:
    load(port)
    text = words(5000)
    request = port.ask("generate", prompt=text)
    result = port.result(request)
    answers = port.of(request)
    partials = port.of(request, "partial")
    assert [answers[0]["type"], answers[-1]["type"]] == ["accepted", "result"]
    assert {answer["job_id"] for answer in answers} == {result["job_id"]}
    assert [partial["seq"] for partial in partials] == list(range(len(partials)))
    assert [partial["tokens"] for partial in partials] == sorted({partial["tokens"] for partial in partials})
    assert partials[-1]["tokens"] == result["stats"]["output_tokens"] == 2048
    assert "".join(partial["text"] for partial in partials) == result["text"] == words(2048)
    assert result["finish_reason"] == "length"


def test_without_a_stream_there_is_the_result_alone(port: Port) -> None:
    load(port, prefill_ms=50, tokens_per_second=200)
    request = port.ask("generate", prompt=words(20), stream=False, thinking_update_interval=0.01)
    result = port.result(request)
    assert port.of(request) == [result]
    assert (result["text"], result["finish_reason"]) == (words(20), "stop")


def test_the_first_token_goes_out_at_once_and_slow_ones_one_by_one(port: Port) -> None:
    load(port, tokens_per_second=20)
    request = port.ask("generate", prompt=words(5))
    port.result(request)
    assert [partial["tokens"] for partial in port.of(request, "partial")] == [1, 2, 3, 4, 5]


def test_max_tokens_and_stop_strings_end_an_answer(port: Port) -> None:
    load(port)
    short = port.call("generate", prompt=words(10), settings={"max_tokens": 3})
    assert (short["text"], short["finish_reason"], short["stats"]["output_tokens"]) == ("w0 w1 w2", "length", 3)
    stopped = port.call("generate", prompt=words(10), settings={"stop": ["w3 w4"]})
    assert (stopped["text"], stopped["finish_reason"]) == ("w0 w1 w2 ", "stop")


def test_a_stop_is_heard_while_tokens_come(port: Port) -> None:
    load(port, tokens_per_second=1000)
    request = port.ask("generate", prompt=words(100_000), settings={"max_tokens": 100_000})
    job = port.accepted(request)
    port.wait_count(lambda message: message["type"] == "partial", 5)
    stop = port.call("stop_generation")
    assert stop["status"] == "success"
    assert (stop["stopped_jobs"], stop["stopped_backends"]) == ([job], ["ECHO"])
    result = port.result(request)
    assert (result["status"], result["finish_reason"]) == ("success", "cancelled")
    assert 0 < result["stats"]["output_tokens"] < 100_000
    assert result["text"] == "".join(partial["text"] for partial in port.of(request, "partial"))


@pytest.mark.parametrize("how", ["neither", "job_id", "model"])
def test_a_stop_is_heard_while_the_prompt_is_read(port: Port, how: str) -> None:
    load(port, prefill_ms=60_000)
    request = port.ask("generate", prompt="x")
    job = port.accepted(request)
    fields: dict[str, Any] = {"neither": {}, "job_id": {"job_id": job}, "model": {"model": "echo"}}[how]
    assert port.call("stop_generation", **fields)["stopped_jobs"] == [job]
    assert port.result(request)["stats"]["output_tokens"] == 0


def test_a_stop_of_a_generation_that_waits_takes_it_out_of_the_queue(port: Port) -> None:
    load(port, prefill_ms=60_000)
    first, second = port.ask("generate", prompt="x"), port.ask("generate", prompt="y")
    job = port.accepted(second)
    assert port.call("stop_generation", job_id=job)["stopped_jobs"] == [job]
    assert port.result(second)["finish_reason"] == "cancelled"
    assert port.of(first, "result") == []
    port.call("stop_generation")


def test_a_stop_when_nothing_runs_is_success_and_says_so(port: Port) -> None:
    stop = port.call("stop_generation")
    assert (stop["status"], stop["stopped_jobs"], stop["stopped_backends"]) == ("success", [], [])
    assert "Nothing was running" in stop["message"]


@pytest.mark.parametrize("model", ["echo", "demo", "/nowhere/x.gguf"])
def test_a_stop_of_a_model_that_has_gone_is_success_and_says_so(port: Port, model: str) -> None:
    stop = port.call("stop_generation", model=model)
    assert (stop["status"], stop.get("stopped_jobs"), stop.get("stopped_backends")) == ("success", [], [])
    assert "Nothing was running" in stop["message"]


def test_a_stop_of_a_job_that_is_over_is_success_and_says_so(port: Port) -> None:
    load(port)
    job = port.call("generate", prompt="x")["job_id"]
    stop = port.call("stop_generation", job_id=job)
    assert (stop["status"], stop["stopped_jobs"]) == ("success", [])


@pytest.mark.parametrize("end", ["stop_generation", "unload"])
def test_a_count_that_waits_at_a_hung_engine_is_told_what_is_true_when_that_is_killed(port: Port, end: str) -> None:
    load(port, fault="hang@1")
    generation = port.ask("generate", prompt="a b c")
    port.wait(lambda message: message["type"] == "partial")
    count = port.ask("count_tokens", prompt="a b c")
    port.call(end, timeout=20)
    answer = port.result(count, 20)
    if end == "stop_generation":
        assert port.result(generation)["finish_reason"] == "cancelled"
        assert answer.get("tokens") == 3, answer
    else:
        assert answer["error"]["code"] == "cancelled"
        assert "unloaded" in answer["message"]


def test_an_engine_that_does_not_stop_is_killed_and_loaded_again(port: Port) -> None:
    load(port, tokens_per_second=20, fault="hang@2")
    request = port.ask("generate", prompt=words(10))
    port.wait(lambda message: message["type"] == "partial" and message["tokens"] == 2)
    worker = port.call("get_state")["models"][0]["pid"]
    started = time.monotonic()
    assert len(port.call("stop_generation")["stopped_jobs"]) == 1
    assert 0.4 < time.monotonic() - started < 5
    result = port.result(request)
    assert (result["status"], result["finish_reason"], result["text"]) == ("success", "cancelled", "w0 w1")
    assert port.call("generate", prompt="w", stream=False)["text"] == "w"
    assert port.call("get_state")["models"][0]["pid"] != worker


def test_signs_of_life_come_in_the_interval_with_the_wording_that_clients_match(port: Port) -> None:
    load(port, tokens_per_second=200)
    request = port.ask("generate", prompt=words(400), settings={"thinking_update_interval": 0.2})
    port.result(request)
    updates = [
        (arrival.message, arrival.at)
        for arrival in port.arrivals
        if arrival.message.get("id") == request and arrival.message["type"] == "thinking_update"
    ]
    assert 9 <= len(updates) <= 11
    gaps = [later - earlier for (_, earlier), (_, later) in pairwise(updates)]
    assert statistics.median(gaps) == pytest.approx(0.2, rel=0.05)
    elapsed = [update["elapsed_ms"] for update, _ in updates]
    assert statistics.median(elapsed[at] - 200 * (at + 1) for at in range(len(elapsed))) < 20
    for update, _ in updates:
        match = THINKING.fullmatch(update["thinking"])
        assert match, update
        assert (update["phase"], update["eta_ms"]) == ("decode", None)
        assert int(match[1]) == update["tokens"] > 0
        assert float(match[2]) == update["tokens_per_second"]
        assert update["memory_bytes"] > 1_000_000
    assert updates[-1][0]["tokens_per_second"] == pytest.approx(200, rel=0.1)
    assert re.search(r"\.\d tps\)$", updates[0][0]["thinking"])


def test_signs_of_life_come_while_the_prompt_is_read(port: Port) -> None:
    load(port, prefill_ms=700)
    request = port.ask("generate", prompt=words(1000), thinking_update_interval=0.1)
    port.result(request)
    reading = [update for update in port.of(request, "thinking_update") if update["phase"] == "prefill"]
    assert 5 <= len(reading) <= 8
    counts = [READING.fullmatch(update["thinking"]) for update in reading]
    done = [int(match[1]) for match in counts if match]
    assert len(done) == len(reading)
    assert done == sorted(done)
    assert all(match[2] == "1000" for match in counts if match)
    assert all(update["tokens"] == 0 for update in reading)
    assert 0 < reading[-1]["eta_ms"] < 1000


def test_the_time_left_counts_down_while_one_long_step_of_the_prompt_is_read(port: Port) -> None:
    load(port, prefill_ms=1000)
    request = port.ask("generate", prompt=words(2), thinking_update_interval=0.1)
    port.result(request)
    reading = [update["eta_ms"] for update in port.of(request, "thinking_update") if update["phase"] == "prefill"]
    known = [eta for eta in reading if eta is not None]
    assert reading[0] is None
    assert len(known) >= 3
    assert known == sorted(known, reverse=True)
    assert known[-1] < known[0] < 600


def test_signs_of_life_come_while_a_generation_waits_for_its_turn(port: Port) -> None:
    load(port, prefill_ms=60_000)
    port.ask("generate", prompt="x")
    request = port.ask("generate", prompt="y", thinking_update_interval=0.1)
    waiting = port.wait(lambda message: message["type"] == "thinking_update" and message["id"] == request)
    assert (waiting["thinking"], waiting["phase"]) == ("Waiting for the model...", "queued")
    port.call("stop_generation")


def test_an_interval_too_short_to_be_useful_is_no_flood(port: Port) -> None:
    load(port, prefill_ms=300)
    request = port.ask("generate", prompt="x", thinking_update_interval=1e-9)
    port.result(request)
    assert 3 <= len(port.of(request, "thinking_update")) <= 8


def test_an_interval_of_zero_is_silence(port: Port) -> None:
    load(port, prefill_ms=300)
    request = port.ask("generate", prompt="x", thinking_update_interval=0)
    port.result(request)
    assert port.of(request, "thinking_update") == []


def test_more_generations_than_may_wait_are_told_when_to_come_back(port: Port) -> None:
    load(port, prefill_ms=60_000)
    asked = [port.ask("generate", prompt="x") for _ in range(5)]
    refused = [port.result(request) for request in asked[3:]]
    assert [answer["error"]["code"] for answer in refused] == ["busy", "busy"]
    assert all(answer["error"]["details"]["retry_after_ms"] > 0 for answer in refused)
    assert len(port.call("stop_generation")["stopped_jobs"]) == 3


def test_generations_of_one_model_take_turns_in_order(port: Port) -> None:
    load(port, tokens_per_second=100)
    asked = [port.ask("generate", prompt=f"{name} b c") for name in "xyz"]
    for request in asked:
        port.result(request)
    order = [arrival.message["id"] for arrival in port.arrivals if arrival.message["type"] == "result"]
    assert [request for request in order if request in asked] == asked


def test_two_models_generate_side_by_side(port: Port) -> None:
    load(port, "one", prefill_ms=60_000)
    load(port, "two")
    port.ask("generate", model="one", prompt="x")
    assert port.call("generate", model="two", prompt="y")["text"] == "y"
    port.call("stop_generation")


@pytest.mark.parametrize(("fault", "name"), [("segfault", "SIGSEGV"), ("abort", "SIGABRT"), ("kill", "SIGKILL")])
def test_a_crash_costs_one_error_and_the_model_is_loaded_again_once(port: Port, fault: str, name: str) -> None:
    load(port, tokens_per_second=20, fault=f"{fault}@3")
    request = port.ask("generate", prompt=words(10))
    result = port.result(request)
    assert (result["status"], result["error"]["code"]) == ("error", "backend_crashed")
    assert (result["error"]["details"]["signal"], result["text"]) == (name, "w0 w1 w2")
    assert name in result["message"]
    event = port.wait(lambda message: message["type"] == "event" and message["event"] == "model_crashed")
    assert (event["id"], event["model"], event["signal"], event["restarted"]) == (None, "echo", name, True)
    wait_until("the model's return", lambda: port.call("get_state")["models"][0]["state"] == "ready")
    assert port.call("generate", prompt="w", stream=False)["text"] == "w"
    assert len(port.of(request, "result")) == 1


def test_a_second_crash_in_a_row_leaves_the_model_crashed_until_it_is_loaded(port: Port) -> None:
    load(port, fault="exit@0")
    codes = []
    for _ in range(3):
        answer = port.call("generate", prompt="x")
        codes.append((answer["error"]["code"], answer["error"]["details"]["exit_code"]))
    assert codes == [("backend_crashed", 3)] * 3
    events = port.wait_count(lambda message: message["type"] == "event" and message["event"] == "model_crashed", 2)
    assert [event.message["restarted"] for event in events] == [True, False]
    state = port.call("get_state")["models"][0]
    assert (state["state"], state["pid"], state["backend_type"]) == ("crashed", None, "ECHO")
    assert port.call("load", model="echo")["model"]["state"] == "ready"


def test_a_generation_that_goes_well_makes_the_next_crash_a_first_one_again(port: Port) -> None:
    load(port, fault="exit@1")
    for _ in range(3):
        assert port.call("generate", prompt="a b")["error"]["code"] == "backend_crashed"
        assert port.call("generate", prompt="a")["text"] == "a"


def test_a_crash_between_generations_is_told_and_mended(port: Port) -> None:
    load(port)
    worker = psutil.Process(port.call("get_state")["models"][0]["pid"])
    worker.send_signal(signal.SIGKILL)
    event = port.wait(lambda message: message["type"] == "event")
    assert (event["event"], event["signal"], event["restarted"]) == ("model_crashed", "SIGKILL", True)
    assert port.call("generate", prompt="x", stream=False)["text"] == "x"


def test_a_crash_while_loading_is_the_loads_error_and_leaves_no_model(port: Port) -> None:
    answer = port.call("load", model="echo", options={"fault": "segfault@load"})
    assert (answer["error"]["code"], answer["error"]["details"]["signal"]) == ("backend_crashed", "SIGSEGV")
    assert "Segmentation fault" in answer["error"]["details"]["last_output"]
    assert port.call("get_state")["models"] == []


def test_a_bug_in_an_engine_is_one_error_and_its_worker_goes_on(port: Port) -> None:
    load(port, fault="raise@1")
    worker = port.call("get_state")["models"][0]["pid"]
    answer = port.call("generate", prompt=words(3))
    assert answer["error"]["code"] == "internal"
    assert "RuntimeError" in answer["message"]
    assert "a fault was asked for" not in str(answer)
    assert port.call("generate", prompt="w", stream=False)["text"] == "w"
    assert port.call("get_state")["models"][0]["pid"] == worker


def test_what_an_engine_prints_is_logged_and_never_reaches_the_browser(host: BrowserHost, port: Port) -> None:
    load(port, fault="print@1")
    assert port.call("generate", prompt=words(3))["text"] == words(3)
    noises = [f"engine noise on {place}" for place in ("file descriptor 1", "sys.stdout", "sys.stderr")]
    wait_until("the noise in the log", lambda: all(noise in host.log for noise in noises))


def test_what_is_said_and_answered_is_not_logged(host: BrowserHost, port: Port) -> None:
    load(port)
    port.call("generate", prompt="aVerySecretWord")
    port.send({"id": 1, "action": "ping", "aVerySecretField": "aVerySecretValue"})
    port.result(1)
    assert "aVerySecret" not in host.log


def figures(port: Port, **fields: Any) -> Json:
    answer = port.call("get_stats", model="measured", **fields)
    assert answer["status"] == "success", answer
    return answer


def test_the_figures_of_a_success_are_the_engines_own(port: Port) -> None:
    load(port, "measured", prefill_ms=200, tokens_per_second=100)
    before = figures(port)["aggregate"]
    result = port.call("generate", model="measured", prompt=words(21))
    stats = result["stats"]
    assert (stats["input_tokens"], stats["output_tokens"], stats["cached_tokens"]) == (21, 21, 0)
    assert stats["time_to_first_token"] == pytest.approx(205, abs=60)
    assert stats["tokens_per_second"] == pytest.approx(100, rel=0.1)
    assert stats["total_time"] == pytest.approx(405, abs=100)
    assert stats["finish_reason"] == "stop"
    after = figures(port)
    assert {name: after[name] for name in stats} == stats
    assert after["aggregate"]["count"] == before["count"] + 1
    assert after["aggregate"]["output_tokens"] == before["output_tokens"] + 21
    assert after["by_backend"]["ECHO"]["count"] == after["aggregate"]["count"]
    assert figures(port, scope="aggregate")["output_tokens"] is None
    state = port.call("get_state", model="measured")["models"][0]["performance"]
    assert (state["current"], state["aggregate"]["count"]) == (stats, 1)


def test_generations_that_fail_or_are_stopped_have_figures_too(port: Port) -> None:
    load(port, "measured", fault="raise@2")
    before = figures(port)["aggregate"]
    failed = port.call("generate", model="measured", prompt=words(5))
    assert failed["stats"]["output_tokens"] == 2
    port.call("unload", model="measured")
    load(port, "measured", tokens_per_second=100)
    request = port.ask("generate", model="measured", prompt=words(1000))
    port.wait_count(lambda message: message.get("id") == request and message["type"] == "partial", 3)
    port.call("stop_generation", model="measured")
    stopped = port.result(request)["stats"]
    assert (stopped["finish_reason"], stopped["input_tokens"]) == ("cancelled", 1000)
    assert stopped["output_tokens"] >= 3
    after = figures(port)["aggregate"]
    assert (after["failed"] - before["failed"], after["cancelled"] - before["cancelled"]) == (1, 1)


def test_the_figures_can_be_read_while_a_generation_runs(port: Port) -> None:
    load(port, "measured", tokens_per_second=100)
    request = port.ask("generate", model="measured", prompt=words(1000))
    port.wait_count(lambda message: message.get("id") == request and message["type"] == "partial", 5)
    running = figures(port)
    assert 5 <= running["output_tokens"] < 1000
    assert running["finish_reason"] is None
    port.call("stop_generation")


def test_a_model_that_has_not_generated_has_no_figures_of_another(port: Port) -> None:
    load(port, "measured")
    port.call("generate", prompt=words(3))
    load(port, "fresh")
    for told in (port.call("get_stats", model="fresh"), port.call("get_stats")):
        assert (told["model"], told["output_tokens"], told["total_time"]) == ("fresh", None, None)
    assert port.call("get_stats", model="measured")["output_tokens"] == 3
    port.call("unload", all=True)
    told = port.call("get_stats")
    assert (told["model"], told["output_tokens"]) == (None, 3)


def test_a_generation_that_ends_before_its_model_is_loaded_is_on_no_backend(port: Port) -> None:
    port.ask("load", model="early", backend="echo", options={"fault": "hang@load"})
    request = port.ask("generate", model="early", prompt="x")
    port.accepted(request)
    assert port.call("stop_generation")["stopped_backends"] == []
    assert port.result(request)["finish_reason"] == "cancelled"
    told = port.call("get_stats", model="early")
    assert (told["aggregate"]["cancelled"], told["by_backend"]) == (1, {})


def test_settings_hold_from_the_next_generation_of_this_origin_on(host: BrowserHost, port: Port) -> None:
    load(port)
    updated = port.call("update_settings", settings={"max_tokens": 2, "temperature": 0})
    assert updated["updated_backends"] == ["ECHO"]
    assert (updated["settings"]["max_tokens"], updated["settings"]["temperature"]) == (2, 0)
    assert port.call("generate", prompt=words(5))["text"] == "w0 w1"
    assert port.call("generate", prompt=words(5), settings={"max_tokens": 3})["text"] == "w0 w1 w2"
    with host.port("chrome-extension://" + "d" * 32 + "/") as other:
        assert other.call("generate", prompt=words(5))["text"] == words(5)
    assert port.call("update_settings", settings={"max_tokens": 2048})["settings"]["temperature"] == 0
    assert port.call("update_settings", settings={"temperature": None})["settings"]["temperature"] == 0.7


def test_settings_for_one_model_hold_for_that_model_alone(port: Port) -> None:
    load(port, "one")
    load(port, "two")
    assert port.call("update_settings", model="one", settings={"max_tokens": 1})["updated_backends"] == ["ECHO"]
    assert port.call("generate", model="one", prompt=words(3))["text"] == "w0"
    assert port.call("generate", model="two", prompt=words(3))["text"] == words(3)


def test_tokens_are_counted_with_the_models_own_tokenizer(port: Port) -> None:
    load(port, context_length=1000)
    counted = port.call("count_tokens", messages=[{"role": "user", "content": "a b"}, {"role": "user", "content": "c"}])
    assert (counted["tokens"], counted["context_length"]) == (3, 1000)


def test_a_long_answer_arrives_whole_though_it_is_larger_than_any_frame(port: Port) -> None:
    load(port)
    text = "🙂" * 400_000 + '"\\\x00' * 100_000
    result = port.call("generate", prompt=text)
    assert result["text"] == text
    assert max(port.frame_sizes) <= 256 * 1024


def test_a_request_of_the_largest_size_is_answered(port: Port) -> None:
    load(port)
    head, tail = b'{"id":1,"action":"generate","stream":false,"prompt":"', b'"}'
    text = b"x" * (MAX_INBOUND_BYTES - len(head) - len(tail))
    port.send_bytes(raw_frame(head + text + tail))
    assert port.result(1, 120)["text"] == text.decode()


def test_a_word_is_answered_that_is_longer_as_the_worker_sends_it_than_as_the_browser_did(port: Port) -> None:
    load(port)
    text = "я" * (MAX_INBOUND_BYTES // 6 + 1000)
    port.send_bytes(
        raw_frame(
            json.dumps({"id": 1, "action": "generate", "stream": False, "prompt": text}, ensure_ascii=False).encode()
        )
    )
    assert port.result(1, 120)["text"] == text
