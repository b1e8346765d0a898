"""Which engines there are and what they can use, found out by asking each in a process of its own.

Above it: `native_host.handlers.info`. Below it: `python -m backends.probe`. No engine is imported here.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from pydantic import BaseModel

from backends.registry import BACKENDS, BackendRow
from messages.replies import BackendListing
from native_host import runtime

PROBE_TIMEOUT_S = 60.0


class ProbeAnswer(BaseModel):
    """What `backends.probe` writes."""

    version: str
    devices: list[str]


class EngineProbes:
    """Asks each engine when it is first wanted, and again as long as it does not start."""

    def __init__(self) -> None:
        self._listings: dict[str, BackendListing] = {}
        self._asking: asyncio.Task[None] | None = None

    async def listings(self) -> list[BackendListing]:
        """All engines, those that are not installed included.

        Whoever asks meanwhile waits for the same answers, and if he goes they are still got for the next: a page that
        is loaded again and again starts no engine twice.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        await asyncio.shield(self._asking)
        return [self._listings[row.name] for row in BACKENDS]

    async def _ask(self) -> None:
        for row in BACKENDS:
            known = self._listings.get(row.name)
            if known is None or not known.usable or not row.installed:
                self._listings[row.name] = await _listing(row)


async def _listing(row: BackendRow) -> BackendListing:
    answer: ProbeAnswer | None = None
    problem = row.missing
    if problem is None:
        answer, problem = await _probe(row)
    return BackendListing(
        backend=row.name,
        installed=row.installed,
        usable=answer is not None,
        version=answer.version if answer else row.version,
        devices=answer.devices if answer else [],
        formats=[name for name in row.formats if name != "none"],
        capabilities=row.capabilities,
        install=None if answer else row.install_command,
        problem=problem,
    )


async def _probe(row: BackendRow) -> tuple[ProbeAnswer | None, str | None]:
    """Ask an engine; its answer, or in one sentence why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "answer.json"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-s", "-m", "backends.probe", row.name, str(out)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": runtime.source_root()},
        )
        try:
            _, errors = await asyncio.wait_for(process.communicate(), PROBE_TIMEOUT_S)
        except TimeoutError:
            return None, f"The {row.name} engine did not start within {PROBE_TIMEOUT_S:.0f} s."
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0 and out.exists():
            return ProbeAnswer.model_validate_json(out.read_bytes()), None
    lines = errors.decode("utf-8", "replace").strip().splitlines() or [f"exit code {process.returncode}"]
    return None, f"The {row.name} engine is installed but does not start: {lines[-1][:300]}. Install it again."
