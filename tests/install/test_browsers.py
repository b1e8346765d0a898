"""The table of browsers, rendered for all three systems on whichever one runs the tests."""

from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from support.install_machine import DictRegistry, Machine

from installer import browsers
from installer.errors import InstallError
from installer.platforms import Platform
from native_host import runtime

HOST = "com.tabagent.native_host"
FILE = f"{HOST}.json"
LINUX = Platform("linux", PurePosixPath("/home/ada"), {})
MAC = Platform("darwin", PurePosixPath("/Users/ada"), {})
WINDOWS = Platform("windows", PureWindowsPath("C:\\Users\\Ada L"), {})
SUPPORT = "/Users/ada/Library/Application Support"

LINUX_USER = {
    "chrome": "/home/ada/.config/google-chrome/NativeMessagingHosts",
    "chrome-beta": "/home/ada/.config/google-chrome-beta/NativeMessagingHosts",
    "chrome-dev": "/home/ada/.config/google-chrome-unstable/NativeMessagingHosts",
    "chrome-for-testing": "/home/ada/.config/google-chrome-for-testing/NativeMessagingHosts",
    "chromium": "/home/ada/.config/chromium/NativeMessagingHosts",
    "edge": "/home/ada/.config/microsoft-edge/NativeMessagingHosts",
    "edge-beta": "/home/ada/.config/microsoft-edge-beta/NativeMessagingHosts",
    "edge-dev": "/home/ada/.config/microsoft-edge-dev/NativeMessagingHosts",
    "brave": "/home/ada/.config/BraveSoftware/Brave-Browser/NativeMessagingHosts",
    "vivaldi": "/home/ada/.config/vivaldi/NativeMessagingHosts",
    "opera": "/home/ada/.config/google-chrome/NativeMessagingHosts",
    "firefox": "/home/ada/.mozilla/native-messaging-hosts",
    "librewolf": "/home/ada/.librewolf/native-messaging-hosts",
}
LINUX_SYSTEM = {
    "chrome": "/etc/opt/chrome/native-messaging-hosts",
    "chrome-beta": "/etc/opt/chrome/native-messaging-hosts",
    "chrome-dev": "/etc/opt/chrome/native-messaging-hosts",
    "chrome-for-testing": "/etc/opt/chrome_for_testing/native-messaging-hosts",
    "chromium": "/etc/chromium/native-messaging-hosts",
    "edge": "/etc/opt/edge/native-messaging-hosts",
    "edge-beta": "/etc/opt/edge/native-messaging-hosts",
    "edge-dev": "/etc/opt/edge/native-messaging-hosts",
    "brave": None,
    "vivaldi": None,
    "opera": "/etc/opt/chrome/native-messaging-hosts",
    "firefox": "/usr/lib/mozilla/native-messaging-hosts",
    "librewolf": None,
}
MAC_USER = {
    "chrome": f"{SUPPORT}/Google/Chrome/NativeMessagingHosts",
    "chrome-beta": f"{SUPPORT}/Google/Chrome Beta/NativeMessagingHosts",
    "chrome-dev": f"{SUPPORT}/Google/Chrome Dev/NativeMessagingHosts",
    "chrome-canary": f"{SUPPORT}/Google/Chrome Canary/NativeMessagingHosts",
    "chrome-for-testing": f"{SUPPORT}/Google/ChromeForTesting/NativeMessagingHosts",
    "chromium": f"{SUPPORT}/Chromium/NativeMessagingHosts",
    "edge": f"{SUPPORT}/Microsoft Edge/NativeMessagingHosts",
    "edge-beta": f"{SUPPORT}/Microsoft Edge Beta/NativeMessagingHosts",
    "edge-dev": f"{SUPPORT}/Microsoft Edge Dev/NativeMessagingHosts",
    "edge-canary": f"{SUPPORT}/Microsoft Edge Canary/NativeMessagingHosts",
    "brave": f"{SUPPORT}/BraveSoftware/Brave-Browser/NativeMessagingHosts",
    "vivaldi": f"{SUPPORT}/Vivaldi/NativeMessagingHosts",
    "opera": f"{SUPPORT}/Google/Chrome/NativeMessagingHosts",
    "arc": f"{SUPPORT}/Arc/User Data/NativeMessagingHosts",
    "firefox": f"{SUPPORT}/Mozilla/NativeMessagingHosts",
    "librewolf": f"{SUPPORT}/LibreWolf/NativeMessagingHosts",
}
MAC_SYSTEM = {
    "chrome": "/Library/Google/Chrome/NativeMessagingHosts",
    "chrome-beta": "/Library/Google/Chrome/NativeMessagingHosts",
    "chrome-dev": "/Library/Google/Chrome/NativeMessagingHosts",
    "chrome-canary": "/Library/Google/Chrome/NativeMessagingHosts",
    "chrome-for-testing": "/Library/Google/ChromeForTesting/NativeMessagingHosts",
    "chromium": "/Library/Application Support/Chromium/NativeMessagingHosts",
    "edge": "/Library/Microsoft/Edge/NativeMessagingHosts",
    "edge-beta": "/Library/Microsoft/Edge/NativeMessagingHosts",
    "edge-dev": "/Library/Microsoft/Edge/NativeMessagingHosts",
    "edge-canary": "/Library/Microsoft/Edge/NativeMessagingHosts",
    "brave": None,
    "vivaldi": None,
    "opera": "/Library/Google/Chrome/NativeMessagingHosts",
    "arc": None,
    "firefox": "/Library/Application Support/Mozilla/NativeMessagingHosts",
    "librewolf": None,
}
CHROME_KEY = f"Software\\Google\\Chrome\\NativeMessagingHosts\\{HOST}"
MOZILLA_KEY = f"Software\\Mozilla\\NativeMessagingHosts\\{HOST}"
WINDOWS_KEYS: dict[str, tuple[str, ...]] = {
    "chrome": (CHROME_KEY,),
    "chromium": (f"Software\\Chromium\\NativeMessagingHosts\\{HOST}",),
    "edge": (f"Software\\Microsoft\\Edge\\NativeMessagingHosts\\{HOST}",),
    "brave": (f"Software\\BraveSoftware\\Brave-Browser\\NativeMessagingHosts\\{HOST}", CHROME_KEY),
    "vivaldi": (f"Software\\Vivaldi\\NativeMessagingHosts\\{HOST}", CHROME_KEY),
    "opera": (CHROME_KEY,),
    "firefox": (MOZILLA_KEY,),
    "librewolf": (MOZILLA_KEY,),
}


