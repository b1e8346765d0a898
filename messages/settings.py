"""Sampling settings: what a client may set, its ranges, and the values in force when it sets nothing."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

StopString = Annotated[str, Field(min_length=1)]


class SettingsPatch(BaseModel):
    """The settings that one request or one `update_settings` names; what is left out stays as it was.

    null is "not set": in a request it stays as it was, in `update_settings` it is no longer set.

    Ranges are those of PROTOCOL.md; 0 is a value, not "unset". Temperature 0 is greedy decoding, top_k 0 and
    min_p 0 are off, repeat_penalty 1 is off, thinking_update_interval (seconds) 0 switches the updates off.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    stop: Annotated[list[StopString], Field(max_length=64)] | None = None
    thinking_update_interval: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] | None = None


class InferenceSettings(BaseModel):
    """The settings in force for one generation: every value known. `seed` None means a fresh one each time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 40
    min_p: float = 0.0
    max_tokens: int = 2048
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    thinking_update_interval: float = 5.0

    def patched(self, patch: SettingsPatch | None) -> "InferenceSettings":
        """Return these settings with a patch's values laid over them."""
        return self if patch is None else self.model_copy(update=_changes(patch))


def merge_patches(older: SettingsPatch, newer: SettingsPatch) -> SettingsPatch:
    """Lay one patch over another; what the newer names as null is taken out (as in JSON Merge Patch, RFC 7396)."""
    merged = {**older.model_dump(exclude_none=True), **newer.model_dump(exclude_unset=True)}
    return SettingsPatch(**{name: value for name, value in merged.items() if value is not None})


def _changes(patch: SettingsPatch) -> dict[str, object]:
    changes: dict[str, object] = {name: value for name, value in patch if value is not None}
    if patch.stop is not None:
        changes["stop"] = tuple(patch.stop)
    return changes
