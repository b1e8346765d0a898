"""A machine for installer tests: a temporary home, a dict for a registry, a tiny host in a real environment."""

import io
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

from installer.context import Context, Options
from installer.platforms import Platform
from installer.receipt import Receipt
from installer.registry import Hive
from installer.setup import install
from installer.sources import METADATA, PACKAGES, Checkout
from installer.terminal import Terminal

# A host that speaks the protocol far enough for the proof: one word of the question a frame.
STUB_RELAY = dedent('''
    """Answers ping, load and generate over stdin and stdout."""
    import json, os, struct, sys

    def send(message):
        body = json.dumps(message).encode()
        os.write(1, struct.pack("=I", len(body)) + body)

    def answer(request):
        reply = {"id": request["id"], "type": "result", "status": "success"}
        if request["action"] == "ping":
            reply["version"] = "stub"
        if request["action"] == "generate":
            for seq, word in enumerate(request["messages"][-1]["content"].split()):
                send({"id": request["id"], "type": "partial", "seq": seq, "text": word + " ", "tokens": seq + 1})
            reply["stats"] = {"output_tokens": seq + 1, "tokens_per_second": 10.0}
        send(reply)

    def main():
        pipe = sys.stdin.buffer
        while header := pipe.read(4):
            answer(json.loads(pipe.read(*struct.unpack("=I", header))))
''')


class DictRegistry:
    """A registry in memory."""

    def __init__(self) -> None:
        self.values: dict[tuple[Hive, str], str] = {}

    def get(self, hive: Hive, key: str) -> str | None:
        return self.values.get((hive, key))

    def set(self, hive: Hive, key: str, value: str) -> None:
        self.values[hive, key] = value

    def delete(self, hive: Hive, key: str) -> None:
        del self.values[hive, key]


@dataclass
class Machine:
    """A home folder with nothing in it, and what the installer said so far in `output`."""

    root: Path
    home_name: str = "home"
    output: io.StringIO = field(default_factory=io.StringIO)
    registry: DictRegistry = field(default_factory=DictRegistry)

    def __post_init__(self) -> None:
        self.home = self.root / self.home_name
        self.home.mkdir(parents=True)
        self.programs = self.root / "bin"
        self.programs.mkdir()
        self.platform = Platform("linux", self.home, {"PATH": str(self.programs), "TMPDIR": str(self.root)})
        self.checkout = Checkout(make_checkout(self.root / "checkout"))

    @property
    def context(self) -> Context:
        """What the commands work with, in the default prefix."""
        prefix = Path(self.platform.data_folder())
        return Context(self.platform, self.registry, Terminal(self.output), prefix, "com.tabagent.native_host")

    def add_browser(self, name: str) -> None:
        """Put a program of that name on PATH."""
        program = self.programs / name
        program.write_bytes(b"\x7fELF")
        program.chmod(0o755)

    def prepare(self) -> None:
        """Do pip's part: a real environment that holds the stub host, noted in the receipt."""
        context = self.context
        context.prefix.mkdir(parents=True)
        environment = context.environment
        make_environment(environment.folder)
        context.environment.log.touch()
        self.receipt_of_environment().save(context.prefix)

    def receipt_of_environment(self) -> Receipt:
        """The receipt as it stands when the environment is made and nothing else is."""
        environment = self.context.environment
        return Receipt("0.1.0", self.checkout.fingerprint(), str(environment.folder), ["onnx"])

    def install(self, options: Options | None = None) -> int:
        """Run the install command."""
        return install(self.context, options or Options("install"), self.checkout)

    def manifest(self, folder: str) -> Path:
        """The manifest in that folder of the home."""
        return self.home / folder / "com.tabagent.native_host.json"


def make_environment(folder: Path) -> None:
    """A virtual environment with the stub host and something called pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    (packages,) = folder.glob("lib/python*/site-packages")
    write_stub_host(packages)
    for name in ("pip", "messages", "backends"):
        (packages / name).mkdir()
        (packages / name / "__init__.py").touch()


def write_stub_host(packages: Path) -> None:
    """Put a `native_host` that speaks the protocol into that folder."""
    (packages / "native_host").mkdir(parents=True)
    (packages / "native_host" / "__init__.py").touch()
    (packages / "native_host" / "relay.py").write_text(STUB_RELAY)


def make_checkout(root: Path) -> Path:
    """A checkout with every package, each empty."""
    root.mkdir()
    for name in METADATA:
        (root / name).write_text('[project]\nname = "tabagent-native-host"\nversion = "0.1.0"\n')
    for name in PACKAGES:
        (root / name).mkdir()
        (root / name / "__init__.py").touch()
    return root


def snapshot(folder: Path) -> Mapping[str, object]:
    """Every path below, with its permissions and its content or the link's destination."""
    result: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            result[str(path)] = os.readlink(path)
        elif path.is_dir():
            result[str(path)] = mode
        else:
            result[str(path)] = (mode, path.read_bytes())
    return result
