"""Signs of life, held against PROTOCOL.md section 5: how often they come under load, what they say, what they leave."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from support.host_process import OTHER_ORIGIN, Arrival, BrowserHost, Json, Port
from support.tiny_gguf import write_tiny

INTERVAL_S = 3.0
"""The shortest of the usual ones: a machine that stands still for 50 ms has not missed it by 5 %."""

WITHIN = 0.05
UPDATES = 4
WORDING = re.compile(r"\((\d+) tokens,\s*([\d.]+) tps\)")
READING = re.compile(r"Reading prompt\.\.\. \((\d+) of (\d+) tokens\)")


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost() as made:
        yield made


@pytest.fixture
def port(host: BrowserHost) -> Iterator[Port]:
    with host.port() as opened:
        yield opened
        opened.call("unload", all=True)


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model for llama.cpp that writes until it is stopped, for many seconds."""
    return str(write_tiny(tmp_path_factory.mktemp("gguf") / "endless.gguf", layers=12, context=32_768))


def words(count: int) -> str:
    return " ".join(f"w{number}" for number in range(count))


def load(port: Port, name: str, **options: object) -> str:
    backend = "auto" if Path(name).is_absolute() else "echo"
    answer = port.call("load", model=name, backend=backend, options=options)
    assert answer["status"] == "success", answer
    return name


def updates_of(port: Port, request: str, count: int) -> list[Arrival]:
    def is_update(message: Json) -> bool:
        return message.get("id") == request and message["type"] == "thinking_update"

    return port.wait_count(is_update, count, timeout=60)


def require_interval(updates: list[Arrival], interval: float) -> None:
    gaps = [later.at - earlier.at for earlier, later in pairwise(updates)]
    assert gaps == [pytest.approx(interval, rel=WITHIN)] * len(gaps)


def require_no_count_goes_back(port: Port, request: str) -> None:
    counts = [message["tokens"] for message in port.of(request) if message["type"] in ("partial", "thinking_update")]
    assert counts == sorted(counts)


def test_updates_of_the_echo_keep_their_interval_while_other_generations_run(host: BrowserHost, port: Port) -> None:
    load(port, "watched", tokens_per_second=300)
    load(port, "busy", tokens_per_second=5000)
    with host.port(OTHER_ORIGIN) as other:
        other.ask("generate", model="busy", prompt=words(100_000), settings={"max_tokens": 100_000})
        waiting = port.ask("generate", model="busy", prompt="x", thinking_update_interval=0.05)
        request = port.ask(
            "generate",
            model="watched",
            prompt=words(5000),
            settings={"max_tokens": 5000},
            thinking_update_interval=INTERVAL_S,
        )
        updates = updates_of(port, request, UPDATES)
        other.call("stop_generation")
    port.call("stop_generation")
    require_interval(updates, INTERVAL_S)
    require_no_count_goes_back(port, request)
    assert port.of(waiting, "thinking_update")[0]["phase"] == "queued"


@pytest.mark.slow
def test_updates_of_a_real_engine_keep_their_interval_while_another_stream_runs(port: Port, endless: str) -> None:
    load(port, endless, threads=1, context_length=32_768)
    load(port, "busy", tokens_per_second=2000)
    busy = port.ask("generate", model="busy", prompt=words(100_000), settings={"max_tokens": 100_000})
    settings = {"max_tokens": 30_000, "temperature": 0, "thinking_update_interval": INTERVAL_S}
    request = port.ask("generate", model=endless, prompt=words(50), settings=settings)
    updates = updates_of(port, request, UPDATES)
    port.call("stop_generation")
    require_interval(updates, INTERVAL_S)
    require_no_count_goes_back(port, request)
    assert len(port.of(busy, "partial")) > 100
    for update in updates:
        match = WORDING.search(update.message["thinking"])
        assert match, update
        assert (int(match[1]), float(match[2])) == (update.message["tokens"], update.message["tokens_per_second"])
        assert update.message["phase"] == "decode"
        assert update.message["memory_bytes"] > 10_000_000


def test_a_real_engine_says_how_much_of_a_long_prompt_it_has_read(port: Port, endless: str) -> None:
    load(port, endless, threads=1, context_length=32_768)
    prompt = words(500)
    total = port.call("count_tokens", model=endless, prompt=prompt)["tokens"]
    settings = {"max_tokens": 1, "thinking_update_interval": 0.05}
    request = port.ask("generate", model=endless, prompt=prompt, settings=settings)
    result = port.result(request, timeout=60)
    assert result["status"] == "success", result
    reading = [update for update in port.of(request, "thinking_update") if update["phase"] == "prefill"]
    matches = [READING.fullmatch(update["thinking"]) for update in reading]
    done = [int(match[1]) for match in matches if match]
    assert len(done) >= 3
    assert done == sorted(done)
    assert done[-1] > done[0]
    assert {int(match[2]) for match in matches if match} == {total}
    assert any(update["eta_ms"] for update in reading)


def test_the_text_is_byte_for_byte_that_of_the_same_request_without_updates(port: Port, endless: str) -> None:
    texts = {}
    for interval in (0, 0.05):
        load(port, endless, context_length=4096)
        settings = {"max_tokens": 600, "temperature": 0.8, "seed": 7, "thinking_update_interval": interval}
        request = port.ask("generate", model=endless, prompt=words(20), settings=settings)
        result = port.result(request, timeout=60)
        assert bool(port.of(request, "thinking_update")) is (interval > 0)
        assert "".join(partial["text"] for partial in port.of(request, "partial")) == result["text"]
        texts[interval] = result["text"].encode()
        port.call("unload", model=endless)  # so that neither finds the other's prompt in the cache
    assert len(texts[0]) > 500
    assert texts[0] == texts[0.05]


def test_the_interval_may_be_told_beside_the_settings_in_them_and_for_later(port: Port) -> None:
    load(port, "echo", prefill_ms=800)

    def count(**fields: object) -> int:
        request = port.ask("generate", model="echo", prompt="a b", **fields)
        port.result(request)
        return len(port.of(request, "thinking_update"))

    assert port.call("update_settings", settings={"temperature": 0})["settings"]["thinking_update_interval"] == 5.0
    assert count() == 0
    assert count(thinking_update_interval=0.1) >= 3
    assert count(settings={"thinking_update_interval": 0.1}) >= 3
    assert count(settings={"thinking_update_interval": 0.1}, thinking_update_interval=0) == 0
    updated = port.call("update_settings", settings={"thinking_update_interval": 0.1})
    assert updated["settings"]["thinking_update_interval"] == 0.1
    assert count() >= 3
    assert count(thinking_update_interval=0) == 0
    assert port.call("update_settings", settings={"thinking_update_interval": 5})["status"] == "success"


@pytest.mark.parametrize("interval", [3, 10, 0, 3600, 2.5])
def test_common_intervals_are_taken(port: Port, interval: float) -> None:
    load(port, "echo")
    assert port.call("generate", model="echo", prompt="a", thinking_update_interval=interval)["text"] == "a"


@pytest.mark.parametrize("interval", [-1, 3601, "5", True])
def test_an_interval_that_is_none_is_refused_by_name(port: Port, interval: object) -> None:
    load(port, "echo")
    answer = port.call("generate", model="echo", prompt="a", thinking_update_interval=interval)
    assert answer["error"]["code"] == "invalid_request"
    assert answer["error"]["details"]["fields"][0].startswith("thinking_update_interval: must be")
