"""The dashboard's charts in a real Chromium: what their lines and legends show of figures that a daemon has kept."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing

import pytest
from support.browsers import axe
from support.browsers.chromium import Chromium, ChromiumPage
from support.browsers.sandbox import Sandbox
from support.http_host import HttpHost
from support.stats_rows import row

from native_host.stats_database import Database
from native_host.stats_rows import MemorySample, StatsRow

DRAWN = "document.querySelector('#memory-chart canvas') && document.querySelector('#speed-chart canvas')"
HOUR_S = 3600.0
MODELS = 9
MIDDLE_OF_A_PART_S = 720.0
"""Half of the time that a point of the last 24 hours stands for."""

PAINTED = """
(() => {
  const canvas = document.querySelector(%s).querySelector("canvas");
  const wanted = getComputedStyle(document.documentElement).getPropertyValue(%s).trim();
  const colour = [1, 3, 5].map((at) => parseInt(wanted.slice(at, at + 2), 16));
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const isNear = (place) => colour.every((value, at) => Math.abs(data[place + at] - value) < 8);
  const isPainted = (place) => data[place + 3] > 127 && isNear(place);
  const found = [];
  for (let place = 0; place < data.length; place += 4) {
    if (isPainted(place)) found.push([(place / 4) %% canvas.width, Math.floor(place / 4 / canvas.width)]);
  }
  return found;
})()
"""
"""The pixels of a chart that have a series' colour: x and y from the upper left corner."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Sandbox() as sandbox:
        made = Chromium(sandbox)
        yield made
        made.close()


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    """A daemon with ten generations of a moment ago; nine models were loaded for a minute each, an hour apart."""
    with HttpHost("--no-token") as made:
        with closing(Database(made.home.data_dir / "stats.sqlite3")) as database:
            database.insert([row(rate=10.0 * number) for number in range(1, 11)])
            for number in range(MODELS):
                database.insert(minute_of(f"model-{number}", (22 - number) * HOUR_S))
            database.insert(minute_of("model-0", 2 * HOUR_S))
        yield made


@pytest.fixture
def page(browser: Chromium, host: HttpHost) -> Iterator[ChromiumPage]:
    made = browser.open(f"{host.url}/", DRAWN)
    yield made
    made.close()


def minute_of(model: str, age_s: float) -> list[StatsRow]:
    """What is kept of a model that was loaded for a minute, all in one part of the last 24 hours."""
    begin = time.time() - age_s + MIDDLE_OF_A_PART_S
    return [MemorySample(begin, "ECHO", model, 10**9), MemorySample(begin + 60, "ECHO", model, 0)]


def painted(page: ChromiumPage, chart: str, series: int) -> list[tuple[int, int]]:
    """The pixels of a chart in a series' colour."""
    script = PAINTED % (json.dumps(chart), json.dumps(f"--series-{series}"))
    return [(x, y) for x, y in page.evaluate(script)]


def falls(pixels: list[tuple[int, int]]) -> list[set[int]]:
    """The upright strokes among pixels, from the left: the heights at which each is painted."""
    columns: defaultdict[int, set[int]] = defaultdict(set)
    for x, y in pixels:
        columns[x].add(y)
    upright = {x: heights for x, heights in columns.items() if max(heights) - min(heights) > 50}
    return [heights for x, heights in sorted(upright.items()) if x - 1 not in upright]


def is_whole(heights: set[int]) -> bool:
    return len(heights) == max(heights) - min(heights) + 1


def test_the_only_point_of_a_dashed_line_is_seen(page: ChromiumPage) -> None:
    heights = {y for _, y in painted(page, "#speed-chart", 0)}
    median, upper = max(heights), min(heights)
    assert median - upper > 30
    gap = set(range(upper + 10, median - 10))
    assert heights & gap == set()


def test_a_model_that_was_unloaded_is_not_drawn_as_loaded(page: ChromiumPage) -> None:
    said = page.evaluate("document.querySelector('#memory-chart').ariaLabel")
    assert "model-0: 4 points, the last 0 B" in said
    assert "model-8: 2 points, the last 0 B" in said
    gone = painted(page, "#memory-chart", 5)
    (fall,) = falls(gone)
    axis = max(y for _, y in painted(page, "#memory-chart", 0))
    assert max(fall) >= axis - 2
    top = [x for x, y in gone if y <= min(fall) + 1]
    assert max(top) - min(top) < 15


def test_each_line_of_a_chart_has_a_look_of_its_own(page: ChromiumPage) -> None:
    looks = "[...document.querySelectorAll('#memory-legend .swatch')].map((one) => getComputedStyle(one).background)"
    assert len(set(page.evaluate(looks))) == MODELS
    assert [is_whole(fall) for fall in falls(painted(page, "#memory-chart", 1))] == [True, False]
    first = "getComputedStyle(document.querySelector('{} .swatch')).background"
    assert page.evaluate(first.format("#legend")) == page.evaluate(first.format("#memory-legend"))


def test_the_keyboard_moves_along_a_chart(page: ChromiumPage) -> None:
    page.evaluate("document.querySelector('#memory-chart').focus()")
    readout = "document.querySelector('#memory-readout').textContent"
    told = []
    for key in ("End", "ArrowLeft", "ArrowLeft", "ArrowRight", "Home"):
        page.press(key)
        page.wait_for(readout)
        told.append(page.evaluate(readout))
    assert told[0].endswith("model-0 0 B")
    assert told[1].endswith("model-0 1.0 GB")
    assert "model-8" in told[2]
    assert told[3] == told[1]
    assert "model-0 1.0 GB" in told[4]
    assert told[4] != told[1]


def test_the_place_on_a_chart_stays_when_it_is_drawn_anew(page: ChromiumPage) -> None:
    readout = "document.querySelector('#memory-readout')"
    assert page.evaluate(f"{readout}.ariaLive") == "off"
    page.evaluate("document.querySelector('#memory-chart').focus()")
    page.press("Home")
    page.wait_for(f"{readout}.textContent")
    page.press("ArrowRight")
    told = page.evaluate(f"{readout}.textContent")
    page.evaluate(f"told = 0, new MutationObserver(() => (told += 1)).observe({readout}, {{childList: true}})")
    page.evaluate("document.querySelector('#memory-chart canvas').dataset.old = 'yes'")
    page.evaluate("document.querySelector('#legend button').click()")
    page.wait_for("document.querySelector('#memory-chart canvas:not([data-old])')")
    assert page.evaluate(f"[{readout}.textContent, {readout}.ariaLive, told]") == [told, "polite", 0]
    page.press("ArrowLeft")
    page.wait_for("told === 1")
    page.evaluate("document.activeElement.blur()")
    assert page.evaluate(f"{readout}.ariaLive") == "off"


def test_keys_that_go_back_are_left_to_the_browser(page: ChromiumPage) -> None:
    page.evaluate("document.querySelector('#memory-chart').focus()")
    page.evaluate(
        "kept = null, addEventListener('keydown', (event) => ((kept = event.defaultPrevented), event.preventDefault()))"
    )
    page.press("ArrowLeft", alt=True)
    page.wait_for("kept === false")
    page.press("ArrowLeft")
    page.wait_for("kept === true")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_wrong_with_many_lines(page: ChromiumPage, dark: bool) -> None:
    page.emulate(1200, 900, dark)
    assert axe.violations(page) == []
