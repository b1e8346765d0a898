"""Registering the host with browsers: what each manifest should become, and writing it.

Planning only reads, so that `--dry-run` shows exactly what a run would do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePath

from installer import files, manifest
from installer.browsers import Target
from installer.errors import InstallError
from installer.manifest import HostManifest, ManifestError
from installer.receipt import Receipt, WrittenFile, WrittenKey
from installer.registry import Registry


class Verdict(StrEnum):
    """What a run does about one manifest."""

    NEW = "new"
    UNCHANGED = "unchanged"
    UPDATED = "updated"
    REPLACED = "replaced"
    FOREIGN = "foreign"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class PlannedManifest:
    """One manifest to be. `reason` says what is in the way or what was replaced; `previous` is kept for uninstall."""

    target: Target
    content: bytes
    verdict: Verdict
    reason: str = ""
    previous: str | None = None

    @property
    def will_stand(self) -> bool:
        """Whether the browser finds this host after the run."""
        return self.verdict not in (Verdict.FOREIGN, Verdict.BLOCKED)


def is_ours(path: str, launcher_path: PurePath, receipt: Receipt) -> bool:
    """Whether a manifest that names this program is one of this installation, or of one that is gone."""
    if path == str(launcher_path) or path in receipt.launchers():
        return True
    return Path(path).name == launcher_path.name and not Path(path).exists()


def plan(
    target: Target, launcher_path: PurePath, entries: Sequence[str], receipt: Receipt, *, force: bool = False
) -> PlannedManifest:
    """Decide what becomes of one manifest.

    Args:
        entries: what it should let in besides the demo extension; those of other families have been left out.
        force: replace a manifest that is another installation's.
    """
    host_name = target.manifest.stem
    wanted = manifest.build(target.family, host_name, str(launcher_path), entries)
    try:
        existing = files.read(Path(target.manifest))
    except InstallError as error:
        return PlannedManifest(target, b"", Verdict.BLOCKED, f"{error} Move it out of the way.")
    if existing is None:
        return PlannedManifest(target, manifest.render(wanted), Verdict.NEW)
    try:
        old = manifest.parse(existing, target.family)
    except ManifestError as error:
        return _plan_over_broken(target, wanted, existing, receipt, str(error))
    if old.name != host_name or not is_ours(old.path, launcher_path, receipt):
        return _plan_over_foreign(target, wanted, old, existing, force)
    content = manifest.render(manifest.merge(old, wanted))
    return PlannedManifest(target, content, Verdict.UNCHANGED if content == existing else Verdict.UPDATED)


def _plan_over_broken(
    target: Target, wanted: HostManifest, existing: bytes, receipt: Receipt, why: str
) -> PlannedManifest:
    """No browser takes the file as it is, so nothing is lost by mending it; its text is kept all the same."""
    previous = None if str(target.manifest) in receipt.files else existing.decode("utf-8", "surrogateescape")
    return PlannedManifest(target, manifest.render(wanted), Verdict.REPLACED, f"it was broken: {why}", previous)


def _plan_over_foreign(
    target: Target, wanted: HostManifest, old: HostManifest, existing: bytes, force: bool
) -> PlannedManifest:
    reason = f"it belongs to {old.name}, started as {old.path}"
    if not force:
        return PlannedManifest(target, existing, Verdict.FOREIGN, reason)
    content = manifest.render(manifest.merge(old, wanted))
    return PlannedManifest(target, content, Verdict.REPLACED, reason, existing.decode())


def foreign_keys(target: Target, registry: Registry, receipt: Receipt) -> dict[str, str]:
    """Registry keys of this host's name that name a manifest which is not ours, with that manifest's path."""
    ours = {str(target.manifest), *receipt.files}
    values = {key: registry.get(target.hive, key) for key in target.registry_keys}
    return {key: value for key, value in values.items() if value and value not in ours}


def plan_all(
    targets: Sequence[Target],
    launcher_path: PurePath,
    entries: dict[str, list[str]],
    receipt: Receipt,
    registry: Registry,
    *,
    force: bool = False,
) -> list[PlannedManifest]:
    """Plan every target; browsers that share a manifest (Opera reads Chrome's on Linux) share one plan."""
    shared: dict[PurePath, Target] = {}
    for target in targets:
        first = shared.setdefault(target.manifest, target)
        if first is not target:
            shared[target.manifest] = replace(first, title=f"{first.title}, {target.title}")
    planned = [plan(target, launcher_path, entries[target.family], receipt, force=force) for target in shared.values()]
    return [one if force else _check_keys(one, registry, receipt) for one in planned]


def _check_keys(planned: PlannedManifest, registry: Registry, receipt: Receipt) -> PlannedManifest:
    others = foreign_keys(planned.target, registry, receipt)
    if not others:
        return planned
    key, value = next(iter(others.items()))
    return replace(planned, verdict=Verdict.FOREIGN, reason=f"the registry key {key} names {value}")


def apply(planned: PlannedManifest, prefix: Path, receipt: Receipt, registry: Registry) -> None:
    """Write one manifest and its registry keys, each noted in the receipt first.

    Raises:
        InstallError: the system refused; what was written before stays and is in the receipt.
    """
    target = planned.target
    if not planned.will_stand:
        return
    path = Path(target.manifest)
    receipt.note_folders(path.parent)
    known = receipt.files.get(str(path))
    previous = planned.previous if known is None else known.previous
    receipt.files[str(path)] = WrittenFile("manifest", files.sha256(planned.content), target.family, previous)
    receipt.save(prefix)
    if planned.verdict is not Verdict.UNCHANGED:
        files.make_folder(path.parent, 0o755 if target.scope == "system" else 0o700)
        files.write_atomically(path, planned.content)
    for key in target.registry_keys:
        _apply_key(key, target, prefix, receipt, registry)


def _apply_key(key: str, target: Target, prefix: Path, receipt: Receipt, registry: Registry) -> None:
    value, before = str(target.manifest), registry.get(target.hive, key)
    if before == value:
        return
    if not any(entry.hive == target.hive and entry.key == key for entry in receipt.keys):
        receipt.keys.append(WrittenKey(target.hive, key, value, before))
        receipt.save(prefix)
    registry.set(target.hive, key, value)
