"""`python -m backends.probe NAME FILE` imports one engine and writes what it can use to FILE, as JSON.

A process of its own, because an engine may crash, print, or keep memory.
"""

import json
import sys
from pathlib import Path

from backends.registry import row


def main() -> None:
    """Ask the engine that the first argument names; the answer goes to the file that the second names."""
    probe = row(sys.argv[1]).read_probe()
    Path(sys.argv[2]).write_text(json.dumps({"version": probe.version, "devices": list(probe.devices)}))


if __name__ == "__main__":
    main()
