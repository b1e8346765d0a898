"""What every command of the installer works with, made once at its start."""

from dataclasses import dataclass
from pathlib import Path

from installer import launcher, receipt
from installer.environment import Environment
from installer.platforms import Platform
from installer.receipt import Receipt
from installer.registry import Registry
from installer.terminal import Terminal


@dataclass(frozen=True)
class Options:
    """The command line, checked. Fields that a command does not have keep their defaults."""

    command: str
    browsers: tuple[str, ...] = ()
    extension_ids: tuple[str, ...] = ()
    user_data_dirs: tuple[Path, ...] = ()
    engines: tuple[str, ...] = ()
    dry_run: bool = False
    prove: bool = True
    force: bool = False
    purge: bool = False
    model: str = "demo"
    backend: str = "auto"


@dataclass(frozen=True)
class Context:
    """The machine, the place on it, and the user's terminal; `system` is an installation for all users."""

    platform: Platform
    registry: Registry
    terminal: Terminal
    prefix: Path
    host_name: str
    system: bool = False

    @property
    def environment(self) -> Environment:
        """The private environment of this prefix, made or not."""
        return Environment(self.prefix / "venv", self.prefix / "install.log")

    @property
    def launcher(self) -> Path:
        """The program that manifests name."""
        return self.prefix / (f"{launcher.NAME}.bat" if self.platform.system == "windows" else launcher.NAME)

    def receipt(self) -> Receipt:
        """What is written down as installed here; empty where nothing is."""
        return receipt.load(self.prefix) or Receipt()
