"""The commands on a machine with a home of its own and a real environment, with a stub for the host in it."""

import json
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from support.install_machine import Machine, snapshot

from installer import commands, receipt, removal
from installer.browsers import Seat
from installer.context import Options
from installer.errors import InstallError

STRANGER = "chrome-extension://" + "b" * 32 + "/"
CHROMIUM = ".config/chromium/NativeMessagingHosts"
FIREFOX = ".mozilla/native-messaging-hosts"


@pytest.fixture
def browsing(prepared: Machine) -> Machine:
    """The machine with Chromium and Firefox on it."""
    prepared.add_browser("chromium")
    prepared.add_browser("firefox")
    return prepared


def test_install_registers_with_every_browser_and_streams_an_answer(browsing: Machine) -> None:
    assert browsing.install() == 0
    for folder, key in ((CHROMIUM, "allowed_origins"), (FIREFOX, "allowed_extensions")):
        row = json.loads(browsing.manifest(folder).read_text())
        assert row["path"] == str(browsing.context.launcher)
        assert row[key]
    said = browsing.output.getvalue()
    assert "What are you?" in said
    assert re.search(r"\d+ tokens at 10 tokens/s", said)
    assert "Installed in" in said


def test_a_second_run_changes_no_file(browsing: Machine) -> None:
    browsing.install()
    before = snapshot(browsing.home)
    times = {path: path.lstat().st_mtime_ns for path in browsing.home.rglob("*") if path.is_file()}
    assert browsing.install() == 0
    assert snapshot(browsing.home) == before
    assert {path: path.lstat().st_mtime_ns for path in times} == times


def test_a_dry_run_writes_nothing_and_shows_the_manifests(machine: Machine) -> None:
    machine.add_browser("chromium")
    before = snapshot(machine.root)
    assert machine.install(Options("install", dry_run=True)) == 0
    assert snapshot(machine.root) == before
    assert str(machine.manifest(CHROMIUM)) in machine.output.getvalue()
    assert '"allowed_origins"' in machine.output.getvalue()


def test_uninstall_leaves_the_home_as_it_was(machine: Machine) -> None:
    machine.add_browser("chromium")
    kept = machine.home / ".mozilla" / "native-messaging-hosts" / "org.example.other.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    before = snapshot(machine.home)
    install_into(machine, Options("install", browsers=("chromium", "firefox", "brave")))
    assert machine.manifest(FIREFOX).exists()
    assert commands.uninstall(machine.context, Options("uninstall")) == 0
    assert snapshot(machine.home) == before


def install_into(machine: Machine, options: Options) -> None:
    """Install with the folders of the prefix in the receipt, as a first run notes them."""
    context = machine.context
    written = machine.receipt_of_environment()
    written.note_folders(context.prefix)
    machine.prepare()
    written.files[str(context.environment.log)] = receipt.WrittenFile("log", "")
    written.save(context.prefix)
    assert machine.install(options) == 0


def test_a_manifest_replaced_by_force_comes_back_on_uninstall(browsing: Machine) -> None:
    path = browsing.manifest(CHROMIUM)
    path.parent.mkdir(parents=True)
    other = {"name": path.stem, "description": "x", "path": "/bin/sh", "type": "stdio", "allowed_origins": [STRANGER]}
    path.write_text(json.dumps(other))
    assert browsing.install() == 1
    assert json.loads(path.read_text()) == other
    assert "--force replaces it" in browsing.output.getvalue()
    assert browsing.install(Options("install", force=True)) == 0
    assert json.loads(path.read_text())["path"] == str(browsing.context.launcher)
    assert commands.uninstall(browsing.context, Options("uninstall")) == 0
    assert json.loads(path.read_text()) == other


def test_ids_that_were_added_by_hand_survive_an_install_and_are_named_by_uninstall(browsing: Machine) -> None:
    browsing.install()
    path = browsing.manifest(CHROMIUM)
    row = json.loads(path.read_text())
    row["allowed_origins"].append(STRANGER)
    path.write_text(json.dumps(row))
    browsing.install(Options("install", extension_ids=("c" * 32,)))
    assert STRANGER in json.loads(path.read_text())["allowed_origins"]
    path.write_text(json.dumps(row))
    commands.uninstall(browsing.context, Options("uninstall"))
    assert not path.exists()
    assert STRANGER in browsing.output.getvalue()


def test_a_manifest_that_another_installation_took_over_is_left_by_uninstall(browsing: Machine) -> None:
    browsing.install()
    path = browsing.manifest(CHROMIUM)
    row = json.loads(path.read_text())
    row["path"] = "/bin/sh"
    path.write_text(json.dumps(row))
    assert commands.uninstall(browsing.context, Options("uninstall")) == 0
    assert json.loads(path.read_text()) == row
    assert "it starts /bin/sh now" in browsing.output.getvalue()


