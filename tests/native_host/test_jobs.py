"""Jobs outlive the port they were started from: attach, read, orphans, origins. And their buffer on its own."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.browsers.waiting import wait_until
from support.host_process import OTHER_ORIGIN, BrowserHost, Json, Port

from messages.errors import ErrorCode, HostError
from messages.facts import Figures, FinishReason, JobState, TokenLogprob, TokenScore
from native_host.jobs import Generations, Job, JobNews, TextPiece, Thinking

TEXT = " ".join(f"w{number}" for number in range(200))


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost("[daemon]\norphan_grace_s = 0.4\nfinished_job_ttl_s = 2.0\n") as made:
        yield made


@pytest.fixture
def port(host: BrowserHost) -> Iterator[Port]:
    with host.port() as opened:
        assert opened.call("load", model="echo", options={"tokens_per_second": 200})["status"] == "success"
        yield opened
        opened.call("stop_generation")
        opened.call("unload", all=True)


def start(port: Port, **fields: Any) -> str:
    """Start a generation of a second on a port and return its job."""
    return port.accepted(port.ask("generate", prompt=TEXT, **fields))


def partials(port: Port, request: str) -> list[Json]:
    return port.of(request, "partial")


def joined(answers: list[Json]) -> str:
    return "".join(answer["text"] for answer in answers)


def state_of(port: Port, job: str) -> str:
    answer = port.call("read_job", job_id=job)
    return str(answer.get("state", answer.get("error")))


def test_a_lost_stream_is_resumed_from_its_cursor_with_no_token_lost_or_doubled(host: BrowserHost, port: Port) -> None:
    with host.port() as lost:
        request = lost.ask("generate", prompt=TEXT)
        job = lost.accepted(request)
        lost.wait_count(lambda message: message["type"] == "partial", 20)
    before = partials(lost, request)
    resumed = port.ask("attach", job_id=job, cursor=len(before))
    result = port.result(resumed)
    after = partials(port, resumed)
    assert joined(before) + joined(after) == result["text"] == TEXT
    assert [partial["seq"] for partial in before + after] == list(range(len(before) + len(after)))
    assert after[-1]["tokens"] == result["stats"]["output_tokens"] == 200
    assert after


def test_many_may_follow_one_job_each_from_its_own_cursor(host: BrowserHost, port: Port) -> None:
    job = start(port)
    port.wait_count(lambda message: message["type"] == "partial", 30)
    followers = [host.port() for _ in range(4)]
    requests = [follower.ask("attach", job_id=job, cursor=10 * index) for index, follower in enumerate(followers)]
    results = [follower.result(request) for follower, request in zip(followers, requests, strict=True)]
    streams = [partials(follower, request) for follower, request in zip(followers, requests, strict=True)]
    for follower in followers:
        follower.close()
    assert {result["text"] for result in results} == {TEXT}
    assert joined(streams[0]) == TEXT
    for index, stream in enumerate(streams):
        assert [partial["seq"] for partial in stream] == list(range(10 * index, len(streams[0])))


def test_a_job_that_is_over_is_replayed_whole(port: Port) -> None:
    request = port.ask("generate", prompt=TEXT)
    job = port.result(request)["job_id"]
    replay = port.ask("attach", job_id=job)
    assert port.result(replay)["text"] == TEXT
    assert [partial["text"] for partial in partials(port, replay)] == [
        partial["text"] for partial in partials(port, request)
    ]


def test_a_cursor_beyond_the_end_replays_nothing(port: Port) -> None:
    job = port.call("generate", prompt="a b", stream=False)["job_id"]
    replay = port.ask("attach", job_id=job, cursor=1000)
    assert port.result(replay)["text"] == "a b"
    assert partials(port, replay) == []
    assert port.call("read_job", job_id=job, cursor=1000)["text"] == ""


def test_one_shots_read_a_job_piece_by_piece_to_its_end(host: BrowserHost, port: Port) -> None:
    accepted = host.one_shot({"id": 1, "action": "generate", "prompt": TEXT})
    assert accepted["type"] == "accepted"
    cursor, text = 0, ""
    read: Json = {"state": "queued"}
    while read["state"] in ("queued", "prefill", "decode"):
        read = host.one_shot(
            {"id": 2, "action": "read_job", "job_id": accepted["job_id"], "cursor": cursor, "wait_ms": 5000}
        )
        cursor, text = read["cursor"], text + read["text"]
    assert (read["state"], text, read["finish_reason"]) == ("finished", TEXT, "stop")
    assert read["stats"]["output_tokens"] == read["tokens"] == 200


@pytest.mark.parametrize("word", ["word ", "\u4e16\u754c ", "\x01\x02 "])
def test_one_shots_read_a_long_answer_that_is_over_to_its_end(host: BrowserHost, port: Port, word: str) -> None:
    port.call("load", model="long", backend="echo")
    made = port.call("generate", model="long", prompt=word * 80_000, settings={"max_tokens": 100_000}, stream=False)
    cursor, text = 0, ""
    read: Json = {"state": "decode"}
    while read["state"] == "decode":
        with host.port() as one_shot:
            read = one_shot.call("read_job", job_id=made["job_id"], cursor=cursor)
            assert len(one_shot.frame_sizes) == 1
        cursor, text = read["cursor"], text + read["text"]
    assert (read["state"], read["finish_reason"], text == made["text"]) == ("finished", "stop", True)
    assert port.call("read_job", job_id=made["job_id"])["text"] == text


def test_a_read_waits_for_news_and_no_longer_than_it_is_told(port: Port) -> None:
    port.call("load", model="slow", backend="echo", options={"prefill_ms": 400})
    job = start(port, model="slow", stream=False, background=True)
    early = port.call("read_job", job_id=job, wait_ms=50)
    assert (early["state"], early["text"], early["cursor"]) == ("prefill", "", 0)
    waited = port.call("read_job", job_id=job, wait_ms=20_000)
    assert waited["text"].startswith("w0")


def test_a_job_of_another_origin_is_not_found_and_not_listed(host: BrowserHost, port: Port) -> None:
    job = start(port)
    with host.port(OTHER_ORIGIN) as other:
        for action in ("attach", "read_job", "stop_generation"):
            answer = other.call(action, job_id=job)
            assert answer["error"] == {"code": "job_not_found", "details": {"job_id": job}}
        assert other.call("list_jobs")["jobs"] == []
        assert other.call("stop_generation")["stopped_jobs"] == []
    listed = {listing["job_id"]: listing for listing in port.call("list_jobs")["jobs"]}
    assert listed[job]["state"] in ("prefill", "decode")
    assert listed[job]["model"] == "echo"


def test_a_job_that_never_was_is_not_found(port: Port) -> None:
    assert port.call("read_job", job_id="j0")["error"]["code"] == "job_not_found"
    assert len(port.call("read_job", job_id="j" * 100_000)["message"]) < 300


def test_a_job_that_nobody_listens_to_is_cancelled_after_its_grace(host: BrowserHost, port: Port) -> None:
    port.call("load", model="endless", backend="echo", options={"prefill_ms": 60_000})
    with host.port() as lost:
        job = start(lost, model="endless")
    assert state_of(port, job) == "prefill"
    wait_until("the orphan's end", lambda: listed_state(port, job) == "cancelled", 5)


def listed_state(port: Port, job: str) -> str:
    """A job's state, without listening to it."""
    return {listing["job_id"]: str(listing["state"]) for listing in port.call("list_jobs")["jobs"]}[job]


