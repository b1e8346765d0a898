"""What daemon and worker say to each other survives the way there, field by field."""

import pytest

from messages.content import CalledFunction, Message, PromptInput, ToolCall
from messages.errors import ErrorCode
from messages.facts import BackendType, Capabilities, FinishReason, TokenLogprob, TokenScore
from messages.options import JsonSchemaFormat, LoadOptions
from messages.settings import InferenceSettings
from messages.worker import (
    CancelCommand,
    Command,
    CountCommand,
    CountedEvent,
    EmbedCommand,
    EmbeddedEvent,
    EndedEvent,
    Event,
    FailedEvent,
    GenerateCommand,
    LoadCommand,
    LoadedEvent,
    LoadProgressEvent,
    PrefillEvent,
    TokensEvent,
    VectorsEvent,
    read_command,
    read_event,
    write_command,
    write_event,
)

PROMPT = PromptInput(
    messages=(
        Message(role="system", content="be brief"),
        Message.model_validate({"role": "user", "content": [{"type": "text", "text": "a 🙂"}]}),
    )
)
WITH_MEDIA = PromptInput.model_validate(
    {
        "messages": [
            {"role": "system", "content": "look, and listen: \0"},
            {
                "role": "user",
                "content": [
                    {"type": "image", "data": "data:image/png;base64,iVBORw0K"},
                    {"type": "text", "text": "data:image/png;base64,stays"},
                    {"type": "audio", "data": "data:audio/wav;base64,no base64: \0 ü 🙂"},
                    {"type": "image_url", "image_url": {"url": "data:image/gif;base64,", "detail": "low"}},
                ],
            },
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": [{"type": "image", "data": "data:IMAGE/JPEG;base64,/9j/" + "A" * 400_000}]},
            {"role": "user", "content": [{"type": "audio", "data": "data:audio/no comma"}]},
        ]
    }
)
COMMANDS_SENT: list[Command] = [
    LoadCommand(ref=1, backend="echo", path="/m", options=LoadOptions(context_length=8), general=("context_length",)),
    GenerateCommand(
        ref=2,
        prompt=PROMPT,
        settings=InferenceSettings(temperature=0, stop=("\n",)),
        response_format=JsonSchemaFormat(type="json_schema", json_schema={"type": "object"}),
    ),
    GenerateCommand(ref=3, prompt=PromptInput(prompt=""), settings=InferenceSettings()),
    GenerateCommand(ref=6, prompt=WITH_MEDIA, settings=InferenceSettings()),
    CancelCommand(ref=2),
    CountCommand(ref=4, prompt=PROMPT),
    CountCommand(ref=7, prompt=WITH_MEDIA),
    EmbedCommand(ref=5, texts=("a 🙂", ""), normalize=False),
]
EVENTS_SENT: list[Event] = [
    LoadProgressEvent(ref=1, phase="loading", progress=None, message="Loading", total_bytes=5),
    LoadedEvent(
        ref=1,
        backend_type=BackendType.ECHO,
        options=LoadOptions(context_length=8),
        context_length=None,
        size_bytes=0,
        device="cpu",
        capabilities=Capabilities(image=True),
        unsupported_settings=("min_p",),
        response_formats=("regex",),
    ),
    PrefillEvent(ref=2, done=1, total=2, cached=0),
    TokensEvent(ref=2, text="🙂\u2028\ud800", count=3),
    TokensEvent(
        ref=2,
        text="",
        count=1,
        logprobs=(
            TokenLogprob(token="a", logprob=-0.5, bytes=(97,), top=(TokenScore(token="b", logprob=-1.0, bytes=None),)),
        ),
        reasoning='"why"\n',
        tool_calls=(ToolCall(id="c1", function=CalledFunction(name="f", arguments='{"a": 1}')),),
    ),
    EndedEvent(ref=2, finish_reason=FinishReason.STOP, input_tokens=2, output_tokens=3, cached_tokens=0),
    CountedEvent(ref=4, tokens=2, context_length=None),
    VectorsEvent(ref=5, vectors=((0.25, -1.0), (0.0, 1e-9))),
    EmbeddedEvent(ref=5, dimensions=2, input_tokens=3, truncated=(1,)),
    FailedEvent(ref=2, code=ErrorCode.BUSY, message="Busy.", details={"retry_after_ms": 5, "fields": ["a"]}),
]


@pytest.mark.parametrize("command", COMMANDS_SENT, ids=lambda command: command.op)
def test_a_command_is_read_as_it_was_written(command: Command) -> None:
    written = b"".join(write_command(command))
    assert read_command(written) == command
    assert read_command(bytearray(written)) == command


def test_what_pictures_weigh_is_not_written_as_json() -> None:
    json_text, *payloads = write_command(CountCommand(ref=7, prompt=WITH_MEDIA))
    assert len(json_text) < 2000
    assert [len(payload) for payload in payloads] == [8, 20, 0, 400_004, 0]


@pytest.mark.parametrize("event", EVENTS_SENT, ids=lambda event: event.event)
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    assert read_event(write_event(event)) == event


def test_a_failure_becomes_the_error_to_raise() -> None:
    event = EVENTS_SENT[-1]
    assert isinstance(event, FailedEvent)
    error = event.as_error()
    assert (error.code, error.message) == (ErrorCode.BUSY, "Busy.")
    assert error.details == {"retry_after_ms": 5, "fields": ["a"]}
