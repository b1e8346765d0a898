"""What a `load` may ask of a model that is there already: the options in force, and those that need no new worker.

Above it: `native_host.models`. Below it: `native_host.managed_model`.
"""

import json

from messages.errors import ErrorCode, HostError
from messages.options import DTYPE_SPELLINGS, LEFT_OUT, LoadOptions
from native_host.managed_model import ManagedModel

_OF_THE_TABLE = frozenset({"keep_alive_s"})
"""Options that no engine hears of: a loaded model takes another value at once."""

_ANY = "auto"
"""What leaves a device or a dtype to the host: one that the configuration or another load has named will do."""


def kept_alive(had: LoadOptions, asked: LoadOptions) -> LoadOptions:
    """The options that a loaded model had, with those asked for that need no new worker."""
    return had.model_copy(update=asked.model_dump(exclude_none=True, include=set(_OF_THE_TABLE)))


def after_crash(had: LoadOptions, asked: LoadOptions) -> LoadOptions:
    """The options of a crashed model that is loaded again: those it had if its engine is asked for nothing."""
    return asked if asked.named() - _OF_THE_TABLE else kept_alive(had, asked)


def refuse_other_options(model: ManagedModel, backend: str, options: LoadOptions) -> None:
    """Loading what is loaded already is success, but never with options of its engine that are not those in force."""
    in_force = _in_force(model)
    named = {**LEFT_OUT, **_spelt(in_force)}
    chosen = _found_out(model)
    wanted = {name: value for name, value in _spelt(options).items() if name not in _OF_THE_TABLE}
    wanted = {name: value for name, value in wanted.items() if not value == _ANY == LEFT_OUT.get(name)}
    others = sorted(name for name, value in wanted.items() if value not in (named.get(name), chosen.get(name)))
    ours = {**named, **chosen, **in_force.model_dump(exclude_none=True)}
    fields = [f"options.{name}: {_in_words(ours.get(name))} in the loaded model" for name in others]
    if backend not in ("auto", model.source.row.name):
        fields.append(f"backend: is {model.source.row.name} in the loaded model")
    if fields:
        raise HostError(
            ErrorCode.INVALID_REQUEST,
            f"{model.source.name} is loaded with other options ({fields[0]}); unload it first.",
            fields=fields,
        )


def _in_force(model: ManagedModel) -> LoadOptions:
    """The options that its engine honours, or is asked to while it loads."""
    return model.source.options if model.info is None else model.info.options


def _found_out(model: ManagedModel) -> dict[str, object]:
    """Options that an engine has chosen, or has taken as they were asked for."""
    info = model.info
    if info is None:
        return {}
    chosen = {"context_length": info.context_length, "device": info.device, "dtype": info.dtype}
    return {name: value for name, value in chosen.items() if value is not None}


def _spelt(options: LoadOptions) -> dict[str, object]:
    """The options that were set, a dtype by the first of its names."""
    values: dict[str, object] = options.model_dump(exclude_none=True)
    first = DTYPE_SPELLINGS.get(options.dtype or "")
    return values if first is None else {**values, "dtype": first}


def _in_words(value: object) -> str:
    return "is not set" if value is None else f"is {json.dumps(value)}"
