"""A Python that has what the host needs and no engine: a virtual environment that sees chosen packages alone."""

import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

PACKAGES = (
    "annotated_types",
    "dotenv",
    "platformdirs",
    "psutil",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "typing_extensions.py",
    "typing_inspection",
)


def make_bare_python(folder: Path) -> tuple[Path, Path]:
    """Make the environment; its interpreter, and the folder of its packages, to which a test may add."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    packages = next((folder / "lib").glob("python*/site-packages"))
    link_packages(packages, PACKAGES)
    return folder / "bin" / "python", packages


def link_packages(folder: Path, names: Iterable[str]) -> None:
    """Let an environment see packages of this one; a name may be a pattern."""
    for name in names:
        for path in Path(sysconfig.get_paths()["purelib"]).glob(name):
            (folder / path.name).symlink_to(path)
