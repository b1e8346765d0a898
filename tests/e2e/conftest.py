"""Browsers with the extension and a registered host: one of each for a test module, a fresh tab for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.browsers.lab import ChromiumLab, FirefoxLab, Lab
from support.browsers.page import Page

LABS: dict[str, type[Lab]] = {"chromium": ChromiumLab, "firefox": FirefoxLab}


@pytest.fixture(scope="module", params=sorted(LABS))
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Each browser in turn, with a host and a daemon of its own."""
    made = LABS[request.param]()
    yield made
    made.close()


@pytest.fixture
def page(lab: Lab) -> Iterator[Page]:
    """A fresh harness page in each browser."""
    made = lab.open()
    yield made
    made.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[ChromiumLab]:
    """Chromium alone, for what only it can show."""
    made = ChromiumLab()
    yield made
    made.close()


@pytest.fixture
def chromium_page(chromium: ChromiumLab) -> Iterator[Page]:
    """A fresh harness page in Chromium."""
    made = chromium.open()
    yield made
    made.close()
