"""`"background": true` of any action: accepted with its job, which outlives its port and can be followed and read."""

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.browsers.waiting import wait_until
from support.host_process import OTHER_ORIGIN, BrowserHost, Json, Port, is_alive

from backends.faults import ENVIRONMENT_VARIABLE
from messages.actions import ActionType
from messages.errors import HostError
from messages.facts import Fact
from messages.replies import Embedded, Success
from native_host import background
from native_host.background import MAX_KEPT, MAX_RUNNING, ActionJob, ActionJobs
from native_host.config import Config, Paths
from native_host.dispatcher import dispatch
from native_host.host import Host
from native_host.http.client import LastReply
from native_host.http.errors import HttpError

FINISHED_TTL_S = 2.0
OVER = ("finished", "cancelled", "failed")

ALL: dict[ActionType, Json] = {
    ActionType.PING: {},
    ActionType.LOAD: {"model": "echo"},
    ActionType.UNLOAD: {"all": True},
    ActionType.GENERATE: {"model": "echo", "prompt": "a"},
    ActionType.STOP_GENERATION: {},
    ActionType.UPDATE_SETTINGS: {"settings": {}},
    ActionType.GET_STATS: {},
    ActionType.GET_STATE: {},
    ActionType.LIST_MODELS: {},
    ActionType.LIST_BACKENDS: {},
    ActionType.GET_SYSTEM_INFO: {},
    ActionType.COUNT_TOKENS: {"prompt": "a b"},
    ActionType.EMBED: {"input": "a"},
    ActionType.LIST_JOBS: {},
    ActionType.ATTACH: {},
    ActionType.READ_JOB: {},
    ActionType.OPEN_HTTP: {},
}


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    config = f"[daemon]\nfinished_job_ttl_s = {FINISHED_TTL_S}\n[worker]\nload_timeout_s = 20\n"
    with BrowserHost(config, {ENVIRONMENT_VARIABLE: "1"}) as made:
        yield made


@pytest.fixture
def port(host: BrowserHost) -> Iterator[Port]:
    with host.port() as opened:
        yield opened
        opened.call("unload", all=True)


def load_for_ever(port: Port, **fields: Any) -> str:
    """Begin a load that only its unload ends; its request's id."""
    return port.ask(
        "load", model="stuck", backend="echo", options={"fault": "hang@load"}, **{"background": True, **fields}
    )


def read(port: Port, job: str, **fields: Any) -> Json:
    return port.call("read_job", job_id=job, **fields)


def listed(port: Port, job: str) -> Json:
    jobs: list[Json] = port.call("list_jobs")["jobs"]
    return next((one for one in jobs if one["job_id"] == job), {})


@pytest.mark.parametrize("action", ActionType)
def test_every_action_is_accepted_first_and_has_one_result_last(port: Port, action: ActionType) -> None:
    port.call("load", model="echo")
    fields = ALL[action]
    if action in (ActionType.ATTACH, ActionType.READ_JOB):
        fields = {"job_id": port.call("generate", prompt="a b")["job_id"]}
    request = port.ask(str(action), background=True, **fields)
    result = port.result(request)
    kinds = [message["type"] for message in port.of(request)]
    assert (kinds[0], kinds[-1], kinds.count("accepted"), kinds.count("result")) == ("accepted", "result", 1, 1)
    accepted = port.of(request)[0]
    assert (accepted["status"], accepted["action"]) == ("success", str(action))
    assert result["job_id"] == accepted["job_id"]
    assert result["action"] == str(action)


def test_a_load_in_the_background_says_all_that_another_says(port: Port) -> None:
    request = port.ask("load", model="demo", background=True)
    result, job = port.result(request), port.accepted(request)
    assert (result["status"], result["message"], result["job_id"]) == ("success", "demo is loaded.", job)
    assert result["model"]["state"] == "ready"
    progress = port.of(request, "progress")
    assert progress
    assert {(one["job_id"], one["action"]) for one in progress} == {(job, "load")}


def test_without_stream_it_is_accepted_and_answered_with_nothing_between(port: Port) -> None:
    request = port.ask("load", model="demo", background=True, stream=False)
    port.result(request)
    assert [message["type"] for message in port.of(request)] == ["accepted", "result"]


def test_a_one_shot_gets_its_job_at_once_and_reads_it_to_its_end(host: BrowserHost, port: Port) -> None:
    first = host.one_shot({"action": "load", "model": "demo", "background": True})
    assert (first["type"], first["id"], first["action"], first["status"]) == ("accepted", None, "load", "success")
    told: Json = {"state": "queued", "cursor": 0}
    while told["state"] not in OVER:
        asked = {"action": "read_job", "job_id": first["job_id"], "cursor": told["cursor"], "wait_ms": 5000}
        told = host.one_shot(asked)
    assert (told["state"], told["message"], told["text"]) == ("finished", "demo is loaded.", "")
    assert told["model"]["model"] == "demo"
    assert told["error"] is None


