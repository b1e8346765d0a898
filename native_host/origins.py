"""Who may call, and what each caller has set. Origins are what the browser vouches for, never what a page says."""

import re

from messages.settings import InferenceSettings, SettingsPatch, merge_patches

CHROMIUM_ORIGIN = re.compile(r"chrome-extension://[a-p]{32}/")
FIREFOX_ID = re.compile(r"\{[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}|[\w.+-]*@[\w.-]+", re.ASCII)
CLI_ORIGIN = "cli"
"""The origin of terminal programs."""

HTTP_ORIGIN = "http"
"""The origin of programs that ask over HTTP."""

OWNER_ORIGINS = frozenset({CLI_ORIGIN, HTTP_ORIGIN})
"""Programs of the user, who can read the statistics file anyway: they see the figures of every origin."""


def is_origin(text: str) -> bool:
    """True for what a browser passes (a Chromium extension's origin, a Firefox add-on's id) and for `cli`."""
    return text == CLI_ORIGIN or bool(CHROMIUM_ORIGIN.fullmatch(text) or FIREFOX_ID.fullmatch(text))


class OriginSettings:
    """The settings in force for each origin: the defaults, the origin's own, its own for one model, in this order."""

    def __init__(self, defaults: InferenceSettings) -> None:
        self._defaults = defaults
        self._patches: dict[tuple[str, str | None], SettingsPatch] = {}

    def updated(self, origin: str, model: str | None, patch: SettingsPatch) -> "OriginSettings":
        """These settings with a patch laid over what an origin has set before, for all models or for one."""
        changed, key = OriginSettings(self._defaults), (origin, model)
        changed._patches = {**self._patches, key: merge_patches(self._patches.get(key, SettingsPatch()), patch)}
        return changed

    def in_force(self, origin: str, model: str) -> InferenceSettings:
        """The settings of an origin's next generation with a model."""
        settings = self._defaults.patched(self._patches.get((origin, None)))
        return settings.patched(self._patches.get((origin, model)))
