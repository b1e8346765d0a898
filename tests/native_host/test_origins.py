"""Who may call: what a browser passes and nothing else; and each caller's own settings."""

import pytest

from messages.settings import InferenceSettings, SettingsPatch
from native_host.origins import OriginSettings, is_origin


@pytest.mark.parametrize(
    "origin",
    [
        "cli",
        "chrome-extension://" + "abcdefghijklmnop" * 2 + "/",
        "native-host@tabagent.dev",
        "@leading",
        "{01234567-89ab-CDEF-0123-456789abcdef}",
    ],
)
def test_what_browsers_pass_is_an_origin(origin: str) -> None:
    assert is_origin(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "CLI",
        "chrome-extension://" + "a" * 32,
        "chrome-extension://" + "a" * 31 + "/",
        "chrome-extension://" + "z" * 32 + "/",
        "chrome-extension://" + "a" * 32 + "/page.html",
        "chrome-extension://" + "a" * 32 + "/\n",
        "https://example.org/",
        "moz-extension://0123",
        "{not-a-uuid}",
        "no at sign",
        "a@b c",
        "ä@b",
        "*",
    ],
)
def test_anything_else_is_not(origin: str) -> None:
    assert not is_origin(origin)


def test_an_origins_settings_are_its_own() -> None:
    settings = OriginSettings(InferenceSettings())
    settings = settings.updated("a", None, SettingsPatch(temperature=0.1))
    assert settings.in_force("a", "m").temperature == 0.1
    assert settings.in_force("b", "m") == InferenceSettings()


def test_settings_for_one_model_win_over_those_for_all_whichever_came_first() -> None:
    settings = OriginSettings(InferenceSettings())
    settings = settings.updated("a", "m", SettingsPatch(temperature=0.1))
    settings = settings.updated("a", None, SettingsPatch(temperature=0.2, top_k=1))
    assert (settings.in_force("a", "m").temperature, settings.in_force("a", "m").top_k) == (0.1, 1)
    assert settings.in_force("a", "other").temperature == 0.2


def test_what_was_set_before_stays_until_it_is_set_again() -> None:
    settings = OriginSettings(InferenceSettings(seed=1))
    settings = settings.updated("a", None, SettingsPatch(temperature=0))
    settings = settings.updated("a", None, SettingsPatch(top_k=0))
    in_force = settings.in_force("a", "m")
    assert (in_force.temperature, in_force.top_k, in_force.seed) == (0, 0, 1)


def test_what_is_set_to_null_is_no_longer_set() -> None:
    settings = OriginSettings(InferenceSettings(seed=1)).updated("a", None, SettingsPatch(seed=2, top_k=5))
    settings = settings.updated("a", "m", SettingsPatch(seed=3))
    assert settings.in_force("a", "m").seed == 3
    settings = settings.updated("a", "m", SettingsPatch(seed=None))
    assert (settings.in_force("a", "m").seed, settings.in_force("a", "m").top_k) == (2, 5)
    settings = settings.updated("a", None, SettingsPatch(seed=None))
    assert (settings.in_force("a", "m").seed, settings.in_force("a", "m").top_k) == (1, 5)