def test_a_launcher_that_was_changed_stays_until_it_is_forced(browsing: Machine) -> None:
    browsing.install()
    launcher = browsing.context.launcher
    launcher.write_text("#!/bin/sh\n")
    assert commands.uninstall(browsing.context, Options("uninstall")) == 1
    assert launcher.exists()
    assert not browsing.context.environment.folder.exists()
    assert commands.uninstall(browsing.context, Options("uninstall", force=True)) == 0
    assert not launcher.exists()


def test_uninstall_keeps_the_daemons_files_until_it_is_told_to_purge(browsing: Machine) -> None:
    browsing.install()
    data = browsing.context.prefix / "stats.sqlite3"
    config = browsing.home / ".config" / "tabagent-native-host" / "config.toml"
    mine = config.parent / "notes.txt"
    config.parent.mkdir(parents=True)
    for path in (data, config, mine):
        path.write_text("x")
    commands.uninstall(browsing.context, Options("uninstall"))
    assert data.exists()
    assert f"are still in {data.parent}, {config.parent}" in browsing.output.getvalue()
    commands.uninstall(browsing.context, Options("uninstall", purge=True))
    assert not data.exists()
    assert not config.exists()
    assert mine.exists()


@pytest.mark.parametrize("was_there", [False, True])
def test_purging_removes_the_folders_that_were_made_for_logs_and_none_that_was_there(
    prepared: Machine, was_there: bool
) -> None:
    state = prepared.home / ".local" / "state"
    if was_there:
        state.mkdir()
    prepared.install()
    log = Path(prepared.platform.log_folder()) / "daemon.log"
    log.parent.mkdir(parents=True)
    log.touch()
    assert commands.uninstall(prepared.context, Options("uninstall", purge=True)) == 0
    assert state.exists() is was_there


def test_purging_removes_the_link_to_a_models_folder_elsewhere_and_nothing_there(browsing: Machine) -> None:
    browsing.install()
    disk = browsing.root / "disk"
    disk.mkdir()
    (disk / "mine.gguf").touch()
    (browsing.context.prefix / "models").symlink_to(disk)
    assert commands.uninstall(browsing.context, Options("uninstall", purge=True)) == 0
    assert not (browsing.context.prefix / "models").is_symlink()
    assert (disk / "mine.gguf").exists()


def test_uninstall_takes_the_environment_only_if_it_is_one(browsing: Machine) -> None:
    browsing.install()
    (browsing.context.environment.folder / "pyvenv.cfg").unlink()
    removal.remove_all(browsing.context, browsing.context.receipt(), force=False)
    assert browsing.context.environment.folder.exists()


def test_where_no_browser_is_found_it_is_installed_and_says_so(prepared: Machine) -> None:
    assert prepared.install() == 0
    said = prepared.output.getvalue()
    assert "No browser was found" in said
    assert "firefox" in said
    assert commands.check(prepared.context, Options("check")) == commands.NOT_REGISTERED


def test_a_browser_that_is_named_is_registered_though_it_is_not_there(prepared: Machine) -> None:
    assert prepared.install(Options("install", browsers=("vivaldi",))) == 0
    assert prepared.manifest(".config/vivaldi/NativeMessagingHosts").exists()


def test_a_profile_of_its_own_is_registered_and_no_other_browser(browsing: Machine, tmp_path: Path) -> None:
    profile = tmp_path / "a profile"
    assert browsing.install(Options("install", user_data_dirs=(profile,))) == 0
    assert (profile / "NativeMessagingHosts" / "com.tabagent.native_host.json").exists()
    assert not browsing.manifest(CHROMIUM).exists()
    assert commands.check(browsing.context, Options("check")) == 0
    assert "not registered  Chromium" in browsing.output.getvalue()


def test_a_home_with_spaces_works(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "Ada L's home")
    machine.prepare()
    machine.add_browser("chromium")
    assert machine.install() == 0
    assert commands.check(machine.context, Options("check")) == 0


def test_check_finds_a_changed_launcher_and_a_broken_manifest(browsing: Machine) -> None:
    browsing.install()
    assert commands.check(browsing.context, Options("check")) == 0
    assert "All is well" in browsing.output.getvalue()
    launcher = browsing.context.launcher
    launcher.write_text(launcher.read_text() + "\n")
    browsing.manifest(CHROMIUM).write_text("{")
    assert commands.check(browsing.context, Options("check", prove=False)) == 1
    said = browsing.output.getvalue()
    assert "was changed since it was written" in said
    assert "No browser takes" in said
    assert browsing.install() == 0
    assert commands.check(browsing.context, Options("check")) == 0