def folders(platform: Platform, *, system: bool) -> dict[str, str | None]:
    result: dict[str, str | None] = {}
    for browser in browsers.known(platform):
        try:
            target = browsers.target(platform, browser, HOST, PurePosixPath("/p"), system=system)
        except InstallError:
            result[browser.name] = None
            continue
        assert target.manifest.name == FILE
        assert target.registry_keys == ()
        result[browser.name] = str(target.manifest.parent)
    return result


def test_each_browser_on_linux_has_its_own_users_folder() -> None:
    assert folders(LINUX, system=False) == LINUX_USER


def test_each_browser_on_linux_has_the_folder_of_all_users_or_says_that_it_is_not_known() -> None:
    assert folders(LINUX, system=True) == LINUX_SYSTEM


def test_each_browser_on_macos_has_its_own_users_folder() -> None:
    assert folders(MAC, system=False) == MAC_USER


def test_each_browser_on_macos_has_the_folder_of_all_users_or_says_that_it_is_not_known() -> None:
    assert folders(MAC, system=True) == MAC_SYSTEM


def test_each_browser_on_windows_has_its_registry_keys() -> None:
    prefix = WINDOWS.data_folder()
    targets = [browsers.target(WINDOWS, browser, HOST, prefix) for browser in browsers.known(WINDOWS)]
    assert {target.browser: target.registry_keys for target in targets} == WINDOWS_KEYS
    chrome = "C:\\Users\\Ada L\\AppData\\Local\\tabagent-native-host\\manifests\\chrome\\com.tabagent.native_host.json"
    assert str(targets[0].manifest) == chrome
    assert targets[0].hive == "HKCU"


def test_an_installation_for_all_users_of_windows_is_in_the_machines_hive() -> None:
    target = browsers.target(WINDOWS, browsers.by_name(WINDOWS, "edge"), HOST, WINDOWS.system_prefix(), system=True)
    assert target.hive == "HKLM"
    assert str(target.manifest).startswith("C:\\Program Files\\tabagent-native-host\\manifests\\edge")


def test_xdg_config_home_moves_chromium_and_leaves_firefox() -> None:
    platform = Platform("linux", PurePosixPath("/home/ada"), {"XDG_CONFIG_HOME": "/cfg"})
    assert folders(platform, system=False)["chromium"] == "/cfg/chromium/NativeMessagingHosts"
    assert folders(platform, system=False)["firefox"] == "/home/ada/.mozilla/native-messaging-hosts"


