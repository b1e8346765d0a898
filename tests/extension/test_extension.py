"""The extension's files, without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.browsers.registration import CHROMIUM_ID, FIREFOX_ID, REPOSITORY

EXTENSION = REPOSITORY / "extension"
MANIFESTS = {"chromium": "manifest.json", "firefox": "manifest.firefox.json"}


def manifest(browser: str) -> dict[str, Any]:
    """The manifest of one browser."""
    content: dict[str, Any] = json.loads((EXTENSION / MANIFESTS[browser]).read_text())
    return content


def files_named(value: object) -> set[str]:
    """Every file that a manifest names, wherever in it."""
    if isinstance(value, dict):
        return set().union(*map(files_named, value.values()))
    if isinstance(value, list):
        return set().union(*map(files_named, value))
    return {value} if isinstance(value, str) and re.search(r"\.(js|html|png|css)$", value) else set()


def test_the_key_fixes_the_id_that_the_tests_register() -> None:
    digest = hashlib.sha256(base64.b64decode(manifest("chromium")["key"])).hexdigest()[:32]
    assert "".join(chr(ord("a") + int(digit, 16)) for digit in digest) == CHROMIUM_ID


def test_firefox_has_the_add_on_id_that_the_tests_register() -> None:
    assert manifest("firefox")["browser_specific_settings"]["gecko"]["id"] == FIREFOX_ID


@pytest.mark.parametrize("browser", sorted(MANIFESTS))
def test_the_version_is_the_hosts(browser: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert manifest(browser)["version"] == project["version"]


@pytest.mark.parametrize("browser", sorted(MANIFESTS))
def test_it_asks_for_native_messaging_and_the_tab_it_is_clicked_in_and_nothing_else(browser: str) -> None:
    asked = manifest(browser)
    assert asked["permissions"] == ["activeTab", "nativeMessaging"]
    assert "host_permissions" not in asked


@pytest.mark.parametrize("browser", sorted(MANIFESTS))
def test_a_build_has_every_file_that_it_names(browser: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXTENSION / "build.py"), browser, str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    built = json.loads((tmp_path / "manifest.json").read_text())
    assert built == manifest(browser)
    named = files_named(built) | {"chat.html", "client.js"}
    for script in tmp_path.glob("*.js"):
        named |= set(re.findall(r'from "\./([^"]+)"', script.read_text()))
    named |= set(re.findall(r'(?:src|href)="([^"]+)"', (tmp_path / "chat.html").read_text()))
    assert [name for name in sorted(named) if not (tmp_path / name).is_file()] == []


def test_no_text_is_ever_set_as_html() -> None:
    for script in EXTENSION.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", script.read_text()), script
