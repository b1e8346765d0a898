"""What a model cannot do, said in the same words before it has loaded and after.

Above it: `native_host.handlers.generation` and `native_host.generation`. Below it: `native_host.managed_model`. Of a
model that still loads only what its backend can never do is known: whoever waited for it asks again.
"""

from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import Capabilities
from messages.settings import InferenceSettings
from native_host.managed_model import ManagedModel


def refuse_generation(model: ManagedModel, prompt: PromptInput, settings: InferenceSettings, *, logprobs: bool) -> None:
    """Raise HostError `unsupported_option` for what of a generation a model is known not to do."""
    if prompt.tools and not _capabilities(model).tools:
        raise _unsupported(model, "tools", "tools")
    if logprobs and not _capabilities(model).logprobs:
        raise _unsupported(model, "logprobs", "logprobs")
    refuse_media(model, prompt)
    refuse_settings(model, settings)


def refuse_media(model: ManagedModel, prompt: PromptInput) -> None:
    """The same for pictures and sounds."""
    if not prompt.has_media:
        return
    capabilities = _capabilities(model)
    if prompt.has_part("image") and not capabilities.image:
        raise _unsupported(model, "pictures", "messages")
    if prompt.has_part("audio") and not capabilities.audio:
        raise _unsupported(model, "sound", "messages")


def refuse_settings(model: ManagedModel, settings: InferenceSettings) -> None:
    """The same for settings that are not off."""
    off = InferenceSettings()
    for name in model.info.unsupported_settings if model.info else ():
        if getattr(settings, name) != getattr(off, name):
            raise _unsupported(model, name, f"settings.{name}")


def _capabilities(model: ManagedModel) -> Capabilities:
    return model.info.capabilities if model.info else model.source.row.capabilities


def _unsupported(model: ManagedModel, what: str, field: str) -> HostError:
    return HostError(
        ErrorCode.UNSUPPORTED_OPTION,
        f"{model.source.name} ({model.source.row.name}) cannot do {what}; leave it out or load another model.",
        fields=[field],
    )