def test_a_background_job_goes_on_though_nobody_listens(host: BrowserHost, port: Port) -> None:
    accepted = host.one_shot({"id": 1, "action": "generate", "prompt": TEXT, "background": True, "stream": False})
    assert accepted["type"] == "accepted"
    wait_until("the job's end", lambda: listed_state(port, accepted["job_id"]) == "finished", 5)
    assert port.call("read_job", job_id=accepted["job_id"])["text"] == TEXT


def test_a_job_that_is_over_can_be_read_for_its_time_and_no_longer(port: Port) -> None:
    job = port.call("generate", prompt="a")["job_id"]
    read = port.call("read_job", job_id=job)
    assert (read["state"], read["text"], read["finish_reason"]) == ("finished", "a", "stop")
    wait_until("the job's going", lambda: "job_not_found" in state_of(port, job), 5)


def test_a_job_that_failed_can_be_read_with_its_error(port: Port) -> None:
    port.call("load", model="short", backend="echo", options={"context_length": 8})
    failed = port.call("generate", model="short", prompt=TEXT)
    read = port.call("read_job", job_id=failed["job_id"])
    assert (read["status"], read["state"]) == ("success", "failed")
    assert (read["error"]["code"], read["message"]) == ("context_overflow", failed["message"])
    attached = port.call("attach", job_id=failed["job_id"])
    assert (attached["status"], attached["error"]["code"]) == ("error", "context_overflow")


