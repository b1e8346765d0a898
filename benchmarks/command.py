"""The command: options, the groups of figures, and the table, printed as it grows.

Above it: `__main__`. Below it: one module a group, each a function from `Sizes` to rows.
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from benchmarks import (
    attention,
    batch_filling,
    burst,
    first_sign,
    first_token,
    growth,
    http_stream,
    idle_listeners,
    machine,
    memory,
    mlx_stream,
    onnx_stream,
    pictures,
    round_trip,
    second_turn,
    spawn,
    stats_writes,
    stop,
    stream,
)
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.table import Row, head, markdown

Measure = Callable[[Sizes], Iterable[Row]]

GROUPS: Mapping[str, Measure] = {
    "spawn": spawn.measure,
    "round-trip": round_trip.measure,
    "stream": stream.measure,
    "onnx-stream": onnx_stream.measure,
    "mlx-stream": mlx_stream.measure,
    "http-stream": http_stream.measure,
    "first-token": first_token.measure,
    "first-sign": first_sign.measure,
    "stop": stop.measure,
    "pictures": pictures.measure,
    "second-turn": second_turn.measure,
    "batch-filling": batch_filling.measure,
    "attention": attention.measure,
    "burst": burst.measure,
    "idle-listeners": idle_listeners.measure,
    "stats-writes": stats_writes.measure,
    "memory": memory.measure,
    "growth": growth.measure,
}


def run(arguments: Sequence[str]) -> int:
    """Measure and print; 1 if a goal was missed."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, _leave)
    print(machine.describe(), end="\n\n")
    print(head(), flush=True)
    rows: list[Row] = []
    for name in options.only or GROUPS:
        for row in GROUPS[name](QUICK if options.quick else FULL):
            print(markdown(row.cells()), flush=True)
            rows.append(row)
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine.describe(), "rows": [*map(asdict, rows)]}, indent=1))
    return int(any(row.met is False for row in rows) and not options.quick)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the host beside its peers.")
    parser.add_argument("--only", action="append", choices=GROUPS, metavar="NAME", help=f"one of {', '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to a file too")
    return parser.parse_args(arguments)


def _leave(number: int, _: FrameType | None) -> None:
    """Leave through every `with`, so that no browser and no daemon stays behind."""
    sys.exit(128 + number)
