"""`doctor`'s checks of the engines, each asked in a process of its own, and of the demo model."""

import asyncio
from collections.abc import Iterator

from installer.wording import INSTALLER
from messages.errors import HostError
from messages.replies import BackendListing
from native_host.catalog import Catalog
from native_host.cli.findings import Finding, fail, note, ok, warn
from native_host.cli.terminal import size
from native_host.engines import EngineProbes
from native_host.shipped import DEMO

_NO_ENGINE = f"Install one: {INSTALLER} --engines onnx"


def check_engines() -> Iterator[Finding]:
    """Which engines work; one that is not installed is missing only if there is no other."""
    listings = asyncio.run(EngineProbes().listings())
    engines = [listing for listing in listings if listing.install or listing.backend != "echo"]
    for listing in engines:
        yield _judge(listing)
    if not any(listing.usable for listing in engines):
        yield fail("engines", "no engine works, so no model can be loaded", _NO_ENGINE)


def check_demo() -> Iterator[Finding]:
    """Whether the model that ships with the host can be loaded."""
    try:
        _, path, row = Catalog([]).resolve(DEMO, "auto")
    except HostError as error:
        yield warn("demo model", error.message, _NO_ENGINE)
        return
    listing = next(found for found in Catalog([]).listings(set()) if found.model == DEMO)
    if listing.problem:
        remedy = f"Run {INSTALLER} again; it brings the demo model back."
        yield fail("demo model", listing.problem, remedy)
    else:
        yield ok("demo model", f"{path}, {size(listing.size_bytes)}, runs on {row.name}")


def _judge(listing: BackendListing) -> Finding:
    subject = listing.backend
    if listing.usable:
        return ok(subject, f"version {listing.version or 'unknown'}, on {', '.join(listing.devices) or 'no device'}")
    if listing.install is None and not listing.installed:
        return note(subject, listing.problem or "not installed")
    if not listing.installed:
        text = f"not installed; it reads {', '.join(listing.formats)}"
        return note(subject, text, listing.install)
    remedy = f"Install it again: {listing.install}" if listing.install else f"Run {INSTALLER} again."
    problem = listing.problem or "installed, but it does not start"
    return fail(subject, problem.removesuffix(" Install it again."), remedy)
