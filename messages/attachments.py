"""Pictures and sounds beside a prompt instead of inside it, as its worker gets them.

To write and read many megabytes as JSON takes several times as long as to copy them, and nothing else happens in the
daemon's loop meanwhile. Above it: `messages.worker`. Below it: `messages.content`.
"""

from collections.abc import Callable, Sequence

from messages.content import AudioPart, ImagePart, ImageUrlPart, Message, Part, PromptInput


def detach(prompt: PromptInput) -> tuple[PromptInput, list[memoryview]]:
    """A prompt whose data URLs end with their comma, and what stood behind each, in their order, in UTF-8."""
    payloads: list[memoryview] = []

    def cut(url: str) -> str:
        header = url[: url.find(",") + 1] or url
        payloads.append(memoryview(url.encode())[len(header.encode()) :])
        return header

    return _with_urls(prompt, cut), payloads


def attach(prompt: PromptInput, payloads: Sequence[memoryview]) -> PromptInput:
    """The prompt that `detach` has taken apart."""
    left = iter(payloads)
    return _with_urls(prompt, lambda header: header + str(next(left), "utf-8"))


def _with_urls(prompt: PromptInput, change: Callable[[str], str]) -> PromptInput:
    """A prompt of messages with each data URL changed."""
    messages = tuple(_with_parts(message, change) for message in prompt.messages or ())
    return prompt.model_copy(update={"messages": messages})


def _with_parts(message: Message, change: Callable[[str], str]) -> Message:
    if isinstance(message.content, str):
        return message
    return message.model_copy(update={"content": [_with_url(part, change) for part in message.content]})


def _with_url(part: Part, change: Callable[[str], str]) -> Part:
    match part:
        case ImagePart() | AudioPart():
            return part.model_copy(update={"data": change(part.data)})
        case ImageUrlPart():
            picture = part.image_url.model_copy(update={"url": change(part.image_url.url)})
            return part.model_copy(update={"image_url": picture})
        case _:
            return part
