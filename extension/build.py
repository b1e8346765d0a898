#!/usr/bin/env python3
"""Copy the extension with the manifest of one browser: ``python3 extension/build.py firefox OUT``.

Chromium can load this folder as it is. Firefox wants another manifest under the same name, so it needs a copy.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

SOURCE = Path(__file__).resolve().parent
MANIFESTS = {"chromium": "manifest.json", "firefox": "manifest.firefox.json"}
SHIPPED = ("*.js", "*.html", "*.css", "icons/*.png")


def build(browser: str, out: Path) -> Path:
    """Write the extension for ``browser`` ("chromium" or "firefox") into the folder ``out`` and return it."""
    for pattern in SHIPPED:
        for source in sorted(SOURCE.glob(pattern)):
            target = out / source.relative_to(SOURCE)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    shutil.copyfile(SOURCE / MANIFESTS[browser], out / "manifest.json")
    return out


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description="Copy the extension with the manifest of one browser.")
    parser.add_argument("browser", choices=sorted(MANIFESTS))
    parser.add_argument("out", type=Path, help="the folder to write; made if it is not there")
    arguments = parser.parse_args()
    print(f"Load this folder in the browser: {build(arguments.browser, arguments.out).resolve()}")


if __name__ == "__main__":
    main()
