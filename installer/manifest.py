"""The host manifest: ids, rendering, reading back, merging. Text in, text out; nothing here touches the disk.

Chromium wants `allowed_origins` with a trailing slash and no wildcard; Firefox wants `allowed_extensions` and refuses
a manifest that has both. Either says no more than "not found" when anything in the file is wrong.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path

from installer.browsers import Family
from installer.errors import InstallError

_CHROMIUM_ID = re.compile(r"[a-p]{32}")
_CHROMIUM_ORIGIN = re.compile(r"chrome-extension://([a-p]{32})/")
_FIREFOX_ID = re.compile(r"\{[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}|[A-Za-z0-9._-]*@[A-Za-z0-9._-]+")
_HOST_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
ALLOWED_KEY: dict[Family, str] = {"chromium": "allowed_origins", "firefox": "allowed_extensions"}


class ManifestError(ValueError):
    """The text is not a manifest that a browser would take; the message says why."""


@dataclass(frozen=True)
class HostManifest:
    """A manifest. `allowed` holds its entries as written: origins for Chromium, add-on ids for Firefox."""

    family: Family
    name: str
    description: str
    path: str
    allowed: tuple[str, ...]


def check_host_name(name: str) -> str:
    """The name, where browsers accept it: lower-case letters, digits, underscores, single dots between.

    Raises:
        InstallError: they would not.
    """
    if _HOST_NAME.fullmatch(name):
        return name
    raise InstallError(
        f'"{name}" is not a host name that browsers accept.',
        "Use a-z, 0-9, _ and single dots between them, such as com.example.my_host.",
    )


def check_prefix(prefix: Path) -> Path:
    """The folder, where a manifest can name it: manifests are UTF-8, and names of files need not be.

    Raises:
        InstallError: it cannot.
    """
    try:
        str(prefix).encode()
    except UnicodeEncodeError as error:
        raise InstallError(
            f"No browser can be told of {prefix}: its name is not UTF-8.", "Choose another place with --prefix FOLDER."
        ) from error
    return prefix


def allowed_entry(extension_id: str) -> tuple[Family, str]:
    """Which family an extension's id is of, and the manifest entry that lets it in.

    Args:
        extension_id: 32 letters a to p (Chromium), with or without `chrome-extension://`, or a Firefox add-on id.

    Raises:
        InstallError: it is neither.
    """
    bare = extension_id.removeprefix("chrome-extension://").rstrip("/")
    if _CHROMIUM_ID.fullmatch(bare):
        return "chromium", f"chrome-extension://{bare}/"
    if _FIREFOX_ID.fullmatch(extension_id) and len(extension_id) <= 80:
        return "firefox", extension_id
    raise InstallError(
        f'"{extension_id}" is not an extension id.',
        "A Chromium id is 32 letters from a to p (see chrome://extensions); a Firefox id looks like name@example.org"
        " or {01234567-89ab-cdef-0123-456789abcdef} (see about:debugging).",
    )


def chromium_id(public_key: str) -> str:
    """The id Chromium gives an extension whose manifest has this `key` (base64 of a DER public key).

    The first 16 bytes of its SHA-256, in hexadecimal with a to p for digits: `GenerateId` in Chromium's
    components/crx_file/id_util.cc.
    """
    digest = hashlib.sha256(base64.b64decode(public_key)).hexdigest()[:32]
    return "".join(chr(ord("a") + int(digit, 16)) for digit in digest)


@cache
def template(family: Family) -> HostManifest:
    """The manifest of `manifests/<family>.json`: everything but the path, the demo extension's id included."""
    text = resources.files("manifests").joinpath(f"{family}.json").read_text("utf-8")
    row = json.loads(text)
    return HostManifest(family, row["name"], row["description"], row["path"], tuple(row[ALLOWED_KEY[family]]))


def demo_origin() -> str:
    """The origin of the demo extension in Chromium, with the trailing slash: argv[1] of a host it starts."""
    return template("chromium").allowed[0]


def build(family: Family, host_name: str, launcher: str, entries: Iterable[str]) -> HostManifest:
    """The manifest for a launcher: the demo extension's id, then the entries given, each once."""
    base = template(family)
    return replace(base, name=host_name, path=launcher, allowed=_once((*base.allowed, *entries)))


def merge(old: HostManifest, new: HostManifest) -> HostManifest:
    """`new` with every entry that `old` lets in, old ones first, so that no extension is locked out."""
    return replace(new, allowed=_once((*old.allowed, *new.allowed)))


def _once(entries: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(entries))


def render(manifest: HostManifest) -> bytes:
    """The file's content: UTF-8 without a byte-order mark."""
    row = {
        "name": manifest.name,
        "description": manifest.description,
        "path": manifest.path,
        "type": "stdio",
        ALLOWED_KEY[manifest.family]: list(manifest.allowed),
    }
    return (json.dumps(row, indent=2, ensure_ascii=False) + "\n").encode()


def parse(content: bytes, family: Family) -> HostManifest:
    """Read a manifest the way that browser would.

    Raises:
        ManifestError: the browser would refuse it.
    """
    try:
        row = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"it is not JSON in UTF-8 ({error})") from error
    if not isinstance(row, dict):
        raise ManifestError("it is not a JSON object")
    for key in ("name", "description", "path"):
        if not isinstance(row.get(key), str) or not row[key]:
            raise ManifestError(f'"{key}" is missing, empty or not a string')
    if row.get("type") != "stdio":
        raise ManifestError('"type" is not "stdio"')
    return HostManifest(family, row["name"], row["description"], row["path"], _allowed(row, family))


def _allowed(row: dict[str, object], family: Family) -> tuple[str, ...]:
    entries = row.get(ALLOWED_KEY[family])
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ManifestError(f'"{ALLOWED_KEY[family]}" is not a list of strings')
    if family == "firefox" and "allowed_origins" in row:
        raise ManifestError('it has "allowed_origins", which Firefox refuses')
    if family == "chromium" and (bad := [entry for entry in entries if not _CHROMIUM_ORIGIN.fullmatch(entry)]):
        raise ManifestError(f'"{bad[0]}" is not of the form chrome-extension://<id>/')
    return tuple(entries)
