"""axe-core in a page: what of it people with impairments could not read or reach.

https://github.com/dequelabs/axe-core, from npm at a pinned version.
"""

from __future__ import annotations

from support.browsers.page import Page
from support.npm import npm_folder

VERSION = "4.14.1"
RUN = "axe.run(document, {resultTypes: ['violations']})"


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong, a line for each element."""
    source = npm_folder("axe-core", VERSION) / "node_modules" / "axe-core" / "axe.min.js"
    page.evaluate(f"{source.read_text(encoding='utf-8')}; null")
    found = page.evaluate(RUN)["violations"]
    return [f"{rule['id']}: {rule['help']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]
