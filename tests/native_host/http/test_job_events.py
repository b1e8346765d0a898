"""What a watcher is told of a job, and how far it is said to be, made of the job alone."""

import pytest

from messages.errors import ErrorCode, HostError
from messages.facts import Figures, FinishReason, JobState
from native_host.http.job_events import Event, JobNarrator, Place
from native_host.http.job_progress import PREFILL_SHARE, percentage, status_of
from native_host.jobs import Job, Thinking


@pytest.fixture
def job() -> Job:
    return Job("http", "echo", background=True, grace_s=60.0)


def thinking(text: str) -> Thinking:
    return Thinking(text, JobState.DECODE, 1, 1.0, 1, None, None)


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def told(job: Job, last_id: str = "0") -> list[Event]:
    return list(JobNarrator(job, Place.read(last_id)).news())


def test_nothing_new_is_nothing_told(job: Job) -> None:
    narrator = JobNarrator(job, Place())
    assert names(list(narrator.news())) == ["status_update"]
    assert list(narrator.news()) == []


def test_text_that_came_with_the_end_is_told_before_it(job: Job) -> None:
    narrator = JobNarrator(job, Place())
    job.add_text("a", 1)
    list(narrator.news())
    job.add_text("b", 1)
    job.finish(FinishReason.STOP, Figures())
    rest = list(narrator.news())
    assert names(rest) == ["status_update", "token", "analysis_complete", "done"]
    assert [event.id for event in rest] == ["1", "2", "2-result", "2-done"]
    assert narrator.is_over
    assert rest[2].fields["text"] == "ab"


@pytest.mark.parametrize(
    ("last_id", "expected"),
    [
        ("0", ["status_update", "token", "token", "analysis_complete", "done"]),
        ("1", ["status_update", "token", "analysis_complete", "done"]),
        ("2", ["status_update", "analysis_complete", "done"]),
        ("2-result", ["status_update", "done"]),
        ("999", ["status_update", "token", "token", "analysis_complete", "done"]),
    ],
)
def test_who_comes_back_is_told_the_rest(job: Job, last_id: str, expected: list[str]) -> None:
    job.add_text("a", 1)
    job.add_text("b", 1)
    job.finish(FinishReason.STOP, Figures())
    assert names(told(job, last_id)) == expected


def test_a_failure_has_its_code_and_what_was_said(job: Job) -> None:
    job.add_text("half", 1)
    job.fail(HostError(ErrorCode.BACKEND_CRASHED, "It crashed.", signal="SIGKILL"), Figures())
    error = next(event for event in told(job) if event.name == "error")
    assert error.fields["error"] == {"code": "backend_crashed", "details": {"signal": "SIGKILL"}}
    assert (error.fields["message"], error.fields["text"]) == ("It crashed.", "half")
    assert status_of(job).current_step == "Failed: It crashed."


def test_one_token_is_told_as_one(job: Job) -> None:
    job.add_text("a", 1)
    assert status_of(job).current_step == "Generating (1 token)"
    job.finish(FinishReason.STOP, Figures())
    assert status_of(job).current_step == "Finished (1 token)"


def test_a_sign_of_life_is_told_once_and_stays_in_the_status(job: Job) -> None:
    narrator = JobNarrator(job, Place())
    list(narrator.news())
    job.add_thinking(thinking("Reading..."))
    assert names(list(narrator.news())) == ["status_update", "thinking_update"]
    assert list(narrator.news()) == []
    job.finish(FinishReason.STOP, Figures())
    assert status_of(job).llm_thinking == "Reading..."


def test_progress_rises_through_prompt_and_answer_and_stays_where_it_was_cancelled(job: Job) -> None:
    seen = [percentage(job)]
    job.begin_prefill()
    for done in (0, 50, 100):
        job.note_prefill(done, 100)
        seen.append(percentage(job))
    assert seen[-1] == PREFILL_SHARE
    for _ in range(40):
        job.add_text("x", 100)
        seen.append(percentage(job))
    assert seen == sorted(seen)
    assert seen[-1] < 100
    job.finish(FinishReason.CANCELLED, Figures())
    assert percentage(job) == seen[-1]


def test_every_state_has_its_words(job: Job) -> None:
    for state in JobState:
        job.state = state
        assert status_of(job).current_step
        assert status_of(job).status in ("queued", "running", "finished", "cancelled", "failed")


def test_those_who_wait_are_woken_by_a_change_and_not_by_the_same_again(job: Job) -> None:
    with job.woken() as news:
        job.note_prefill(1, 2)
        assert news.is_set()
        news.clear()
        job.note_prefill(1, 2)
        assert not news.is_set()
        job.begin_prefill()
        assert news.is_set()