def test_what_it_does_meanwhile_is_read_and_listed(port: Port) -> None:
    request = load_for_ever(port)
    job = port.accepted(request)
    port.wait(lambda message: message.get("id") == request and message["type"] == "progress")
    told = read(port, job, wait_ms=5000)
    assert (told["state"], told["model"], told["tokens"], told["phase"]) == ("queued", "stuck", 0, "starting")
    assert told["message"] == "Starting a worker for stuck."
    assert told["cursor"] == 1
    again = read(port, job, cursor=1, wait_ms=100)
    assert again["cursor"] == 1
    one = listed(port, job)
    assert (one["action"], one["state"], one["model"], one["tokens"]) == ("load", "queued", "stuck", 0)


def test_it_goes_on_without_its_port_and_another_port_attaches(host: BrowserHost, port: Port) -> None:
    with host.port() as lost:
        job = lost.accepted(load_for_ever(lost))
    attached = port.ask("attach", job_id=job)
    first = port.wait(lambda message: message.get("id") == attached)
    assert (first["type"], first["action"], first["job_id"]) == ("progress", "attach", job)
    port.call("unload", model="stuck")
    result = port.result(attached)
    assert (result["status"], result["error"]["code"], result["job_id"]) == ("error", "cancelled", job)
    told = read(port, job)
    assert (told["state"], told["error"]["code"], told["message"]) == ("failed", "cancelled", result["message"])


def test_what_fails_is_told_by_its_result_and_can_be_read(port: Port) -> None:
    request = port.ask("load", model="/no/such.gguf", background=True)
    result = port.result(request)
    assert (result["status"], result["error"]["code"]) == ("error", "model_not_found")
    told = read(port, port.accepted(request))
    assert told["state"] == "failed"
    assert (told["error"], told["message"]) == (result["error"], result["message"])


def test_a_request_that_is_wrong_becomes_no_job(port: Port) -> None:
    before = len(port.call("list_jobs")["jobs"])
    for fields in ({"background": True, "model": 7}, {"background": "yes", "model": "echo"}):
        request = port.ask("load", **fields)
        assert port.result(request)["error"]["code"] == "invalid_request"
        assert len(port.of(request)) == 1
    assert port.call("nonsense", background=True)["error"]["code"] == "unknown_action"
    assert port.call("ping", background=0)["error"]["details"]["fields"] == ["background: must be true or false"]
    assert len(port.call("list_jobs")["jobs"]) == before


def test_requests_begin_in_their_order_in_the_background_too(port: Port) -> None:
    """The second would be refused with `no_active_backend` if it began first."""
    for _ in range(10):
        port.ask("load", model="echo", background=True)
        answer = port.ask("generate", prompt="a b", background=True)
        assert port.result(answer)["text"] == "a b"
        port.call("unload", all=True)


def test_it_is_stopped_by_its_job_alone_and_a_load_ends_with_it(port: Port) -> None:
    request = load_for_ever(port)
    job = port.accepted(request)
    port.wait(lambda message: message.get("id") == request and message["type"] == "progress")
    assert port.call("stop_generation")["stopped_jobs"] == []
    assert port.call("stop_generation", model="stuck")["stopped_jobs"] == []
    stopped = port.call("stop_generation", job_id=job)
    assert (stopped["stopped_jobs"], stopped["stopped_backends"]) == ([job], [])
    assert stopped["message"] == "Stopped 1 job."
    result = port.result(request)
    assert (result["error"]["code"], result["message"]) == ("cancelled", "This load was stopped before it was done.")
    assert (read(port, job)["state"], read(port, job)["message"]) == ("cancelled", result["message"])
    assert port.call("get_state")["models"] == []
    assert port.call("stop_generation", job_id=job)["stopped_jobs"] == []


@pytest.mark.parametrize(("action", "fields"), [("unload", {"model": "slow"}), ("stop_generation", {"model": "slow"})])
def test_what_goes_on_whoever_stops_it_says_so_and_is_not_cancelled(port: Port, action: str, fields: Json) -> None:
    port.call("load", model="slow", backend="echo", options={"fault": "hang@1"})
    generation = port.ask("generate", model="slow", prompt="a b c")
    port.wait(lambda message: message.get("id") == generation and message["type"] == "partial")
    request = port.ask(action, background=True, **fields)
    job = port.accepted(request)
    stopped = port.call("stop_generation", job_id=job)
    assert (stopped["status"], stopped["stopped_jobs"], stopped["stopped_backends"]) == ("success", [], [])
    assert stopped["message"] == f"Nothing was stopped: {action} goes on to its end once it has begun."
    assert port.result(request)["status"] == "success"
    assert read(port, job)["state"] == "finished"
    assert port.result(generation)["status"] == ("error" if action == "unload" else "success")


