"""Replies: each has its envelope, and the wire holds nothing but JSON."""

import pytest

from messages.errors import ErrorCode, HostError
from messages.facts import Figures, LoadState, ModelState
from messages.frames import dump
from messages.replies import (
    Accepted,
    Event,
    FailedGeneration,
    Failure,
    Loaded,
    Partial,
    Pong,
    Progress,
    Reply,
    Success,
    ThinkingUpdate,
)

PONG = Pong(version="1", protocol=1, pid=2, features=[])
STATE = ModelState(model="m", model_path="/m", backend="echo", backend_type=None, state=LoadState.LOADING)
ERROR = HostError(ErrorCode.MODEL_NOT_FOUND, "No model file at x.", model_path="x")

REPLIES: dict[str, tuple[Reply, dict[str, object]]] = {
    "result": (Success("r1", "ping", PONG), {"id": "r1", "type": "result", "action": "ping", "status": "success"}),
    "result of a load": (Success(1, "load", Loaded(model=STATE, message="x")), {"id": 1, "action": "load"}),
    "error": (
        Failure(None, None, ERROR),
        {
            "id": None,
            "type": "result",
            "action": None,
            "status": "error",
            "message": "No model file at x.",
            "error": {"code": "model_not_found", "details": {"model_path": "x"}},
        },
    ),
    "error of a generation": (
        Failure(1, "generate", ERROR, FailedGeneration(job_id="j1", model="m", text="so far", stats=Figures())),
        {"status": "error", "job_id": "j1", "text": "so far"},
    ),
    "accepted": (
        Accepted(1, "generate", "j1"),
        {"id": 1, "type": "accepted", "action": "generate", "status": "success", "job_id": "j1"},
    ),
    "partial": (
        Partial(1, "j1", 0, "a", 1),
        {"id": 1, "type": "partial", "job_id": "j1", "seq": 0, "text": "a", "tokens": 1},
    ),
    "progress": (
        Progress(1, "load", "loading", "Loading", 0.5, 1, 2),
        {"id": 1, "type": "progress", "phase": "loading", "progress": 0.5, "loaded_bytes": 1, "total_bytes": 2},
    ),
    "thinking_update": (
        ThinkingUpdate(1, "j1", "x", "decode", 50, 40.0, 5003, None, 7),
        {"id": 1, "type": "thinking_update", "job_id": "j1", "thinking": "x", "phase": "decode", "eta_ms": None},
    ),
    "event": (Event("model_crashed", {"model": "m"}), {"id": None, "type": "event", "event": "model_crashed"}),
}


@pytest.mark.parametrize("case", REPLIES)
def test_a_reply_has_its_envelope(case: str) -> None:
    reply, envelope = REPLIES[case]
    wire = reply.to_wire()
    assert {name: wire[name] for name in envelope} == envelope
    dump(wire)


def test_a_result_has_its_fields_beside_the_envelope() -> None:
    assert Success(1, "ping", PONG).to_wire()["response"] == "pong"
    assert Success(1, "load", Loaded(model=STATE, message="x")).to_wire()["model"]["state"] == "loading"
