"""Manifests as text: what goes in, what browsers refuse, and what a merge keeps."""

import json
from pathlib import Path

import pytest

from installer import manifest
from installer.browsers import Family
from installer.errors import InstallError
from installer.manifest import HostManifest, ManifestError

ROOT = Path(__file__).parents[2]
ID_A, ID_B = "a" * 32, "abcdefghijklmnop" * 2
ORIGIN_A, ORIGIN_B = f"chrome-extension://{ID_A}/", f"chrome-extension://{ID_B}/"
ADD_ON = "someone@example.org"
GUID = "{01234567-89ab-cdef-0123-456789ABCDEF}"


@pytest.mark.parametrize(
    ("given", "family", "entry"),
    [
        (ID_B, "chromium", ORIGIN_B),
        (ORIGIN_B, "chromium", ORIGIN_B),
        (f"chrome-extension://{ID_B}", "chromium", ORIGIN_B),
        (ADD_ON, "firefox", ADD_ON),
        ("@x", "firefox", "@x"),
        (GUID, "firefox", GUID),
    ],
)
def test_an_extensions_id_gives_its_familys_entry(given: str, family: Family, entry: str) -> None:
    assert manifest.allowed_entry(given) == (family, entry)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "a" * 31,
        "a" * 33,
        "q" * 32,
        "A" * 32,
        "*",
        "chrome-extension://*/",
        "someone",
        "a b@example.org",
        "{01234567}",
        "x" * 80 + "@example.org",
        f"{ID_A}\n",
    ],
)
def test_what_is_no_extensions_id_is_refused_with_a_hint(given: str) -> None:
    with pytest.raises(InstallError, match="not an extension id") as raised:
        manifest.allowed_entry(given)
    assert "chrome://extensions" in raised.value.remedy


@pytest.mark.parametrize("name", ["com.tabagent.native_host", "a", "a1.b_2"])
def test_a_host_name_that_browsers_accept_is_taken(name: str) -> None:
    assert manifest.check_host_name(name) == name


@pytest.mark.parametrize("name", ["", ".a", "a.", "a..b", "A.b", "a-b", "a/b", "../a", "a b", "a\n"])
def test_a_host_name_that_browsers_refuse_is_refused(name: str) -> None:
    with pytest.raises(InstallError, match="not a host name"):
        manifest.check_host_name(name)


def test_the_demo_extensions_ids_are_those_of_the_extension_in_this_repository() -> None:
    key = json.loads((ROOT / "extension" / "manifest.json").read_text())["key"]
    add_on = json.loads((ROOT / "extension" / "manifest.firefox.json").read_text())
    assert manifest.demo_origin() == f"chrome-extension://{manifest.chromium_id(key)}/"
    assert manifest.template("firefox").allowed == (add_on["browser_specific_settings"]["gecko"]["id"],)


@pytest.mark.parametrize("family", ["chromium", "firefox"])
def test_a_manifest_that_was_rendered_is_read_back_as_it_was(family: Family) -> None:
    entry = {"chromium": ORIGIN_B, "firefox": ADD_ON}[family]
    built = manifest.build(family, "com.example.x", "/home/Zoë/a b/launcher", [entry, entry])
    assert built.allowed == (*manifest.template(family).allowed, entry)
    assert manifest.parse(manifest.render(built), family) == built


@pytest.mark.parametrize("family", ["chromium", "firefox"])
def test_a_manifest_has_its_familys_key_and_not_the_others(family: Family) -> None:
    row = json.loads(manifest.render(manifest.build(family, "com.example.x", "/x", [])))
    assert set(row) == {"name", "description", "path", "type", manifest.ALLOWED_KEY[family]}
    assert row["description"]
    assert row["type"] == "stdio"


def test_a_merge_keeps_every_id_that_was_let_in_before() -> None:
    old = HostManifest("chromium", "com.example.x", "old", "/old", (ORIGIN_A, ORIGIN_B))
    new = HostManifest("chromium", "com.example.x", "new", "/new", (ORIGIN_B,))
    merged = manifest.merge(old, new)
    assert merged.allowed == (ORIGIN_A, ORIGIN_B)
    assert merged.path == "/new"


GOOD = {"name": "x", "description": "x", "path": "/x", "type": "stdio", "allowed_origins": [ORIGIN_A]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "not JSON"),
        (b"[]", "not a JSON object"),
        (b"[" * 100_000, "not JSON"),
        (json.dumps({**GOOD, "description": ""}).encode(), '"description"'),
        (json.dumps({**GOOD, "path": 1}).encode(), '"path"'),
        (json.dumps({**GOOD, "type": "pipe"}).encode(), '"type"'),
        (json.dumps({**GOOD, "allowed_origins": ["chrome-extension://*/"]}).encode(), "is not of the form"),
        (json.dumps({**GOOD, "allowed_origins": [ORIGIN_A.rstrip("/")]}).encode(), "is not of the form"),
        (json.dumps({**GOOD, "allowed_origins": "x"}).encode(), "not a list of strings"),
    ],
)
def test_what_chromium_refuses_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        manifest.parse(content, "chromium")


def test_firefox_refuses_a_manifest_with_both_keys() -> None:
    with pytest.raises(ManifestError, match="allowed_origins"):
        manifest.parse(json.dumps({**GOOD, "allowed_extensions": [ADD_ON]}).encode(), "firefox")
