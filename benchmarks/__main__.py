"""`python -m benchmarks`: measures everything and prints one table."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run the command; the browsers' drivers are those of the tests."""
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]
    from benchmarks.command import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
