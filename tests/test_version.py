"""The version is written in two places: the relay must know it without reading any metadata."""

import tomllib
from pathlib import Path

from native_host import runtime

ROOT = Path(runtime.source_root())


def test_the_relay_tells_the_version_that_is_packaged() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == runtime.VERSION


def test_the_changelog_has_a_place_for_what_comes_next() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
