"""GET /metrics after known generations, read by prometheus-client's own parser."""

from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from support.host_process import Port
from support.http_host import HttpHost

ECHO = {"backend": "ECHO", "model": "echo"}
OPTIONS = {"tokens_per_second": 50, "prefill_ms": 60, "context_length": 1000}
LONG = {"prompt": "word " * 500, "settings": {"max_tokens": 500}}
OUTCOMES = ("success", "error", "cancelled")


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost("--no-token") as made:
        yield made


@pytest.fixture
def port(host: HttpHost) -> Iterator[Port]:
    with host.port() as opened:
        assert opened.call("load", model="echo", options=OPTIONS)["status"] == "success"
        yield opened


def scrape(host: HttpHost) -> dict[str, float]:
    """Each sample's value by its name and labels."""
    with host.client() as client:
        answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    found = {key(sample.name, sample.labels): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def key(name: str, labels: dict[str, str]) -> str:
    """A sample's name and labels as one text."""
    return name + "".join(f" {label}={value}" for label, value in sorted(labels.items()))


def histogram(values: dict[str, float], name: str) -> dict[str, float]:
    """The counts by upper bound; they rise, and the last is the histogram's count."""
    found = {
        sample.split(" le=")[1].split(" ")[0]: count
        for sample, count in values.items()
        if sample.startswith(f"{name}_bucket backend=ECHO le=")
    }
    assert list(found.values()) == sorted(found.values())
    assert found["+Inf"] == values[key(f"{name}_count", ECHO)]
    return found


def begin(port: Port) -> str:
    """Begin a generation of ten seconds, and wait for its first token."""
    request = port.ask("generate", **LONG)
    port.wait(lambda message: message.get("id") == request and message["type"] == "partial")
    return request


def test_before_anything_has_run_there_are_gauges_and_no_generations() -> None:
    with HttpHost("--no-token") as fresh:
        values = scrape(fresh)
    assert values[key("tabagent_running_jobs", {"state": "queued"})] == 0
    assert values["process_resident_memory_bytes"] > 1e6
    assert not [name for name in values if name.startswith("tabagent_generations_total")]


def test_known_generations_are_in_every_counter_and_histogram(host: HttpHost, port: Port) -> None:
    done = [port.call("generate", prompt="one two three four", stream=False)["stats"] for _ in range(3)]
    assert port.call("generate", prompt="word " * 2000)["error"]["code"] == "context_overflow"
    values = scrape(host)
    outcomes = {name: values[key("tabagent_generations_total", {**ECHO, "outcome": name})] for name in OUTCOMES}
    assert outcomes == {"success": 3, "error": 1, "cancelled": 0}
    assert values[key("tabagent_input_tokens_total", ECHO)] == 12
    assert values[key("tabagent_output_tokens_total", ECHO)] == 12
    first = histogram(values, "tabagent_time_to_first_token_seconds")
    assert (first["0.05"], first["+Inf"]) == (0, 3)
    total_s = values[key("tabagent_time_to_first_token_seconds_sum", ECHO)]
    assert total_s == pytest.approx(sum(stats["time_to_first_token"] for stats in done) / 1000)
    rates = histogram(values, "tabagent_tokens_per_second")
    assert (rates["20.0"], rates["100.0"], rates["+Inf"]) == (0, 3, 3)
    total_rate = values[key("tabagent_tokens_per_second_sum", ECHO)]
    assert total_rate == pytest.approx(sum(stats["tokens_per_second"] for stats in done))
    gaps = histogram(values, "tabagent_inter_token_seconds")
    assert (gaps["0.005"], gaps["+Inf"]) == (0, 9)
    assert values[key("tabagent_inter_token_seconds_sum", ECHO)] / 9 == pytest.approx(0.02, rel=0.3)
    assert histogram(values, "tabagent_queue_seconds")["+Inf"] == 4


def test_what_waited_is_in_the_queue_times_and_what_was_stopped_is_cancelled(host: HttpHost, port: Port) -> None:
    before = scrape(host)
    first = begin(port)
    second = port.ask("generate", prompt="one", stream=False)
    port.call("ping")
    running = scrape(host)
    states = [running[key("tabagent_running_jobs", {"state": state})] for state in ("queued", "prefill", "decode")]
    assert states == [1, 0, 1]
    port.call("stop_generation", job_id=port.accepted(first))
    assert port.result(second)["status"] == "success"
    after = scrape(host)
    waited_s = after[key("tabagent_queue_seconds_sum", ECHO)] - before.get(key("tabagent_queue_seconds_sum", ECHO), 0)
    assert waited_s > 0.005
    assert after[key("tabagent_generations_total", {**ECHO, "outcome": "cancelled"})] == 1
    assert sum(value for name, value in after.items() if name.startswith("tabagent_running_jobs")) == 0


def test_the_memory_of_a_loaded_model_is_a_gauge_that_goes_with_it(host: HttpHost, port: Port) -> None:
    gauge = key("tabagent_model_resident_memory_bytes", ECHO)
    resident = port.call("get_state")["models"][0]["resident_bytes"]
    assert scrape(host)[gauge] == pytest.approx(resident, rel=0.2)
    port.call("unload", model="echo")
    assert gauge not in scrape(host)


def test_a_scraper_that_asks_for_openmetrics_gets_it(host: HttpHost) -> None:
    with host.client() as client:
        answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = parse_openmetrics(answer.text)  # type: ignore[no-untyped-call]
    assert {"tabagent_running_jobs", "tabagent_host"} <= {family.name for family in families}


def test_metrics_need_the_token() -> None:
    with HttpHost() as closed, closed.client() as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": f"Bearer {closed.token}"}).status_code == 200
