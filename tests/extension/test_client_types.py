"""client.d.ts against what the host reads and writes, by a real compiler.

The types are written once more from the host's models; a difference is named by the constant that fails.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from support.browsers.registration import REPOSITORY
from support.typescript import compile_files, declare

from messages.actions import ActionType
from messages.content import CalledFunction, Message, ToolCall
from messages.errors import ErrorCode
from messages.facts import FinishReason, JobState, TokenLogprob
from messages.job_replies import ActionRead, JobRead, JobReadEnd
from messages.replies import Accepted, FailedGeneration, Partial, Progress, Reply, ThinkingUpdate
from messages.requests import _KINDS as REQUESTS
from native_host.handlers import HANDLERS

CLIENT = REPOSITORY / "extension" / "client.js"
PROTOCOL = (REPOSITORY / "PROTOCOL.md").read_text()
SAMPLE = Path(__file__).with_name("sample.ts")
FOR_THE_TERMINAL = {ActionType.OPEN_HTTP}
OF_TESTS_ALONE = frozenset({"fault"})
ENVELOPE = {"id", "type", "action", "status"}
"""What every frame has for the client itself."""
ONE_OF = frozenset({"messages", "prompt"})
"""Of which exactly one is required; sample.ts has what the compiler is to say."""

HEAD = """
import * as client from "./client.js";
type Plain<T> = T extends readonly (infer One)[] ? readonly Plain<One>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Same<A, B> = (<T>() => T extends Plain<A> ? 1 : 2) extends (<T>() => T extends Plain<B> ? 1 : 2) ? true : false;
type Fields<A extends client.Action> = client.Actions[A]["fields"];
"""
"""`Same` is true of types that have the same fields of the same types, the same of them optional."""


def read_differently(action: ActionType) -> tuple[str, frozenset[str]]:
    """How the type of an action's fields is named, and which of them are not compared."""
    if action in (ActionType.GENERATE, ActionType.COUNT_TOKENS):
        name = "GenerateOptions" if action is ActionType.GENERATE else "PromptOptions"
        return f'Omit<client.{name}, "model_path">', ONE_OF
    if action is ActionType.EMBED:  # a single text stands for an array of one
        return f'Omit<Fields<"{action}">, "input" | "model_path">', frozenset({"input"})
    return f'Omit<Fields<"{action}">, "model_path">', frozenset()


def requests() -> Iterator[str]:
    """What is asked: each action's fields."""
    for action in ActionType:
        if action in FOR_THE_TERMINAL:
            continue
        fields, left_out = read_differently(action)
        yield declare(f"asks_{action}", REQUESTS[action], "validation", left_out | OF_TESTS_ALONE | {"id", "action"})
        yield f"export const fields_of_{action}: Same<{fields}, asks_{action}.It> = true;"
    yield declare("message", Message, "validation", frozenset({"tool_calls"}))  # those are as an answer has them
    yield 'export const fields_of_a_message: Same<Omit<client.Message, "tool_calls">, message.It> = true;'


def results() -> Iterator[str]:
    """What is answered: each action's result, as its handler says."""
    for action, handler in HANDLERS.items():
        if action in FOR_THE_TERMINAL or action in (ActionType.ATTACH, ActionType.READ_JOB):
            continue
        yield declare(f"gives_{action}", get_type_hints(handler)["return"], "serialization", frozenset())
        yield f'export const result_of_{action}: Same<client.Actions["{action}"]["result"], gives_{action}.It> = true;'


def jobs() -> Iterator[str]:
    """What `read_job` answers: one type for what is three in the host."""
    for name, of in {"going": JobRead, "ended": JobReadEnd, "acting": ActionRead}.items():
        yield declare(name, of, "serialization", frozenset({"error"}))
        yield f"export const {name}_job = (read: {name}.It): client.JobRead => read;"
    yield declare("failed", FailedGeneration, "serialization", frozenset())
    yield 'export const failed_reply = (it: failed.It): Omit<client.ErrorReply, "message" | "error"> => it;'
    yield "export const job_going: Same<Pick<client.JobRead, keyof going.It>, going.It> = true;"
    yield 'export const job_fields: Same<keyof client.JobRead, keyof ended.It | keyof acting.It | "error"> = true;'


def union(names: Iterator[str] | list[str]) -> str:
    return " | ".join(map(json.dumps, names))


