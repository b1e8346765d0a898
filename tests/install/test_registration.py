"""What becomes of one manifest: new, unchanged, merged, somebody else's, broken."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.install_machine import DictRegistry, Machine

from installer import manifest, registration, removal
from installer.browsers import Target
from installer.errors import InstallError
from installer.receipt import Receipt, WrittenFile, WrittenKey
from installer.registration import PlannedManifest, Verdict

HOST = "com.tabagent.native_host"
STRANGER = "chrome-extension://" + "b" * 32 + "/"
MINE = "chrome-extension://" + "c" * 32 + "/"


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    path = tmp_path / "prefix" / "tabagent-native-host"
    path.parent.mkdir()
    path.touch()
    return path


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target("chromium", "Chromium", "chromium", "user", tmp_path / "browser" / f"{HOST}.json")


def write(target: Target, **fields: object) -> bytes:
    row = {
        "name": HOST,
        "description": "x",
        "path": "/x",
        "type": "stdio",
        "allowed_origins": [STRANGER],
        **fields,
    }
    content = json.dumps(row).encode()
    path = Path(target.manifest)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return content


def apply(planned: PlannedManifest, launcher: Path, receipt: Receipt) -> None:
    registration.apply(planned, launcher.parent, receipt, DictRegistry())


def test_where_there_is_none_a_manifest_is_made(target: Target, launcher: Path) -> None:
    planned = registration.plan(target, launcher, [MINE], Receipt())
    assert planned.verdict is Verdict.NEW
    assert not Path(target.manifest).parent.exists()
    apply(planned, launcher, receipt := Receipt())
    row = json.loads(Path(target.manifest).read_text())
    assert row["path"] == str(launcher)
    assert row["allowed_origins"] == [manifest.demo_origin(), MINE]
    assert list(receipt.files) == [str(target.manifest)]
    assert receipt.folders == [str(Path(target.manifest).parent)]


def test_a_second_run_changes_nothing(target: Target, launcher: Path) -> None:
    receipt = Receipt()
    apply(registration.plan(target, launcher, [MINE], receipt), launcher, receipt)
    before = Path(target.manifest).stat()
    planned = registration.plan(target, launcher, [], receipt)
    assert planned.verdict is Verdict.UNCHANGED
    apply(planned, launcher, receipt)
    after = Path(target.manifest).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_ids_that_others_added_stay(target: Target, launcher: Path) -> None:
    write(target, path=str(launcher))
    planned = registration.plan(target, launcher, [MINE], Receipt())
    assert planned.verdict is Verdict.UPDATED
    assert json.loads(planned.content)["allowed_origins"] == [STRANGER, manifest.demo_origin(), MINE]


def test_a_manifest_of_our_name_that_starts_another_program_is_not_touched(
    target: Target, launcher: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.touch()
    content = write(target, path=str(other))
    planned = registration.plan(target, launcher, [], Receipt())
    assert planned.verdict is Verdict.FOREIGN
    assert str(other) in planned.reason
    apply(planned, launcher, receipt := Receipt())
    assert Path(target.manifest).read_bytes() == content
    assert receipt.files == {}


def test_it_is_replaced_by_force_and_its_text_is_kept(target: Target, launcher: Path) -> None:
    content = write(target, path="/somewhere/else")
    planned = registration.plan(target, launcher, [], Receipt(), force=True)
    assert planned.verdict is Verdict.REPLACED
    apply(planned, launcher, receipt := Receipt())
    assert receipt.files[str(target.manifest)].previous == content.decode()
    assert STRANGER in json.loads(Path(target.manifest).read_text())["allowed_origins"]


def test_a_manifest_of_an_installation_that_is_gone_is_taken_over(target: Target, launcher: Path) -> None:
    write(target, path=f"/gone/{launcher.name}")
    planned = registration.plan(target, launcher, [], Receipt())
    assert planned.verdict is Verdict.UPDATED
    assert json.loads(planned.content)["path"] == str(launcher)


def test_a_manifest_of_another_host_in_a_file_of_our_name_is_not_touched(target: Target, launcher: Path) -> None:
    write(target, name="com.example.other", path=str(launcher))
    assert registration.plan(target, launcher, [], Receipt()).verdict is Verdict.FOREIGN


def test_a_broken_manifest_is_mended_and_its_text_is_kept(target: Target, launcher: Path) -> None:
    path = Path(target.manifest)
    path.parent.mkdir()
    path.write_text("{")
    planned = registration.plan(target, launcher, [], Receipt())
    assert (planned.verdict, planned.previous) == (Verdict.REPLACED, "{")
    assert "not JSON" in planned.reason


def test_a_broken_manifest_that_we_wrote_is_not_kept(target: Target, launcher: Path) -> None:
    path = Path(target.manifest)
    path.parent.mkdir()
    path.write_text("{")
    receipt = Receipt(files={str(path): WrittenFile("manifest", "", "chromium")})
    assert registration.plan(target, launcher, [], receipt).previous is None


def test_browsers_that_share_a_manifest_share_one_plan(target: Target, launcher: Path) -> None:
    opera = replace(target, browser="opera", title="Opera")
    entries: dict[str, list[str]] = {"chromium": [], "firefox": []}
    (planned,) = registration.plan_all([target, opera], launcher, entries, Receipt(), DictRegistry())
    assert planned.target.title == "Chromium, Opera"


def test_a_folder_that_cannot_be_made_is_named(target: Target, launcher: Path) -> None:
    Path(target.manifest).parent.write_text("a file where a folder should be")
    planned = registration.plan(target, launcher, [], Receipt())
    with pytest.raises(InstallError, match=r"Cannot make the folder|Cannot write"):
        apply(planned, launcher, Receipt())


KEY = f"Software\\Chromium\\NativeMessagingHosts\\{HOST}"


def test_registry_keys_name_the_manifest_and_are_in_the_receipt(target: Target, launcher: Path) -> None:
    registry, receipt = DictRegistry(), Receipt()
    on_windows = replace(target, registry_keys=(KEY,))
    entries: dict[str, list[str]] = {"chromium": [], "firefox": []}
    for _ in range(2):
        (planned,) = registration.plan_all([on_windows], launcher, entries, receipt, registry)
        registration.apply(planned, launcher.parent, receipt, registry)
    assert registry.values == {("HKCU", KEY): str(target.manifest)}
    assert [(entry.hive, entry.key, entry.previous) for entry in receipt.keys] == [("HKCU", KEY, None)]


def test_a_registry_key_that_names_another_manifest_is_not_touched(target: Target, launcher: Path) -> None:
    registry = DictRegistry()
    registry.set("HKCU", KEY, "C:\\other.json")
    entries: dict[str, list[str]] = {"chromium": [], "firefox": []}
    on_windows = replace(target, registry_keys=(KEY,))
    (planned,) = registration.plan_all([on_windows], launcher, entries, Receipt(), registry)
    assert planned.verdict is Verdict.FOREIGN
    assert "C:\\other.json" in planned.reason
    (forced,) = registration.plan_all([on_windows], launcher, entries, Receipt(), registry, force=True)
    registration.apply(forced, launcher.parent, receipt := Receipt(), registry)
    assert receipt.keys[0].previous == "C:\\other.json"


def test_uninstall_sets_registry_keys_back_and_leaves_those_that_were_changed(target: Target, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    kept = [WrittenKey("HKCU", "mine", "m.json"), WrittenKey("HKCU", "forced", "m.json", "before.json")]
    taken = WrittenKey("HKCU", "taken", "m.json")
    machine.registry.values = {("HKCU", "mine"): "m.json", ("HKCU", "forced"): "m.json", ("HKCU", "taken"): "x.json"}
    machine.context.prefix.mkdir(parents=True)
    outcome = removal.remove_all(machine.context, Receipt(keys=[*kept, taken]), force=False)
    assert machine.registry.values == {("HKCU", "forced"): "before.json", ("HKCU", "taken"): "x.json"}
    assert "taken" in outcome.not_ours[0]
