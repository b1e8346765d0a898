"""A worker process as the daemon sees it: commands, its output in the log, its end explained."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable

import psutil
import pytest

from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions
from messages.settings import InferenceSettings
from messages.worker import CancelCommand, CountCommand, CountedEvent, EndedEvent, Event, GenerateCommand, LoadCommand
from native_host.worker_process import WorkerAbandoned, WorkerProcess


@pytest.fixture(autouse=True)
def faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABAGENT_TEST_FAULTS", "1")


class WatchedWorker(WorkerProcess):
    """One that tells when its socket has closed."""

    def __init__(self, model: str, on_exit: Callable[[HostError | None], None]) -> None:
        super().__init__(model, on_exit)
        self.link_closed = asyncio.Event()
        self._link: asyncio.Transport

    @property
    def write_buffer_bytes(self) -> int:
        """What asyncio holds for the worker."""
        return self._link.get_write_buffer_size()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self._link = transport

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.link_closed.set()


Play = Callable[[WorkerProcess], Awaitable[None]]


def with_worker(play: Play) -> list[HostError | None]:
    """Run `play` with a started worker; what its `on_exit` was told."""
    ends: list[HostError | None] = []

    async def run() -> None:
        worker = WatchedWorker("m", ends.append)
        async with asyncio.timeout(30):
            await worker.start()
            try:
                await play(worker)
            finally:
                await worker.close()

    asyncio.run(run())
    return ends


async def load(worker: WorkerProcess, **options: object) -> Event:
    command = LoadCommand(ref=worker.next_ref(), backend="echo", path="/m", options=LoadOptions.model_validate(options))
    return await worker.call(command, command.ref)


def generation(worker: WorkerProcess, prompt: str) -> GenerateCommand:
    return GenerateCommand(ref=worker.next_ref(), prompt=PromptInput(prompt=prompt), settings=InferenceSettings())


async def failure(call: Awaitable[object]) -> HostError:
    with pytest.raises(HostError) as caught:
        await call
    return caught.value


def test_a_command_has_its_events_and_its_last_one() -> None:
    heard: list[str] = []

    async def play(worker: WorkerProcess) -> None:
        await load(worker)
        command = generation(worker, "a b c")
        end = await worker.call(command, command.ref, lambda event: heard.append(event.event))
        assert isinstance(end, EndedEvent)
        assert end.output_tokens == 3

    assert with_worker(play) == [None]
    assert heard[0] == "prefill"
    assert "tokens" in heard
    assert "ended" not in heard


def test_large_commands_wait_for_a_worker_that_does_not_read_and_come_whole_and_in_order() -> None:
    counts: list[int] = []

    async def play(worker: WorkerProcess) -> None:
        await load(worker)
        assert worker.pid is not None
        assert isinstance(worker, WatchedWorker)
        os.kill(worker.pid, signal.SIGSTOP)
        commands = [
            CountCommand(ref=worker.next_ref(), prompt=PromptInput(prompt=" ".join(["word"] * words)))
            for words in (1_000_000, 3, 400_000)
        ]
        calls = [asyncio.create_task(worker.call(command, command.ref)) for command in commands]
        await asyncio.sleep(0)
        assert worker.write_buffer_bytes < 1_000_000
        os.kill(worker.pid, signal.SIGCONT)
        for call in asyncio.as_completed(calls):
            event = await call
            assert isinstance(event, CountedEvent)
            counts.append(event.tokens)

    assert with_worker(play) == [None]
    assert counts == [1_000_000, 3, 400_000]


def test_a_close_ends_the_process() -> None:
    pids: list[int] = []

    async def play(worker: WorkerProcess) -> None:
        await load(worker, prefill_ms=60_000)
        assert worker.pid is not None
        pids.append(worker.pid)
        worker.send(generation(worker, "x"))

    assert with_worker(play) == [None]
    assert not psutil.pid_exists(pids[0])


def test_a_worker_that_does_not_leave_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("native_host.worker_process.EXIT_TIMEOUT_S", 0.1)

    async def play(worker: WorkerProcess) -> None:
        await load(worker)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)

    assert with_worker(play) == [None]


@pytest.mark.parametrize(
    ("number", "name", "remedy"),
    [
        (signal.SIGKILL, "SIGKILL", "Send the request again"),
        (signal.SIGRTMIN + 5, "signal 39", "Send the request again"),
        (signal.SIGILL, "SIGILL", "install the engine anew"),
    ],
)
def test_a_worker_that_is_killed_fails_its_calls_with_the_signal(number: int, name: str, remedy: str) -> None:
    async def play(worker: WorkerProcess) -> None:
        await load(worker, prefill_ms=60_000)
        commands = [generation(worker, "x") for _ in range(2)]
        calls = [asyncio.create_task(worker.call(command, command.ref)) for command in commands]
        await asyncio.sleep(0)
        assert worker.pid is not None
        os.kill(worker.pid, number)
        for call in calls:
            error = await failure(call)
            assert (error.code, error.details["signal"]) == (ErrorCode.BACKEND_CRASHED, name)
            assert remedy in error.message

    (told,) = with_worker(play)
    assert told is not None
    assert told.details["signal"] == name


def test_a_crash_of_a_load_tells_that_the_files_may_be_damaged() -> None:
    async def play(worker: WorkerProcess) -> None:
        error = await failure(load(worker, fault="segfault@load"))
        assert (error.code, error.details["signal"]) == (ErrorCode.BACKEND_CRASHED, "SIGSEGV")
        assert "crashed while it loaded the model (SIGSEGV). The model's files may be damaged" in error.message

    assert len(with_worker(play)) == 1


def test_a_call_that_comes_just_after_the_end_is_told_of_the_crash() -> None:
    async def play(worker: WorkerProcess) -> None:
        await load(worker)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        assert isinstance(worker, WatchedWorker)
        await worker.link_closed.wait()
        command = generation(worker, "x")
        assert (await failure(worker.call(command, command.ref))).code is ErrorCode.BACKEND_CRASHED

    assert len(with_worker(play)) == 1


def test_a_call_after_the_end_is_told_to_load_again() -> None:
    async def play(worker: WorkerProcess) -> None:
        await load(worker)
        await worker.close()
        command = generation(worker, "x")
        assert (await failure(worker.call(command, command.ref))).code is ErrorCode.MODEL_NOT_LOADED

    with_worker(play)


def test_a_call_that_a_close_cuts_off_was_cancelled_and_did_not_crash() -> None:
    async def play(worker: WorkerProcess) -> None:
        await load(worker, prefill_ms=60_000)
        worker.send(generation(worker, "x"))
        count = CountCommand(ref=worker.next_ref(), prompt=PromptInput(prompt="x"))
        call = asyncio.create_task(worker.call(count, count.ref))
        await asyncio.sleep(0)
        await worker.close()
        assert (await failure(call)).code is ErrorCode.CANCELLED

    assert with_worker(play) == [None]


def test_an_exit_code_and_the_last_output_explain_an_end() -> None:
    async def play(worker: WorkerProcess) -> None:
        await load(worker, fault="exit@1")
        error = await failure(_run(worker, "a b c"))
        assert (error.code, error.details["exit_code"]) == (ErrorCode.BACKEND_CRASHED, 3)

    with_worker(play)


async def _run(worker: WorkerProcess, prompt: str) -> Event:
    command = generation(worker, prompt)
    return await worker.call(command, command.ref)


def test_what_it_prints_is_logged_with_its_model(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tabagent.worker_process")

    async def play(worker: WorkerProcess) -> None:
        await load(worker, fault="print@0")
        await _run(worker, "a")

    with_worker(play)
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("[m ") and line.endswith("engine noise on sys.stderr") for line in lines)


def test_a_cancel_needs_no_answer_and_the_worker_goes_on() -> None:
    async def play(worker: WorkerProcess) -> None:
        await load(worker, tokens_per_second=10)
        command = generation(worker, "w " * 100)
        call = asyncio.create_task(worker.call(command, command.ref))
        await asyncio.sleep(0)
        worker.send(CancelCommand(ref=command.ref))
        end = await call
        assert isinstance(end, EndedEvent)
        assert end.finish_reason == "cancelled"
        count = CountCommand(ref=worker.next_ref(), prompt=PromptInput(prompt="a b"))
        counted = await worker.call(count, count.ref)
        assert isinstance(counted, CountedEvent)
        assert counted.tokens == 2

    assert with_worker(play) == [None]


def test_a_call_beyond_its_limit_ends_the_process_and_the_others_know_that_it_was_not_theirs() -> None:
    async def play(worker: WorkerProcess) -> None:
        await load(worker, prefill_ms=60_000)
        hung = generation(worker, "x")
        calls = [asyncio.create_task(worker.call(hung, hung.ref, limit_s=0.2))]
        await asyncio.sleep(0)
        behind = generation(worker, "x")
        calls.append(asyncio.create_task(worker.call(behind, behind.ref)))
        with pytest.raises(TimeoutError):
            await calls[0]
        assert isinstance(await failure(calls[1]), WorkerAbandoned)

    (told,) = with_worker(play)
    assert isinstance(told, WorkerAbandoned)


def test_a_limit_counts_from_when_the_engine_is_at_the_call() -> None:
    async def play(worker: WorkerProcess) -> None:
        await load(worker, prefill_ms=500)
        before = generation(worker, "x")
        first = asyncio.create_task(worker.call(before, before.ref))
        await asyncio.sleep(0)
        count = CountCommand(ref=worker.next_ref(), prompt=PromptInput(prompt="a b"))
        counted = asyncio.create_task(worker.call(count, count.ref, limit_s=0.3))
        await asyncio.sleep(0)
        assert worker.is_at(before.ref)
        assert not worker.is_at(count.ref)
        assert isinstance(await first, EndedEvent)
        assert isinstance(await counted, CountedEvent)

    assert with_worker(play) == [None]


def test_a_call_that_nobody_waits_for_any_more_ends_within_its_bound() -> None:
    async def play(worker: WorkerProcess) -> None:
        await load(worker, prefill_ms=60_000)
        left = generation(worker, "x")
        call = asyncio.create_task(worker.call(left, left.ref))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait({call})
        assert worker.is_at(left.ref)
        worker.bound(left.ref, 0.2)
        count = CountCommand(ref=worker.next_ref(), prompt=PromptInput(prompt="a b"))
        assert isinstance(await failure(worker.call(count, count.ref)), WorkerAbandoned)

    assert len(with_worker(play)) == 1