def names() -> Iterator[str]:
    """Closed sets: actions, codes, events, and what errors add."""
    actions = union([action for action in ActionType if action not in FOR_THE_TERMINAL])
    yield f"export const actions: Same<client.Action, {actions}> = true;"
    yield f"export const codes: Same<client.HostErrorCode, {union(list(ErrorCode))}> = true;"
    yield f"export const own_codes: Same<client.ClientErrorCode, {union(own_codes())}> = true;"
    yield f"export const details: Same<keyof client.ErrorDetails, {union(details())}> = true;"
    yield f'export const events: Same<client.HostEvent["event"], {union(events())}> = true;'
    yield f"export const reasons: Same<client.FinishReason, {union(list(FinishReason))}> = true;"
    yield f"export const states: Same<client.JobState, {union(list(JobState))}> = true;"


def own_codes() -> list[str]:
    """The codes that client.js itself gives."""
    return sorted(set(re.findall(r'(?:NativeHostError\(|/i, |\[null, )"(\w+)"', CLIENT.read_text())))


def details() -> list[str]:
    """The third column of PROTOCOL.md's table of codes."""
    table = PROTOCOL.partition("### Error codes")[2].partition("## 4.")[0]
    found = [re.findall(r"`(\w+)`", row.split("|")[3]) for row in table.splitlines() if row.startswith("| `")]
    return sorted({name for row in found for name in row})


def events() -> list[str]:
    (row,) = [line for line in PROTOCOL.splitlines() if line.startswith("| `event` |")]
    return [name for name in re.findall(r"`(\w+)`", row) if "_" in name]


def frames() -> Iterator[str]:
    """What comes before a result, written by the host: with all that it may have, and with the least."""
    call = ToolCall(id="c1", function=CalledFunction(name="add", arguments="{}"))
    score = TokenLogprob(token="a", logprob=-1.0, bytes=(97,))
    text = Partial("r", "j", 0, "a", 1)
    samples: dict[str, tuple[str, Reply]] = {
        "accepted": ("Accepted", Accepted("r", "generate", "j")),
        "text": ("PartialText", text),
        "full_text": ("PartialText", replace(text, logprobs=(score,), reasoning="b", tool_calls=(call,))),
        "progress": ("Progress", Progress("r", "load", "loading", "It loads.", 0.5, 1, 2, "j")),
        "thinking": ("ThinkingUpdate", ThinkingUpdate("r", "j", "a", "decode", 1, 2.0, 3, None, None)),
    }
    for name, (kind, frame) in samples.items():
        fields = {key: value for key, value in frame.to_wire().items() if key not in ENVELOPE}
        yield f"export const {name}: client.{kind} = {json.dumps(fields)};"


def run_in_node(script: str) -> Any:
    node = shutil.which("node")
    assert node, "Node.js is not installed; scripts/setup does it (Debian and Ubuntu: apt install nodejs npm)"
    command = [node, "--input-type=module", "--eval", script]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    return json.loads(done.stdout)


def module() -> Iterator[str]:
    """What client.js has at run time: what it exports, and the methods of its client."""
    script = f"""
        import * as all from {json.dumps(CLIENT.as_uri())};
        console.log(JSON.stringify([Object.keys(all), Object.getOwnPropertyNames(all.NativeHostClient.prototype)]));
    """
    exported, methods = run_in_node(script)
    methods.remove("constructor")
    yield f"export const exported: Same<keyof typeof client, {union(exported)}> = true;"
    yield f"export const methods: Same<keyof client.NativeHostClient, {union(methods)}> = true;"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the compiler finds wrong in the types, held against the host's."""
    folder = tmp_path_factory.mktemp("types")
    shutil.copy(CLIENT.with_suffix(".d.ts"), folder)
    lines = "\n".join([HEAD, *requests(), *results(), *jobs(), *names(), *frames(), *module()]).splitlines()
    (folder / "host.ts").write_text("\n".join(lines))
    complaints = compile_files(folder / "host.ts")
    numbers = [int(found[1]) for one in complaints if (found := re.search(r"host\.ts\((\d+),", one))]
    return complaints + [lines[number - 1] for number in numbers]


def test_the_types_are_the_hosts(found: list[str]) -> None:
    assert found == []


def test_an_extension_in_typescript_compiles_and_its_mistakes_do_not() -> None:
    assert compile_files(SAMPLE) == []
