"""The dashboard in a real Chromium, served by a real daemon: what it shows, and what its buttons do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browsers import axe
from support.browsers.chromium import Chromium, ChromiumPage
from support.browsers.sandbox import Sandbox
from support.browsers.waiting import wait_until
from support.host_process import Json, Port
from support.http_host import HttpHost
from support.tiny_gguf import write_tiny

CONNECTED = "document.querySelector('#connection-text')?.textContent === 'Connected'"
LOAD_S = 60.0
UNKNOWN = "-"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Sandbox() as sandbox:
        made = Chromium(sandbox)
        yield made
        made.close()


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost("--no-token") as made:
        yield made


@pytest.fixture
def port(host: HttpHost) -> Iterator[Port]:
    """A browser extension's port to the same daemon; what is loaded is unloaded at the end."""
    with host.port() as made:
        yield made
        made.call("unload", all=True)


@pytest.fixture
def page(browser: Chromium, host: HttpHost) -> Iterator[ChromiumPage]:
    made = browser.open(f"{host.url}/", CONNECTED)
    yield made
    made.close()


def shown(page: ChromiumPage, selector: str) -> str:
    """The text of an element, as far as a person sees it."""
    found = f"document.querySelector({json.dumps(selector)})"
    return str(page.evaluate(f"{found}?.checkVisibility() ? {found}.innerText : ''"))


def wait_shown(page: ChromiumPage, selector: str, pattern: str, timeout_s: float = 20.0) -> str:
    """Wait until a person sees an element whose text matches; return the text."""
    found = f"document.querySelector({json.dumps(selector)})"
    page.wait_for(f"{found}?.checkVisibility() && new RegExp({json.dumps(pattern)}).test({found}.innerText)", timeout_s)
    return shown(page, selector)


def put(page: ChromiumPage, selector: str, text: str) -> None:
    """Type into a field that had something in it or not."""
    page.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
    page.evaluate(f"document.querySelector({json.dumps(selector)}).select?.()")
    page.type_text(text)


def get(host: HttpHost, path: str) -> Json:
    """An answer of the API."""
    with host.client() as client:
        answer: Json = client.get(f"/api/v1{path}").json()
        return answer


def load_echo(port: Port, model: str = "echo", **options: object) -> None:
    """Load the echo at a pace."""
    result = port.call("load", model=model, backend="echo", options={"tokens_per_second": 200.0, **options})
    assert result["status"] == "success", result


def table_rows(page: ChromiumPage) -> dict[str, list[str]]:
    """The percentiles as the page shows them, by backend."""
    rows = "[...document.querySelectorAll('#percentile-rows tr')]"
    rows = page.evaluate(f"{rows}.map((row) => [...row.cells].map((cell) => cell.innerText))")
    return {row[0]: row[1:] for row in rows}


def rate(value: float | None) -> str:
    """Tokens a second, as the page writes them."""
    return UNKNOWN if value is None else f"{value:,.{0 if value >= 1000 else 1}f}"


def time_ms(value: float | None) -> str:
    """Milliseconds, as the page writes them."""
    return UNKNOWN if value is None else f"{value:,.{1 if value < 10 else 0}f}"


def test_the_numbers_are_those_of_the_api_after_known_generations(
    page: ChromiumPage, host: HttpHost, port: Port
) -> None:
    load_echo(port, prefill_ms=50)
    for count in (4, 8, 16):
        words = " ".join(["word"] * count)
        assert port.call("generate", prompt=words, model="echo", stream=False)["stats"]["output_tokens"] == count
    assert port.call("load", model="demo", timeout=LOAD_S)["status"] == "success"
    said = port.call("generate", messages=[{"role": "user", "content": "What are you?"}], model="demo", stream=False)
    page.wait_for("document.querySelectorAll('#percentile-rows tr').length === 2", LOAD_S)

    by_backend = get(host, "/stats/grouped?by=backend")["groups"]
    assert by_backend["ECHO"]["count"] == 3
    assert by_backend["ECHO"]["output_tokens"] == 28
    assert table_rows(page) == {backend: cells_of(aggregate) for backend, aggregate in by_backend.items()}
    figures = said["stats"]
    wait_shown(page, "#tile-speed", f"^{rate(figures['tokens_per_second'])} tokens/s$")
    assert shown(page, "#tile-first") == f"{time_ms(figures['time_to_first_token'])} ms"
    assert shown(page, "#tile-tokens") == f"{figures['output_tokens']} out"
    assert shown(page, "#tile-tokens-note").startswith(f"{figures['input_tokens']} in")
    assert "LLAMA_CPP_CPU p50" in page.evaluate("document.querySelector('#speed-chart').ariaLabel")
    assert page.evaluate("document.querySelectorAll('.chart canvas').length") >= 2


