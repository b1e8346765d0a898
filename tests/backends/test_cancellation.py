"""Work that nothing can interrupt, beside the generation that wants it."""

from __future__ import annotations

from threading import Event, Thread, Timer

import pytest

from backends.base import CancelToken
from backends.cancellation import Cancelled, cancellable, run_beside

BOUND_S = 10.0


class StubbornWork:
    """Hears of no cancellation and ends when it is told to."""

    def __init__(self) -> None:
        self.began, self.may_end, self.ended = Event(), Event(), Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.may_end.wait(BOUND_S)
        self.ended.set()
        return "done"


def stop_in_the_middle(work: StubbornWork) -> None:
    """Want some work, and stop wanting it once it has begun."""
    cancel = CancelToken()

    def cancel_it() -> None:
        assert work.began.wait(BOUND_S)
        cancel.cancel()

    Thread(target=cancel_it).start()
    with cancellable(cancel), pytest.raises(Cancelled):
        run_beside(work)


def test_work_waits_while_much_that_was_stopped_still_goes_on_and_a_stop_of_it_is_heard_at_once() -> None:
    stopped, waiting = [StubbornWork(), StubbornWork()], StubbornWork()
    for work in stopped:
        stop_in_the_middle(work)
    cancel = CancelToken()
    stopper = Timer(0.2, cancel.cancel)
    stopper.start()
    with cancellable(cancel), pytest.raises(Cancelled):
        run_beside(waiting)
    stopper.join(BOUND_S)
    assert not waiting.began.is_set()
    stopped[0].may_end.set()
    waiting.may_end.set()
    assert run_beside(waiting) == "done"
    stopped[1].may_end.set()
    assert all(work.ended.wait(BOUND_S) for work in stopped)


def test_work_that_fails_gives_its_place_to_others() -> None:
    def fail() -> None:
        raise ValueError("broken")

    for _ in range(5):
        with pytest.raises(ValueError, match="broken"):
            run_beside(fail)
    assert run_beside(lambda: 1) == 1


def test_threads_that_could_not_be_started_keep_no_place_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(RuntimeError):
                run_beside(lambda: "done")
    assert run_beside(lambda: "done") == "done"