def test_an_unload_ends_a_generation_with_the_error_cancelled(port: Port) -> None:
    request = port.ask("generate", prompt=TEXT)
    port.wait_count(lambda message: message["type"] == "partial", 5)
    assert port.call("unload")["unloaded"] == ["echo"]
    result = port.result(request)
    assert (result["status"], result["error"]["code"]) == ("error", "cancelled")
    assert "unloaded" in result["message"]
    assert TEXT.startswith(result["text"])
    assert len(result["text"]) > 5


def test_both_ends_of_two_ports_see_the_same_stream_while_another_model_runs(host: BrowserHost, port: Port) -> None:
    with host.port() as other:
        mine, theirs = port.ask("generate", prompt=TEXT), other.ask("generate", prompt="x y z")
        assert port.result(mine)["text"] == TEXT
        assert other.result(theirs)["text"] == "x y z"


# The buffer on its own.


def new_job(grace_s: float = 60.0) -> Job:
    return Job("cli", "m", background=False, grace_s=grace_s)


async def collect(job: Job, cursor: int) -> list[JobNews]:
    return [news async for news in job.follow(cursor)]


THINKING = Thinking("x", JobState.DECODE, 1, 1.0, 1, None, None)


def test_followers_that_come_at_any_time_get_every_piece_once() -> None:
    async def play() -> None:
        job = new_job()
        early = asyncio.create_task(collect(job, 0))
        for number in range(10):
            job.add_text(str(number), 1)
            if number == 5:
                late = asyncio.create_task(collect(job, 3))
            await asyncio.sleep(0)
        job.finish(FinishReason.STOP, Figures())
        after = asyncio.create_task(collect(job, 0))
        everything = [TextPiece(number, str(number), number + 1) for number in range(10)]
        assert await early == everything
        assert await late == everything[3:]
        assert await after == everything

    asyncio.run(play())


def test_a_sign_of_life_is_for_those_who_follow_now() -> None:
    async def play() -> None:
        job = new_job()
        early = asyncio.create_task(collect(job, 0))
        await asyncio.sleep(0)
        job.add_thinking(THINKING)
        await asyncio.sleep(0)
        late = asyncio.create_task(collect(job, 0))
        await asyncio.sleep(0)
        job.finish(FinishReason.STOP, Figures())
        assert await early == [THINKING]
        assert await late == []

    asyncio.run(play())


def test_a_sign_of_life_stands_between_the_text_before_it_and_the_text_after_it() -> None:
    async def play() -> None:
        job = new_job()
        follower = asyncio.create_task(collect(job, 0))
        await asyncio.sleep(0)
        job.add_text("a", 1)
        sign = replace(THINKING, pieces=job.next_seq)
        job.add_thinking(sign)
        job.add_text("b", 1)
        for _ in range(3):
            await asyncio.sleep(0)
        job.finish(FinishReason.STOP, Figures())
        assert await follower == [TextPiece(0, "a", 1), sign, TextPiece(1, "b", 2)]

    asyncio.run(play())


def test_of_one_prompt_no_fewer_tokens_are_read_than_before() -> None:
    async def play() -> None:
        job = new_job()
        for done, total in ((5, 10), (3, 10), (8, 10), (2, 20)):
            job.note_prefill(done, total)
            assert (job.prefill_done, job.prefill_total) == (max(done, 5) if done == 3 else done, total)

    asyncio.run(play())


