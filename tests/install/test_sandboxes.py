"""Flatpak and Snap browsers are noticed and told the truth."""

import json
from importlib import resources

import pytest
from support.install_machine import Machine

from installer import sandboxes
from installer.browsers import table


def test_a_flatpak_browser_is_noticed_and_not_registered(prepared: Machine) -> None:
    (prepared.home / ".local/share/flatpak/app/com.brave.Browser").mkdir(parents=True)
    assert prepared.install() == 0
    said = prepared.output.getvalue()
    assert "Brave from Flatpak (com.brave.Browser) cannot use the host" in said
    assert "What works" in said
    assert not (prepared.home / ".var").exists()


def test_a_snap_chromium_cannot_and_a_snap_firefox_can(prepared: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxes, "SNAP_ROOTS", (str(prepared.root / "snap"),))
    for name in ("chromium", "firefox"):
        (prepared.root / "snap" / name).mkdir(parents=True)
    assert prepared.install() == 0
    said = prepared.output.getvalue()
    assert "Chromium from Snap (chromium) cannot use the host" in said
    assert "Firefox from Snap (firefox) may work" in said
    assert prepared.manifest(".mozilla/native-messaging-hosts").exists()
    assert not (prepared.home / "snap").exists()


def test_every_sandbox_has_its_truth_and_names_a_browser_of_the_table(machine: Machine) -> None:
    rows = json.loads(resources.files("manifests").joinpath("sandboxes.json").read_text("utf-8"))
    known = {browser.name for browser in table()} | {None}
    assert {row["registers_with"] for row in rows} <= known
    assert {row["kind"] for row in rows} == {"flatpak", "snap"}
    assert len({(row["kind"], row["id"]) for row in rows}) == len(rows)
