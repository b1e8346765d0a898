"""Sampling settings: ranges, defaults, and patches laid over one another."""

from typing import Any

import pytest
from pydantic import ValidationError

from messages.settings import InferenceSettings, SettingsPatch, merge_patches

RANGES: list[tuple[str, list[Any], list[Any]]] = [
    ("temperature", [0, 0.0, 2], [-0.01, 2.01]),
    ("top_p", [0.001, 1], [0, 1.01, -1]),
    ("top_k", [0, 1, 2**31 - 1], [-1, 2**31, 1.5]),
    ("min_p", [0, 1], [-0.1, 1.1]),
    ("max_tokens", [1, 2**31 - 1], [0, -1, 2**31, 1.0]),
    ("repeat_penalty", [0.1, 1, 10], [0, 10.1]),
    ("presence_penalty", [-2, 0, 2], [-2.1, 2.1]),
    ("frequency_penalty", [-2, 0, 2], [-2.1, 2.1]),
    ("seed", [0, 2**32 - 1], [-1, 2**32, 0.5]),
    ("stop", [[], ["a"], ["a"] * 64], ["a", [""], ["a"] * 65, [1]]),
    ("thinking_update_interval", [0, 0.5, 3600], [-1, 3601]),
]
NO_NUMBERS: list[Any] = [float("nan"), float("inf"), float("-inf"), "1", True, [], {}]


def test_the_table_of_ranges_has_every_setting() -> None:
    assert {name for name, _, _ in RANGES} == set(SettingsPatch.model_fields) == set(InferenceSettings.model_fields)


@pytest.mark.parametrize(("name", "good", "bad"), RANGES)
def test_a_setting_takes_what_is_in_its_range_and_nothing_else(name: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert getattr(SettingsPatch.model_validate({name: value}), name) == value
    for value in bad + [value for value in NO_NUMBERS if name != "stop" or value != []]:
        with pytest.raises(ValidationError):
            SettingsPatch.model_validate({name: value})


def test_the_defaults_are_those_of_the_protocol() -> None:
    defaults = InferenceSettings()
    assert (defaults.temperature, defaults.top_p, defaults.top_k, defaults.max_tokens) == (0.7, 0.9, 40, 2048)
    assert defaults.thinking_update_interval == 5.0
    off = (defaults.min_p, defaults.repeat_penalty, defaults.presence_penalty, defaults.frequency_penalty)
    assert off == (0.0, 1.0, 0.0, 0.0)
    assert (defaults.seed, defaults.stop) == (None, ())


@pytest.mark.parametrize(("name", "good", "bad"), RANGES)
def test_zero_is_a_value_and_not_left_out(name: str, good: list[Any], bad: list[Any]) -> None:
    patched = InferenceSettings().patched(SettingsPatch.model_validate({name: good[0]}))
    assert getattr(patched, name) == (tuple(good[0]) if name == "stop" else good[0])


def test_what_a_patch_leaves_out_stays_as_it_was() -> None:
    settings = InferenceSettings(temperature=1.5, seed=7)
    assert settings.patched(SettingsPatch(top_k=3)) == InferenceSettings(temperature=1.5, seed=7, top_k=3)
    assert settings.patched(SettingsPatch()) == settings
    assert settings.patched(None) == settings


def test_the_newer_of_two_patches_wins_where_both_name_a_setting() -> None:
    merged = merge_patches(SettingsPatch(temperature=0.1, top_k=5), SettingsPatch(temperature=0, stop=["x"]))
    assert merged == SettingsPatch(temperature=0, top_k=5, stop=["x"])


def test_null_takes_out_of_a_patch_what_the_older_one_had() -> None:
    merged = merge_patches(SettingsPatch(temperature=0.1, seed=5), SettingsPatch(seed=None, top_k=None))
    assert merged == SettingsPatch(temperature=0.1)
    assert InferenceSettings(seed=4).patched(SettingsPatch(seed=None)).seed == 4


def test_an_empty_list_of_stop_strings_is_a_value() -> None:
    merged = merge_patches(SettingsPatch(stop=["x"]), SettingsPatch(stop=[]))
    assert InferenceSettings(stop=("y",)).patched(merged).stop == ()
