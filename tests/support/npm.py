"""Packages of the npm registry for tests: each at a version of its own below `.cache/`, installed at its first use."""

import json
import shutil
import subprocess
from pathlib import Path

from native_host import runtime

CACHE = Path(runtime.source_root()) / ".cache"
INSTALL_TIMEOUT_S = 300


def npm_folder(package: str, version: str) -> Path:
    """A folder whose `node_modules` has the package. No package's own scripts are run."""
    folder = CACHE / f"{package.replace('/', '-').lstrip('@')}-{version}"
    if not (folder / "installed").is_file():
        _install(folder, package, version)
        (folder / "installed").touch()
    return folder


def _install(folder: Path, package: str, version: str) -> None:
    npm = shutil.which("npm")
    assert npm, "Node.js with npm is not installed (Debian: apt install nodejs npm; scripts/setup does)"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": {package: version}}))
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    assert done.returncode == 0, f"npm could not install {package} {version}: {done.stderr[-1000:]}"