def test_an_orphan_is_cancelled_only_while_nobody_listens() -> None:
    async def play() -> None:
        job = new_job(grace_s=0.01)
        cancels: list[HostError | None] = []
        job.on_cancel(cancels.append)
        with job.listener():
            with job.listener():
                pass
            await asyncio.sleep(0.05)
            assert cancels == []
        await asyncio.sleep(0.05)
        assert cancels == [None]

    asyncio.run(play())


def test_a_job_is_cancelled_once_however_often_it_is_asked() -> None:
    async def play() -> None:
        job = new_job()
        cancels: list[HostError | None] = []
        job.on_cancel(cancels.append)
        error = HostError(ErrorCode.CANCELLED, "x")
        job.cancel(error)
        job.cancel()
        assert cancels == [error]

    asyncio.run(play())


def test_a_cancel_after_the_end_does_nothing() -> None:
    async def play() -> None:
        job = new_job()
        cancels: list[HostError | None] = []
        job.on_cancel(cancels.append)
        job.finish(FinishReason.STOP, Figures())
        job.cancel()
        assert (cancels, job.state) == ([], JobState.FINISHED)

    asyncio.run(play())


def test_the_table_forgets_a_job_some_time_after_its_end() -> None:
    async def play() -> None:
        table = Generations(orphan_grace_s=1, finished_ttl_s=0.01, on_idle=lambda: None)
        job = table.create("cli", "m", background=False)
        job.finish(FinishReason.STOP, Figures())
        table.retire(job)
        assert table.get(job.job_id, "cli") is job
        assert table.running() == []
        await asyncio.sleep(0.05)
        with pytest.raises(HostError, match="There is no job"):
            table.get(job.job_id, "cli")

    asyncio.run(play())


def end_large_job(table: Generations, tokens: int, origin: str = "cli") -> Job:
    """A job of `tokens` tokens that were told with the 20 likeliest of their places, which is over."""
    job = table.create(origin, "m", background=False)
    job.tells_logprobs = True
    score = TokenScore(token="a", logprob=-1.0, bytes=(97,))
    job.add_text("a", tokens, (TokenLogprob(token="a", logprob=-1.0, bytes=(97,), top=(score,) * 20),) * tokens)
    job.finish(FinishReason.STOP, Figures())
    table.retire(job)
    return job


def test_of_large_jobs_that_were_read_the_table_keeps_what_there_is_room_for() -> None:
    async def play() -> None:
        table = Generations(orphan_grace_s=1, finished_ttl_s=60, on_idle=lambda: None)
        others = end_large_job(table, 2000, origin="x")
        unread = end_large_job(table, 2000)
        jobs = []
        for _ in range(20):
            jobs.append(end_large_job(table, 2000))
            table.note_read(jobs[-1])
        assert table.of_origin("cli") == [unread, *jobs[-2:]]
        assert table.of_origin("x") == [others]

    asyncio.run(play())


def test_large_jobs_that_are_read_late_are_kept_as_those_that_are_read_at_once() -> None:
    """As where a program asks for many in the background, and reads them when all are over."""

    async def play() -> None:
        table = Generations(orphan_grace_s=1, finished_ttl_s=0.3, on_idle=lambda: None)
        jobs = [end_large_job(table, 2000) for _ in range(10)]
        assert table.of_origin("cli") == jobs
        for job in jobs:
            table.note_read(job)
        assert table.of_origin("cli") == jobs[-2:]
        await asyncio.sleep(0.4)
        small = [end_large_job(table, 1000) for _ in range(4)]
        for job in small:
            table.note_read(job)
        assert table.of_origin("cli") == small

    asyncio.run(play())


def test_one_large_job_can_be_read_however_large_and_none_that_was_forgotten_counts() -> None:
    async def play() -> None:
        table = Generations(orphan_grace_s=1, finished_ttl_s=0.05, on_idle=lambda: None)
        for _ in range(2):
            job = end_large_job(table, 20_000)
            table.note_read(job)
            assert table.of_origin("cli") == [job]
            await asyncio.sleep(0.1)
            assert table.of_origin("cli") == []
            small = [end_large_job(table, 1000) for _ in range(4)]
            assert table.of_origin("cli") == small
            await asyncio.sleep(0.1)

    asyncio.run(play())
