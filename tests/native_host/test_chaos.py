"""Many clients that do everything at once, with models that crash, hang and expire: each request has one result.

What is asked is drawn from a seed, so that a failure can be played again; how it falls out in time is not.
"""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.host_process import BrowserHost, Json, Port

CONFIG = """
[worker]
stop_timeout_s = 0.3
[daemon]
queue_limit = 3
orphan_grace_s = 0.3
finished_job_ttl_s = 2
[models]
max_loaded = 2
"""
CLIENTS, REQUESTS = 4, 60
FAULTS = ("segfault@3", "kill@0", "exit@1", "raise@2", "print@1", "hang@4", "segfault@load")
LOADS: tuple[Json, ...] = (
    *({}, {"tokens_per_second": 200}, {"prefill_ms": 100}, {"keep_alive_s": 0}, {"keep_alive_s": 0.05}),
    *({"fault": fault} for fault in FAULTS),
)


def draw(random_: random.Random, jobs: list[str]) -> Json:
    """A request."""
    model = random_.choice("abc")
    job = {"job_id": random_.choice(jobs)} if jobs else {"job_id": "none"}
    choices: list[tuple[int, Json]] = [
        (6, {"action": "load", "model": model, "backend": "echo", "options": random_.choice(LOADS)}),
        (
            10,
            {
                "action": "generate",
                "model": model,
                "prompt": "w " * random_.choice((1, 5, 50, 500)),
                "stream": random_.random() < 0.7,
                "thinking_update_interval": random_.choice((0.05, 1)),
            },
        ),
        (3, {"action": "stop_generation"}),
        (2, {"action": "unload", "model": model}),
        (1, {"action": "unload", "all": True}),
        (2, {"action": "attach", **job}),
        (2, {"action": "read_job", "wait_ms": 50, **job}),
        (1, {"action": "count_tokens", "model": model, "prompt": "a b"}),
        (1, {"action": "update_settings", "settings": {"max_tokens": random_.choice((1, 100, 2000))}}),
        (1, {"action": "get_stats"}),
        (1, {"action": "get_state"}),
    ]
    request = random_.choices([request for _, request in choices], [weight for weight, _ in choices])[0]
    return {**request, "background": random_.random() < 0.1}


def play(host: BrowserHost, seed: int) -> list[Json]:
    """One client's requests, some of them from a port that it then loses; what they came to."""
    random_, results = random.Random(seed), []
    for requests in (REQUESTS // 3, 2 * REQUESTS // 3):
        with host.port() as port:
            asked = []
            for _ in range(requests):
                jobs = [one.message["job_id"] for one in list(port.arrivals) if one.message["type"] == "accepted"]
                fields = draw(random_, jobs)
                asked.append(port.ask(fields.pop("action"), **fields))
                if random_.random() < 0.3:
                    port.call("ping")
            port.ask("unload", all=True)  # an engine that hangs does so until somebody ends it
            if requests > REQUESTS // 2:
                results = [check(port, request) for request in asked]
    return results


def check(port: Port, request: str) -> Json:
    """The one result of a request, which agrees with what was streamed before it."""
    result = port.result(request, 60)
    assert len(port.of(request, "result")) == 1
    partials = port.of(request, "partial")
    if partials and result["action"] == "generate":
        assert [partial["seq"] for partial in partials] == list(range(len(partials)))
        assert "".join(partial["text"] for partial in partials) == result["text"]
    return result


@pytest.mark.parametrize("seed", [1, 2])
def test_each_request_has_one_result_whatever_happens_at_the_same_time(seed: int) -> None:
    with BrowserHost(CONFIG, env={"TABAGENT_TEST_FAULTS": "1"}) as host:
        with ThreadPoolExecutor(CLIENTS) as pool:
            played = list(pool.map(lambda client: play(host, 100 * seed + client), range(CLIENTS)))
        results = [result for client in played for result in client]
        bugs = [one for one in results if one["status"] == "error" and one["error"]["code"] == "internal"]
        assert [bug for bug in bugs if "RuntimeError" not in bug["message"]] == []
        assert sum(one["status"] == "success" for one in results) > len(results) / 4
        with host.port() as port:
            port.call("unload", all=True)
            assert port.call("get_state")["models"] == []
        assert [one for one in host.processes() if "backends.worker" in one.cmdline()] == []
        assert "Task exception was never retrieved" not in host.log
        assert "Fatal error" not in host.log