def test_a_load_that_somebody_else_waits_for_goes_on_when_it_is_stopped(port: Port) -> None:
    job = port.accepted(load_for_ever(port))
    other = load_for_ever(port, background=False)
    port.wait(lambda message: message.get("id") == other and message["type"] == "progress")
    assert port.call("stop_generation", job_id=job)["stopped_jobs"] == [job]
    assert [model["state"] for model in port.call("get_state")["models"]] == ["loading"]
    port.call("unload", model="stuck")
    assert port.result(other)["message"] == "stuck was unloaded while it loaded."


def test_what_waits_for_a_load_is_stopped_and_the_load_goes_on(port: Port) -> None:
    port.accepted(load_for_ever(port))
    request = port.ask("count_tokens", model="stuck", prompt="a", background=True)
    assert port.call("stop_generation", job_id=port.accepted(request))["message"] == "Stopped 1 job."
    assert port.result(request)["message"] == "This count_tokens was stopped before it was done."
    assert [model["state"] for model in port.call("get_state")["models"]] == ["loading"]


def test_a_model_can_be_unloaded_in_the_background_while_it_loads_there(port: Port) -> None:
    load = load_for_ever(port)
    port.accepted(load)
    assert port.result(port.ask("unload", model="stuck", background=True))["unloaded"] == ["stuck"]
    assert port.result(load)["error"]["code"] == "cancelled"


def test_a_job_of_another_origin_is_not_found(host: BrowserHost, port: Port) -> None:
    job = port.accepted(load_for_ever(port))
    with host.port(OTHER_ORIGIN) as other:
        for action in ("attach", "read_job", "stop_generation"):
            assert other.call(action, job_id=job)["error"]["code"] == "job_not_found"
        assert other.call("list_jobs")["jobs"] == []


def test_one_that_is_over_can_be_read_for_its_time_and_no_longer(port: Port) -> None:
    job = port.accepted(port.ask("ping", background=True))
    assert read(port, job)["response"] == "pong"
    wait_until("the job's going", lambda: not listed(port, job), FINISHED_TTL_S + 5)
    assert read(port, job)["error"]["code"] == "job_not_found"


def test_the_newest_of_those_that_are_over_are_kept(port: Port) -> None:
    asked = [port.ask("get_state", background=True) for _ in range(MAX_KEPT + 5)]
    jobs = [port.result(request)["job_id"] for request in asked]
    kept = {one["job_id"] for one in port.call("list_jobs")["jobs"] if one["action"] == "get_state"}
    assert kept == set(jobs[5:])


def test_without_stream_its_progress_can_be_read_all_the_same(port: Port) -> None:
    request = load_for_ever(port, stream=False)
    job = port.accepted(request)
    wait_until("progress", lambda: read(port, job)["phase"] == "starting", 5)
    attached = port.ask("attach", job_id=job)
    assert port.wait(lambda message: message.get("id") == attached)["type"] == "progress"
    assert [message["type"] for message in port.of(request)] == ["accepted"]


def test_a_load_that_it_only_found_goes_on_when_it_is_stopped(host: BrowserHost, port: Port) -> None:
    with host.port() as lost:
        lost.ask("load", model="stuck", backend="echo", options={"fault": "hang@load"}, stream=True)
        lost.wait(lambda message: message["type"] == "progress")
    job = port.accepted(load_for_ever(port))
    assert port.call("stop_generation", job_id=job)["stopped_jobs"] == [job]
    assert [model["state"] for model in port.call("get_state")["models"]] == ["loading"]


def test_how_it_ended_can_be_read_though_nothing_else_keeps_the_daemon() -> None:
    with BrowserHost("[daemon]\nidle_exit_s = 0.1\n") as host:
        job = host.one_shot({"action": "load", "model": "/no/such.gguf", "background": True})["job_id"]
        daemon = psutil.Process(host.daemon_pid)
        time.sleep(1)
        told = host.one_shot({"action": "read_job", "job_id": job})
        assert (told["state"], told["error"]["code"]) == ("failed", "model_not_found")
        wait_until("the daemon's end once that is read", lambda: not is_alive(daemon), 10)