def cells_of(aggregate: Json) -> list[str]:
    """An aggregate as a row of the page's table."""
    speeds, firsts = aggregate["tokens_per_second"], aggregate["time_to_first_token"]
    names = ("p50", "p95", "p99")
    return [str(aggregate["count"]), *(rate(speeds[n]) for n in names), *(time_ms(firsts[n]) for n in names)]


def test_every_generation_can_be_saved_as_csv(
    page: ChromiumPage, browser: Chromium, port: Port, tmp_path: Path
) -> None:
    load_echo(port)
    port.call("generate", prompt="a few words", model="echo", stream=False)
    browser.command("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    wait_shown(page, "#export", "CSV")
    page.click("#export")
    file = tmp_path / "tabagent-stats.csv"
    wait_until("the file", lambda: file.is_file() and "ECHO" in file.read_text(encoding="utf-8"))
    assert file.read_text(encoding="utf-8").startswith("time,origin,backend,model")
    assert shown(page, "#speed-problem") == ""


def test_what_another_program_loads_is_shown_with_device_and_memory(page: ChromiumPage, port: Port) -> None:
    assert port.call("load", model="demo", timeout=LOAD_S)["status"] == "success"
    row = wait_shown(page, "#models .row", r"runs on\s+LLAMA")
    assert re.search(r"runs on\s+LLAMA_CPP_CPU", row)
    assert re.search(r"device\s+\w+", row)
    assert re.search(r"memory\s+[\d.]+ MB", row)
    assert re.search(r"unloads in\s+1[45] min", row)


def test_the_stop_button_stops_a_generation_of_another_caller(page: ChromiumPage, port: Port) -> None:
    load_echo(port, tokens_per_second=20.0)
    asked = port.ask("generate", prompt=" ".join(["word"] * 1000), model="echo")
    live = wait_shown(page, "#jobs .live", r"[1-9]\d* tokens, [\d.]+ tokens/s")
    speed = re.search(r"([\d.]+) tokens/s", live)
    assert speed is not None
    assert 15 < float(speed[1]) < 25
    assert "asked by extension aaaaaaaa" in shown(page, "#jobs .row")
    page.click("#jobs button")
    assert port.result(asked)["finish_reason"] == "cancelled"
    wait_shown(page, "#jobs-empty", "Nothing is running")
    assert shown(page, "#jobs-problem") == ""


def test_one_token_is_told_as_one(page: ChromiumPage, port: Port) -> None:
    load_echo(port, tokens_per_second=0.2)
    port.ask("generate", prompt="word " * 3, model="echo")
    wait_shown(page, "#jobs .live", r"^1 token\b")


def test_a_prompt_that_is_read_shows_how_far_it_is(page: ChromiumPage, port: Port) -> None:
    load_echo(port, prefill_ms=30_000)
    asked = port.ask("generate", prompt="word " * 50, model="echo")
    wait_shown(page, "#jobs .row", r"reading the prompt")
    page.click("#jobs button")
    assert port.result(asked)["finish_reason"] == "cancelled"


def test_a_model_is_loaded_and_unloaded_with_the_keyboard_and_the_form(page: ChromiumPage, host: HttpHost) -> None:
    put(page, "#load-model", "echo")
    page.press("Enter")
    wait_shown(page, "#load-status", "echo is loaded")
    assert re.search(r"echo\s+ready", wait_shown(page, "#models .row", "ECHO"))
    assert [model["model"] for model in get(host, "/overview")["models"]] == ["echo"]
    page.click("#models button")
    wait_shown(page, "#models-empty", "No model is loaded")
    assert get(host, "/overview")["models"] == []


def test_the_load_button_keeps_the_focus(page: ChromiumPage, port: Port) -> None:
    put(page, "#load-model", "echo")
    page.evaluate("document.querySelector('#load > .actions > button').focus()")
    page.press("Enter")
    wait_shown(page, "#load-status", "echo is loaded")
    page.wait_for("document.activeElement.innerText === 'Load'")


def test_the_focus_stays_near_a_row_that_goes_away(page: ChromiumPage, port: Port) -> None:
    for model in ("one", "two"):
        load_echo(port, model=model, tokens_per_second=20.0)
    port.ask("generate", prompt="word " * 1000, model="two")
    wait_shown(page, "#jobs .live", "tokens/s")
    name = "document.activeElement.ariaLabel || document.activeElement.innerText"
    for row, nearest in (("#jobs", "Running now"), ("#models", "two ready"), ("#models", "Models")):
        page.evaluate(f"document.querySelector('{row} button').focus()")
        page.press("Enter")
        page.wait_for(f"({name}).startsWith('{nearest}')")
    assert shown(page, "#models-problem") == shown(page, "#jobs-problem") == ""


def test_an_enter_that_is_held_down_unloads_one_model(page: ChromiumPage, host: HttpHost, port: Port) -> None:
    for model in ("one", "two", "three"):
        load_echo(port, model=model)
    page.wait_for("document.querySelectorAll('#models > li').length === 3")
    _, *others = [model["model"] for model in get(host, "/overview")["models"]]
    page.evaluate("document.querySelector('#models button').focus()")
    page.hold_enter(2.0)
    page.wait_for("document.querySelectorAll('#models > li').length === 2")
    assert [model["model"] for model in get(host, "/overview")["models"]] == others
    assert page.evaluate("document.activeElement === document.querySelector('#models > li')")
    assert shown(page, "#models-problem") == ""


def test_everything_is_reached_by_the_tab_key(page: ChromiumPage, port: Port) -> None:
    load_echo(port, tokens_per_second=20.0)
    port.call("generate", prompt="a few words", model="echo", stream=False)
    port.ask("generate", prompt="word " * 1000, model="echo")
    wait_shown(page, "#jobs .live", "tokens/s")
    wait_shown(page, "#percentiles", "ECHO")
    page.evaluate("document.activeElement.blur()")
    name = "document.activeElement.ariaLabel || document.activeElement.id || document.activeElement.innerText"
    reached = set()
    for _ in range(60):
        page.press("Tab")
        reached.add(page.evaluate(name))
    wanted = {"load-model", "load-backend", "Load", "Unload echo", "Stop the generation of echo", "ECHO", "export"}
    assert wanted | {"setting-temperature", "Apply", "log-level", "The daemon's log"} <= reached


def test_the_options_of_the_form_reach_the_model(page: ChromiumPage, host: HttpHost) -> None:
    page.evaluate("document.querySelector('#load details').open = true")
    put(page, "#load-model", "echo")
    put(page, "#load-keep_alive_s", "100")
    page.click("#load button")
    wait_shown(page, "#models .row", r"unloads in\s+(1 min|9\d s|100 s)")
    page.click("#models button")
    wait_shown(page, "#models-empty", "No model is loaded")


def test_a_wrong_option_is_shown_also_when_the_options_are_closed(page: ChromiumPage, host: HttpHost) -> None:
    page.evaluate("document.querySelector('#load details').open = true")
    put(page, "#load-model", "echo")
    put(page, "#load-threads", "0")
    page.evaluate("document.querySelector('#load details').open = false")
    page.click("#load button")
    page.wait_for("document.activeElement.id === 'load-threads'")
    assert page.evaluate("document.querySelector('#load-threads').checkVisibility()")
    assert get(host, "/overview")["models"] == []


def test_a_generation_that_waits_does_not_hide_the_one_that_runs(page: ChromiumPage, port: Port) -> None:
    load_echo(port, tokens_per_second=20.0)
    for _ in range(2):
        port.ask("generate", prompt="word " * 1000, model="echo")
    wait_shown(page, "#jobs", "waiting for the model")
    wait_shown(page, "#tile-speed", r"^(19|20)\.\d tokens/s$")
    assert shown(page, "#tile-speed-note") == "running now"


def test_memory_is_in_the_units_of_the_terminal(page: ChromiumPage, host: HttpHost, port: Port) -> None:
    load_echo(port)

    def agree() -> bool:
        """Whether both tell one figure: a worker that has just begun still grows, and the page asks now and then."""
        told = re.search(r"memory\s+([\d.]+) MB", wait_shown(page, "#models .row", r"memory\s+[\d.]+ MB"))
        resident_bytes = get(host, "/overview")["models"][0]["resident_bytes"]
        return told is not None and float(told[1]) * 1e6 == pytest.approx(resident_bytes, rel=0.02)

    wait_until("the figure of the page and that of the API agree", agree)


def test_an_option_that_the_host_refuses_is_told_as_it_says_and_named_as_the_form_does(page: ChromiumPage) -> None:
    page.evaluate("document.querySelector('#load details').open = true")
    put(page, "#load-model", "demo")
    put(page, "#load-device", "toaster")
    page.click("#load button")
    assert wait_shown(page, "#load-problem", ".") == "There is no device 'toaster' here; there is cpu."
    put(page, "#load-device", "")
    put(page, "#load-gpu_layers", "5")
    page.click("#load button")
    page.wait_for("document.querySelector('#load-problem').textContent.startsWith('GPU layers is 5')")


def test_a_model_that_was_put_into_the_folder_is_offered_when_a_name_is_asked_for(
    page: ChromiumPage, host: HttpHost
) -> None:
    offered = "[...document.querySelectorAll('#known-models option')].some(({value}) => value.includes('newcomer'))"
    page.wait_for("document.querySelector('#known-models option')")
    folder = host.home.data_dir / "models"
    folder.mkdir(parents=True, exist_ok=True)
    model = write_tiny(folder / "newcomer.gguf")
    try:
        assert page.evaluate(offered) is False
        page.evaluate("document.querySelector('#load-model').focus()")
        page.wait_for(offered)
    finally:
        model.unlink()


def test_an_error_is_told_in_the_hosts_own_words(page: ChromiumPage) -> None:
    put(page, "#load-model", "no-such-model")
    page.click("#load button")
    assert "no-such-model" in wait_shown(page, "#load-problem", ".")
    assert shown(page, "#load-status") == ""


def test_settings_are_shown_changed_and_refused(page: ChromiumPage, host: HttpHost, port: Port) -> None:
    page.wait_for("document.querySelector('#setting-temperature').value === '0.7'")
    put(page, "#setting-temperature", "0.25")
    put(page, "#setting-stop", "END, STOP\n\\n\\n")
    page.click("#settings button[type=submit]")
    wait_shown(page, "#settings-problem", "Load a model first")
    load_echo(port)
    page.click("#settings button[type=submit]")
    wait_shown(page, "#settings-status", "In force")
    with host.client() as client:
        answer = client.get("/api/v1/params").json()
    in_force = answer.get("settings", answer)
    assert (in_force["temperature"], in_force["stop"]) == (0.25, ["END, STOP", "\n\n"])
    assert page.evaluate("document.querySelector('#setting-stop').value") == "END, STOP\n\\n\\n"
    put(page, "#setting-top_p", "0")
    page.click("#settings button[type=submit]")
    assert wait_shown(page, "#settings-problem", ".") == "Top p: must be > 0."
    page.click("#settings button[type=reset]")
    assert shown(page, "#settings-problem") == ""
    assert page.evaluate("document.querySelector('#setting-top_p').value") == "0.9"


def test_settings_that_a_program_changes_are_shown_and_what_is_being_typed_stays(
    page: ChromiumPage, host: HttpHost, port: Port
) -> None:
    load_echo(port)
    page.wait_for("document.querySelector('#setting-top_k').value === '40'")
    put(page, "#setting-seed", "5")
    with host.client() as client:
        client.post("/api/v1/params", json={"top_k": 7, "seed": 6})
        page.wait_for("document.querySelector('#setting-top_k').value === '7'")
        assert page.evaluate("document.querySelector('#setting-seed').value") == "5"
        page.click("#settings button[type=submit]")
        wait_shown(page, "#settings-status", "In force")
        in_force = client.get("/api/v1/params").json()["settings"]
        assert (in_force["seed"], in_force["top_k"]) == (5, 7)
        client.post("/api/v1/params", json={"top_k": None, "seed": None})


def test_settings_are_read_again_until_the_host_tells_them(page: ChromiumPage) -> None:
    page.command("Network.enable")
    page.command("Network.setBlockedURLs", {"urls": ["*/api/v1/params"]})
    page.command("Page.reload")
    assert "The settings cannot be read" in wait_shown(page, "#settings-unread", ".")
    put(page, "#setting-seed", "5")
    page.command("Network.disable")
    page.wait_for("document.querySelector('#setting-top_p').value === '0.9'")
    assert page.evaluate("document.querySelector('#setting-seed').value") == "5"
    assert shown(page, "#settings-unread") == ""


def test_what_is_typed_while_settings_are_applied_stays(page: ChromiumPage, port: Port) -> None:
    load_echo(port)
    page.wait_for("document.querySelector('#setting-top_k').value === '40'")
    put(page, "#setting-top_k", "3")
    type_seed = "document.querySelector('#setting-seed').value = '5'"
    page.evaluate(f"document.querySelector('#settings').requestSubmit(), {type_seed}")
    wait_shown(page, "#settings-status", "In force")
    assert page.evaluate("document.querySelector('#setting-seed').value") == "5"


def test_what_is_typed_stays_when_another_daemon_comes(browser: Chromium) -> None:
    with HttpHost("--no-token") as first, first.port() as port:
        load_echo(port)
        with first.client() as client:
            client.post("/api/v1/params", json={"top_k": 7})
        page = browser.open(f"{first.url}/", CONNECTED)
        page.wait_for("document.querySelector('#setting-top_k').value === '7'")
        put(page, "#setting-seed", "5")
    page.wait_for(f"!({CONNECTED})")
    with HttpHost("--no-token", http_port=first.http_port):
        page.wait_for("document.querySelector('#setting-top_k').value === '40'")
        assert page.evaluate("document.querySelector('#setting-seed').value") == "5"
        page.close()


def test_an_emptied_field_goes_back_to_its_default(page: ChromiumPage, host: HttpHost, port: Port) -> None:
    load_echo(port)
    with host.client() as client:
        client.post("/api/v1/params", json={"seed": 7, "top_k": 3})
        page.command("Page.reload")
        page.wait_for("document.querySelector('#setting-seed')?.value === '7'")
        for name in ("seed", "top_k"):
            page.evaluate(f"document.querySelector('#setting-{name}').value = ''")
        page.click("#settings button[type=submit]")
        wait_shown(page, "#settings-status", "In force")
        in_force = client.get("/api/v1/params").json()["settings"]
    assert (in_force["seed"], in_force["top_k"]) == (None, 40)
    assert page.evaluate("document.querySelector('#setting-top_k').value") == "40"


def test_a_load_shows_how_far_it_is(browser: Chromium) -> None:
    with HttpHost("--no-token", env={"TABAGENT_TEST_FAULTS": "1"}) as host, host.port() as port:
        page = browser.open(f"{host.url}/", CONNECTED)
        port.ask("load", model="slow", backend="echo", options={"fault": "hang@load"})
        assert wait_shown(page, "#models .live", "%") == "loading, 50 %"
        assert page.evaluate("document.querySelector('#models progress').value") == 0.5
        assert get(host, "/overview")["models"][0]["loading"]["progress"] == 0.5
        assert axe.violations(page) == []
        page.close()


def test_the_end_of_the_log_is_shown_and_sifted(page: ChromiumPage) -> None:
    assert "HTTP API at" in wait_shown(page, "#log", "tabagent.daemon: serving in")
    page.evaluate("document.querySelector('#log-level').value = 'ERROR'")
    page.evaluate("document.querySelector('#log-level').dispatchEvent(new Event('change'))")
    wait_shown(page, "#log-empty", "No such line")


def test_a_models_name_is_shown_as_text(page: ChromiumPage, port: Port) -> None:
    name = "<img src=x onerror=document.title='broken'>"
    load_echo(port, model=name)
    assert "onerror" in wait_shown(page, "#models .name", "<img")
    assert page.evaluate("document.querySelectorAll('#models img').length") == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_wrong(page: ChromiumPage, port: Port, dark: bool) -> None:
    page.emulate(1200, 900, dark)
    assert axe.violations(page) == []
    load_echo(port, tokens_per_second=20.0)
    port.call("generate", prompt="a few words", model="echo", stream=False)
    port.ask("generate", prompt="word " * 1000, model="echo")
    wait_shown(page, "#jobs .live", "tokens/s")
    wait_shown(page, "#percentiles", "ECHO")
    page.evaluate("document.querySelector('#load details').open = true")
    assert axe.violations(page) == []


def test_the_colours_that_tell_something_are_seen_where_a_person_has_colours_of_their_own(
    page: ChromiumPage, port: Port
) -> None:
    load_echo(port)
    port.call("generate", prompt="a few words", model="echo", stream=False)
    wait_shown(page, "#percentiles", "ECHO")
    wait_shown(page, "#models", "ready")
    colour = "getComputedStyle(document.querySelector('{}')).backgroundColor"
    colours = f"[{colour.format('#models .dot')}, {colour.format('#legend .swatch')}]"
    before = page.evaluate(colours)
    page.command("Emulation.setEmulatedMedia", {"features": [{"name": "forced-colors", "value": "active"}]})
    page.wait_for("matchMedia('(forced-colors: active)').matches")
    assert page.evaluate(colours) == before


def test_nothing_is_wider_than_a_phone(page: ChromiumPage, port: Port) -> None:
    page.emulate(360, 740)
    load_echo(port, model="a-model-with-a-very-long-name-as-many-of-them-have-them-nowadays-q4_k_m.gguf")
    port.call("generate", prompt="a few words", stream=False)
    wait_shown(page, "#percentiles", "ECHO")
    page.evaluate("document.querySelector('#load details').open = true")
    width = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width[0] <= width[1]


def test_a_long_name_without_a_place_to_break_makes_nothing_wider(
    page: ChromiumPage, port: Port, host: HttpHost
) -> None:
    page.emulate(360, 740)
    name = "x" * 120
    put(page, "#load-model", name)
    page.evaluate("document.querySelector('#load-backend').append(new Option('echo', 'echo', true, true))")
    page.click("#load button[type=submit]")
    wait_shown(page, "#load-status", "is loaded")
    wait_until("a sample of its memory", lambda: name in get(host, "/stats/memory")["models"], 30)
    port.call("generate", prompt="a few words", model=name, stream=False)
    wait_shown(page, "#memory-legend", name)
    page.evaluate("document.querySelector('#speed-readout').textContent = 'x'.repeat(120)")
    width = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width[0] <= width[1]


def test_everything_comes_from_the_host_itself(page: ChromiumPage, host: HttpHost) -> None:
    asked = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(asked) > 10
    assert [address for address in asked if not address.startswith(f"{host.url}/")] == []
    with host.client() as client:
        policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_token_is_asked_for_once(browser: Chromium) -> None:
    with HttpHost() as host:
        page = browser.open(f"{host.url}/", "document.querySelector('#token-dialog').open")
        for _ in range(4):
            page.press("Escape")
            page.wait_for("document.querySelector('#token-dialog').open")
        assert shown(page, "#connection-text") == "Connecting"
        assert axe.violations(page) == []
        put(page, "#token", "wrong")
        page.press("Enter")
        assert "not this host's" in wait_shown(page, "#token-problem", ".")
        put(page, "#token", host.token)
        page.press("Enter")
        page.wait_for(CONNECTED)
        page.command("Page.reload")
        page.wait_for(CONNECTED)
        page.close()
        page = browser.open(f"{host.url}/#token={host.token}", CONNECTED)
        assert host.token not in page.evaluate("location.href")
        page.close()


def test_a_token_that_no_header_can_carry_is_refused_as_a_wrong_one_is(browser: Chromium) -> None:
    with HttpHost() as host:
        page = browser.open(f"{host.url}/", "document.querySelector('#token-dialog').open")
        put(page, "#token", f"\u201c{host.token}\u201d")
        page.press("Enter")
        assert "not this host's" in wait_shown(page, "#token-problem", ".")
        page.command("Page.reload")
        assert "not this host's" in wait_shown(page, "#token-problem", ".")
        put(page, "#token", host.token)
        page.press("Enter")
        page.wait_for(CONNECTED)
        page.evaluate("sessionStorage.setItem('tabagent-token', 'caf\u00e9 \u4e2d')")
        page.command("Page.reload")
        assert "not this host's" in wait_shown(page, "#token-problem", ".")
        page.close()


def test_the_page_says_that_the_host_is_away_and_finds_it_again(browser: Chromium) -> None:
    first = HttpHost("--no-token")
    with first, first.port() as port:
        load_echo(port)
        page = browser.open(f"{first.url}/", CONNECTED)
        wait_shown(page, "#models .row", "echo")
        first.stop_daemon()
        page.click("#models button")
        assert "cannot be reached" in wait_shown(page, "#models-problem", ".")
        assert "cannot be reached" in wait_shown(page, "#lost-text", ".")
        assert shown(page, "#connection-text") == "Reconnecting"
    with HttpHost("--no-token", http_port=first.http_port):
        page.wait_for(CONNECTED)
        assert shown(page, "#lost") == ""
        assert shown(page, "#models-problem") == ""
        wait_shown(page, "#charts-empty", "No generation")
        assert axe.violations(page) == []
        page.close()