def test_check_does_not_take_another_programs_manifest_for_ours(browsing: Machine) -> None:
    browsing.install()
    path = browsing.manifest(CHROMIUM)
    path.write_text(json.dumps({**json.loads(path.read_text()), "path": "/bin/sh"}))
    assert commands.check(browsing.context, Options("check", prove=False)) == 1
    said = browsing.output.getvalue()
    assert "another's       Chromium" in said
    assert f"{path} starts /bin/sh now" in said
    commands.status(browsing.context)
    assert browsing.output.getvalue().count("another's       Chromium") == 2


def test_check_counts_no_browser_that_starts_another_program(prepared: Machine) -> None:
    prepared.add_browser("chromium")
    path = prepared.manifest(CHROMIUM)
    path.parent.mkdir(parents=True)
    other = {"name": path.stem, "description": "x", "path": "/bin/sh", "type": "stdio", "allowed_origins": [STRANGER]}
    path.write_text(json.dumps(other))
    assert prepared.install() == 1
    assert commands.check(prepared.context, Options("check", prove=False)) == commands.NOT_REGISTERED
    assert "registered with no browser" in prepared.output.getvalue()
    assert "No browser was found" not in prepared.output.getvalue()


def test_what_was_not_finished_is_not_called_installed(browsing: Machine) -> None:
    browsing.install()
    written = browsing.context.receipt()
    written.fingerprint = ""
    written.save(browsing.context.prefix)
    assert commands.status(browsing.context) == 1
    assert commands.check(browsing.context, Options("check", prove=False)) == 1
    assert browsing.output.getvalue().count("was not finished") == 2


def test_check_misses_a_manifest_that_was_written_and_is_gone(browsing: Machine) -> None:
    browsing.install()
    browsing.manifest(CHROMIUM).unlink()
    assert commands.check(browsing.context, Options("check", prove=False)) == 1
    assert "Chromium does not know the host" in browsing.output.getvalue()


def test_check_says_that_nothing_is_installed(machine: Machine) -> None:
    with pytest.raises(InstallError, match="Nothing is installed"):
        commands.check(machine.context, Options("check"))


def test_status_names_every_manifest_and_whom_it_lets_in(browsing: Machine) -> None:
    assert commands.status(browsing.context) == 0
    browsing.install()
    assert commands.status(browsing.context) == 0
    said = browsing.output.getvalue()
    assert str(browsing.manifest(CHROMIUM)) in said
    assert "native-host@tabagent.dev" in said


def test_status_of_an_empty_machine_says_so(machine: Machine) -> None:
    assert commands.status(machine.context) == 1
    assert "Nothing is installed" in machine.output.getvalue()


def test_uninstall_of_an_empty_machine_says_so(machine: Machine) -> None:
    assert commands.uninstall(machine.context, Options("uninstall")) == 0
    assert "Nothing is installed" in machine.output.getvalue()


def test_a_dry_run_of_uninstall_removes_nothing(browsing: Machine) -> None:
    browsing.install()
    before = snapshot(browsing.home)
    commands.uninstall(browsing.context, Options("uninstall", dry_run=True, purge=True))
    assert snapshot(browsing.home) == before
    assert f"would remove: {browsing.manifest(CHROMIUM)}" in browsing.output.getvalue()


def test_one_browser_whose_folder_cannot_be_written_does_not_stop_the_others(browsing: Machine) -> None:
    (browsing.home / ".config").write_text("a file where a folder should be")
    assert browsing.install() == 1
    assert browsing.manifest(FIREFOX).exists()
    assert "Not registered with Chromium" in browsing.output.getvalue()


def test_one_manifest_that_cannot_be_read_does_not_stop_the_others(browsing: Machine) -> None:
    browsing.manifest(CHROMIUM).mkdir(parents=True)
    assert browsing.install() == 1
    assert browsing.manifest(FIREFOX).exists()
    said = browsing.output.getvalue()
    assert "Not registered with Chromium. Cannot read" in said
    assert "Move it out of the way" in said
    assert "registered with Firefox." in said


def test_one_manifest_that_cannot_be_read_does_not_stop_the_removal_of_the_rest(browsing: Machine) -> None:
    browsing.install()
    browsing.manifest(CHROMIUM).unlink()
    browsing.manifest(CHROMIUM).mkdir()
    assert commands.uninstall(browsing.context, Options("uninstall")) == 0
    assert not browsing.manifest(FIREFOX).exists()
    assert not browsing.context.environment.folder.exists()
    assert "Is a directory" in browsing.output.getvalue()