@pytest.mark.parametrize(
    ("platform", "data", "config", "logs", "system"),
    [
        (
            LINUX,
            "/home/ada/.local/share/tabagent-native-host",
            "/home/ada/.config/tabagent-native-host",
            "/home/ada/.local/state/tabagent-native-host/log",
            "/opt/tabagent-native-host",
        ),
        (
            MAC,
            f"{SUPPORT}/tabagent-native-host",
            f"{SUPPORT}/tabagent-native-host",
            "/Users/ada/Library/Logs/tabagent-native-host",
            "/Library/Application Support/tabagent-native-host",
        ),
        (
            WINDOWS,
            "C:\\Users\\Ada L\\AppData\\Local\\tabagent-native-host",
            "C:\\Users\\Ada L\\AppData\\Local\\tabagent-native-host",
            "C:\\Users\\Ada L\\AppData\\Local\\tabagent-native-host\\Logs",
            "C:\\Program Files\\tabagent-native-host",
        ),
    ],
)
def test_the_hosts_own_folders_are_each_systems_own(
    platform: Platform, data: str, config: str, logs: str, system: str
) -> None:
    assert str(platform.data_folder()) == data
    assert str(platform.config_folder()) == config
    assert str(platform.log_folder()) == logs
    assert str(platform.system_prefix()) == system


def test_the_hosts_folders_are_those_that_platformdirs_gives_the_daemon() -> None:
    import platformdirs

    here = Platform.current()
    assert Path(here.data_folder()) == platformdirs.user_data_path("tabagent-native-host", appauthor=False)
    assert Path(here.config_folder()) == platformdirs.user_config_path("tabagent-native-host", appauthor=False)
    assert Path(here.log_folder()) == platformdirs.user_log_path("tabagent-native-host", appauthor=False)
    assert runtime.runtime_dir() == str(here.runtime_folder())


@pytest.mark.parametrize("session", ["", "gone"])
def test_a_session_s_folder_that_is_not_there_is_where_neither_looks_for_the_daemon(
    session: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(runtime.RUNTIME_DIR_VARIABLE, raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", session and str(tmp_path / session))
    assert runtime.runtime_dir() == str(Platform.current().runtime_folder())
    assert Path(runtime.runtime_dir()).parent == tmp_path


def test_a_profile_of_its_own_is_read_from_its_user_data_dir() -> None:
    target = browsers.profile_target(PurePosixPath("/tmp/p q"), HOST)
    assert str(target.manifest) == f"/tmp/p q/NativeMessagingHosts/{FILE}"


def test_an_unknown_browser_is_answered_with_the_names_that_are_known() -> None:
    with pytest.raises(InstallError) as raised:
        browsers.by_name(LINUX, "netscape")
    assert all(name in raised.value.remedy for name in LINUX_USER)


def test_a_browser_is_found_by_its_program_on_path(machine: Machine) -> None:
    machine.add_browser("firefox-esr")
    machine.add_browser("brave-browser")
    found = browsers.detect(machine.platform, machine.registry)
    assert [browser.name for browser in found] == ["brave", "firefox"]


@pytest.mark.parametrize(
    ("mark", "name"),
    [
        (".config/google-chrome/Local State", "chrome"),
        (".config/vivaldi/Local State", "vivaldi"),
        (".mozilla/firefox/profiles.ini", "firefox"),
        (".config/mozilla/firefox/profiles.ini", "firefox"),
        (".librewolf/profiles.ini", "librewolf"),
    ],
)
def test_a_browser_is_found_by_a_profile_it_has_made(machine: Machine, mark: str, name: str) -> None:
    file = machine.home / mark
    file.parent.mkdir(parents=True)
    file.touch()
    assert [browser.name for browser in browsers.detect(machine.platform, machine.registry)] == [name]


def test_a_folder_with_manifests_alone_is_not_a_browser(machine: Machine) -> None:
    for folder in LINUX_USER.values():
        (machine.home / Path(folder).relative_to("/home/ada")).mkdir(parents=True, exist_ok=True)
    assert browsers.detect(machine.platform, machine.registry) == []


def test_ubuntus_script_that_starts_a_snap_is_not_an_ordinary_browser(machine: Machine) -> None:
    machine.add_browser("firefox")
    (machine.programs / "firefox").write_text('#!/bin/sh\nexec /snap/bin/firefox "$@"\n')
    assert browsers.detect(machine.platform, machine.registry) == []


def test_a_browser_on_macos_is_found_by_its_application(tmp_path: Path) -> None:
    (tmp_path / "Applications" / "Arc.app").mkdir(parents=True)
    assert [one.name for one in browsers.detect(Platform("darwin", tmp_path, {}), DictRegistry())] == ["arc"]


def test_a_browser_on_windows_is_found_by_its_app_path() -> None:
    registry = DictRegistry()
    registry.set("HKLM", browsers.APP_PATHS + "msedge.exe", "C:\\Edge\\msedge.exe")
    assert [one.name for one in browsers.detect(WINDOWS, registry)] == ["edge"]