def test_two_jobs_of_one_load_end_it_together(port: Port) -> None:
    jobs = [port.accepted(load_for_ever(port)) for _ in range(2)]
    assert port.call("stop_generation", job_id=jobs[0])["stopped_jobs"] == jobs[:1]
    assert [model["state"] for model in port.call("get_state")["models"]] == ["loading"]
    port.call("stop_generation", job_id=jobs[1])
    assert port.call("get_state")["models"] == []


@pytest.mark.parametrize("action", ["ping", "list_models"])
def test_a_port_that_has_heard_how_it_ended_keeps_the_daemon_no_longer(action: str) -> None:
    with BrowserHost("[daemon]\nidle_exit_s = 0.1\n") as host:
        with host.port() as port:
            port.call("ping")
            daemon = psutil.Process(host.daemon_pid)
            port.result(port.ask(action, background=True))
        wait_until("the daemon's end", lambda: not is_alive(daemon), 10)


def test_a_generation_of_which_a_one_shot_heard_the_job_alone_can_be_read_though_idle() -> None:
    with BrowserHost("[daemon]\nidle_exit_s = 0.1\n") as host:
        host.one_shot({"action": "load", "model": "echo", "options": {"keep_alive_s": 0.1}})
        job = host.one_shot({"action": "generate", "model": "echo", "prompt": "a b"})["job_id"]
        time.sleep(1)
        assert host.one_shot({"action": "read_job", "job_id": job})["text"] == "a b"


def test_a_daemon_that_is_stopped_ends_it_with_an_error() -> None:
    with BrowserHost(env={ENVIRONMENT_VARIABLE: "1"}) as host, host.port() as port:
        request = load_for_ever(port)
        port.accepted(request)
        host.stop_daemon()
        assert port.result(request)["error"]["code"] == "cancelled"


def begin(table: ActionJobs, over: asyncio.Event, fields: Fact) -> ActionJob:
    """A job of one origin that is over when `over` is set."""

    async def work(job: ActionJob) -> None:
        await over.wait()
        await job.send(Success(job.job_id, job.action, fields))

    return table.begin("x", "embed", None, work)


async def end(job: ActionJob, over: asyncio.Event) -> None:
    over.set()
    await job.over.wait()
    await asyncio.sleep(0)


def vectors(count: int) -> Embedded:
    return Embedded(embeddings=[(0.0,)] * count, dimensions=1, input_tokens=1, truncated=[])


def test_one_that_ends_last_is_kept_however_early_it_began() -> None:
    async def play() -> None:
        table, last, others = ActionJobs(60, lambda: None), asyncio.Event(), asyncio.Event()
        first = begin(table, last, vectors(1))
        rest = [begin(table, others, vectors(1)) for _ in range(MAX_KEPT)]
        await end(rest[-1], others)
        await end(first, last)
        assert table.find(first.job_id, "x") is first
        assert table.find(rest[0].job_id, "x") is None
        assert len(table.of_origin("x")) == MAX_KEPT

    asyncio.run(play())


def test_large_results_are_forgotten_sooner_and_their_memory_is_given_back() -> None:
    async def play() -> None:
        table, over = ActionJobs(60, lambda: None), asyncio.Event()
        large = vectors(background.MAX_KEPT_BYTES // 32)
        over.set()
        first = begin(table, over, large)
        await end(first, over)
        assert table.find(first.job_id, "x") is first
        second = begin(table, over, vectors(1))
        await end(second, over)
        assert table.of_origin("x") == [second]
        gone = weakref.ref(first)
        del first
        gc.collect()
        assert gone() is None

    asyncio.run(play())


def test_an_origin_has_only_so_many_at_once() -> None:
    async def play() -> None:
        table, over = ActionJobs(60, lambda: None), asyncio.Event()
        jobs = [begin(table, over, vectors(1)) for _ in range(MAX_RUNNING)]
        with pytest.raises(HostError, match="256 requests go on in the background") as refused:
            begin(table, over, vectors(1))
        assert refused.value.code == "busy"
        await end(jobs[-1], over)
        assert begin(table, over, vectors(1)).is_over is False
        await table.close()

    asyncio.run(play())


def test_a_host_that_is_being_stopped_begins_nothing(tmp_path: Path) -> None:
    async def play() -> None:
        host = Host(Config(), Paths(tmp_path, tmp_path, tmp_path))
        await host.close()
        for fields in ({}, {"background": True}):
            client = LastReply("x")
            await dispatch(host, client, {"action": "load", "model": "echo", **fields}, 0.0, asyncio.Event())
            with pytest.raises(HttpError, match="The host is being stopped"):
                client.result()
        assert host.models.all() == []

    asyncio.run(play())