def test_a_broken_manifest_comes_back_byte_for_byte(browsing: Machine) -> None:
    path = browsing.manifest(CHROMIUM)
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"description": "caf\xe9')
    assert browsing.install() == 0
    assert commands.uninstall(browsing.context, Options("uninstall")) == 0
    assert path.read_bytes() == b'{"description": "caf\xe9'


def test_a_home_that_cannot_be_written_is_said_before_anything_is_done(machine: Machine) -> None:
    readonly = replace(machine.platform, home=Path("/proc/1/home"))
    machine.platform = readonly
    with pytest.raises(InstallError, match="You may not write") as raised:
        machine.install()
    assert "--prefix" in raised.value.remedy


def test_system_without_the_rights_is_explained(prepared: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    context = replace(prepared.context, system=True, prefix=Path("/proc/1/opt"))
    monkeypatch.setattr(Machine, "context", property(lambda self: context))
    with pytest.raises(InstallError, match="all users") as raised:
        prepared.install(Options("install", browsers=("chromium",)))
    assert "sudo" in raised.value.remedy


def test_sudo_without_system_is_refused_since_it_would_install_for_root(machine: Machine) -> None:
    env = {**machine.platform.env, "SUDO_USER": "ada"}
    machine.platform = replace(machine.platform, env=env, uid=0)
    with pytest.raises(InstallError, match="browsers of ada") as raised:
        machine.install()
    assert "without sudo" in raised.value.remedy
    assert list(machine.home.iterdir()) == []


def test_the_command_is_linked_where_users_commands_go(browsing: Machine) -> None:
    browsing.install()
    link = browsing.home / ".local" / "bin" / "tabagent-host"
    assert os.readlink(link) == str(browsing.context.environment.program("tabagent-host"))
    assert f"{link} chat" in browsing.output.getvalue()


def test_the_command_is_told_so_that_a_shell_takes_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "Ada L's home")
    machine.prepare()
    machine.add_browser("chromium")
    machine.install()
    (line,) = (line for line in machine.output.getvalue().splitlines() if "Chat in the terminal:" in line)
    link = machine.home / ".local" / "bin" / "tabagent-host"
    assert shlex.split(line.partition(":")[2]) == [str(link), "chat"]


def test_uninstall_takes_the_command_too_that_a_lost_receipt_had_named(browsing: Machine) -> None:
    browsing.install()
    (browsing.context.prefix / receipt.FILE_NAME).unlink()
    browsing.receipt_of_environment().save(browsing.context.prefix)
    browsing.install()
    commands.uninstall(browsing.context, Options("uninstall"))
    assert not (browsing.home / ".local" / "bin" / "tabagent-host").is_symlink()


def test_a_command_of_that_name_that_is_not_ours_stays(browsing: Machine) -> None:
    link = browsing.home / ".local" / "bin" / "tabagent-host"
    link.parent.mkdir(parents=True)
    link.write_text("mine")
    browsing.install()
    commands.uninstall(browsing.context, Options("uninstall"))
    assert link.read_text() == "mine"


def test_a_host_that_does_not_work_is_reported_in_the_end(browsing: Machine) -> None:
    relay = browsing.context.environment.site_packages() / "native_host" / "relay.py"
    relay.write_text("raise SystemExit('the relay is broken')")
    assert browsing.install() == 1
    said = browsing.output.getvalue()
    assert "the host does not work" in said
    assert "the relay is broken" in said
    assert browsing.manifest(CHROMIUM).exists()


@pytest.mark.parametrize(
    "damage", ['{"format": 99}', '{"format": 1', '"text"', '{"format": 1, "files": [], "keys": []}', "[" * 100_000]
)
def test_a_damaged_receipt_is_named_with_the_way_out(browsing: Machine, damage: str) -> None:
    browsing.install()
    path = browsing.context.prefix / receipt.FILE_NAME
    path.write_text(damage)
    with pytest.raises(InstallError, match="damaged") as raised:
        browsing.install()
    assert "Delete that file" in raised.value.remedy


def test_an_unknown_engine_is_refused_before_anything_is_done(machine: Machine) -> None:
    before = snapshot(machine.root)
    with pytest.raises(InstallError, match="not an engine"):
        machine.install(Options("install", engines=("cuda",)))
    assert snapshot(machine.root) == before


def test_no_seat_of_the_table_is_without_a_way_to_find_it() -> None:
    from installer.browsers import table

    seats: list[Seat] = [seat for browser in table() for seat in browser.seats.values()]
    assert all(seat.marks and seat.programs and (seat.user or seat.keys) for seat in seats)
