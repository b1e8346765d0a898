"""The reference for Transformers.js folders: the npm package, at a pinned version below `.cache/`, on Node.js.

Above it: `onnx_stream`. Below it: `transformersjs.mjs`, which runs beside the package.
"""

import json
import shutil
import subprocess
from pathlib import Path

from benchmarks.hosts import REPOSITORY
from benchmarks.line_process import LineProcess
from benchmarks.models import CACHE
from messages.frames import JsonObject

PACKAGE = "@huggingface/transformers"
VERSION = "4.3.1"
INSTALL_TIMEOUT_S = 600
SCRIPT = REPOSITORY / "benchmarks" / "transformersjs.mjs"


class ReferenceMissing(Exception):
    """The reference cannot be had here; the message says why, for the table."""


class TransformersJs(LineProcess):
    """The other process, seen from here."""

    def __init__(self, model: Path, dtype: str, threads: int) -> None:
        """Load a folder's weights of a `dtype`. ReferenceMissing without Node.js or the package."""
        script = Path(shutil.copy(SCRIPT, installed()))
        command = ["node", str(script), str(model.parent), model.name, dtype, str(threads)]
        super().__init__(command, script.parent)

    def run(self, prompt: str, tokens: int) -> JsonObject:
        """Generate greedily: `rate` is tokens a second from the first one on; also `tokens` and `text`."""
        return self.ask({"prompt": prompt, "tokens": tokens})


def installed() -> Path:
    """The folder with the package; it is installed at the first call. ReferenceMissing."""
    folder = CACHE / f"transformersjs-{VERSION}"
    if not (folder / "installed").is_file():
        _install(folder)
        (folder / "installed").touch()
    return folder


def versions() -> str:
    """The versions of the package and of its ONNX Runtime, as words for the table."""
    package = installed() / "node_modules" / "onnxruntime-node" / "package.json"
    return f"Transformers.js {VERSION}, onnxruntime-node {json.loads(package.read_text())['version']}"


def _install(folder: Path) -> None:
    """Without the packages' scripts: onnxruntime-node's only fetches CUDA libraries, which the CPU does not need."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise ReferenceMissing("Node.js with npm is not installed (Debian and Ubuntu: apt install nodejs npm)")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": {PACKAGE: VERSION}}))
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    if done.returncode:
        raise ReferenceMissing(f"npm could not install {PACKAGE} {VERSION}: {done.stderr.strip()[-200:]}")
