"""Registers the host of this repository in a sandbox, for one browser, as an installation would."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from support.browsers.sandbox import Sandbox

HOST_NAME = "com.tabagent.native_host"
CHROMIUM_ID = "mfddjefafeiafpoliipinmgncdhmmpfl"
FIREFOX_ID = "native-host@tabagent.dev"
REPOSITORY = Path(__file__).resolve().parents[3]
LAUNCHER = """#!{python} -ISE
import sys
sys.path.insert(0, {root!r})
from native_host.relay import main
main()
"""


def write_launcher(sandbox: Sandbox) -> Path:
    """Write the file that the browser starts, and return its path."""
    path = sandbox.root / "tabagent-launcher"
    path.write_text(LAUNCHER.format(python=sys.executable, root=str(REPOSITORY)))
    path.chmod(0o755)
    return path


def register_chromium(profile: Path, program: Path, extension_id: str = CHROMIUM_ID, name: str = HOST_NAME) -> None:
    """Write the manifest where a Chromium with this profile looks, and nowhere else."""
    allowed = {"allowed_origins": [f"chrome-extension://{extension_id}/"]}
    _write_manifest(profile / "NativeMessagingHosts", name, program, allowed)


def register_firefox(sandbox: Sandbox, program: Path, extension_id: str = FIREFOX_ID, name: str = HOST_NAME) -> None:
    """Write the manifest where Firefox looks under the sandbox's HOME."""
    allowed = {"allowed_extensions": [extension_id]}
    _write_manifest(sandbox.home / ".mozilla" / "native-messaging-hosts", name, program, allowed)


def _write_manifest(folder: Path, name: str, program: Path, allowed: dict[str, list[str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    about = {"name": name, "description": "TabAgent native host", "type": "stdio", "path": str(program)}
    (folder / f"{name}.json").write_text(json.dumps({**about, **allowed}))
