"""Faults on demand: only with the environment's leave, only those there are, only when they are due."""

import pytest

from backends.faults import ENVIRONMENT_VARIABLE, Fault, parse_fault
from messages.errors import ErrorCode, HostError


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "1")


@pytest.mark.parametrize("value", [None, "", "0", "true"])
def test_a_fault_needs_the_environments_leave(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, value)
    with pytest.raises(HostError) as caught:
        parse_fault("segfault@load")
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION


def test_no_fault_needs_no_leave() -> None:
    assert parse_fault(None) is None


@pytest.mark.usefixtures("allowed")
def test_a_fault_strikes_at_its_token_or_at_the_load() -> None:
    assert parse_fault("raise@load") == Fault("raise", None)
    fault = parse_fault("raise@2")
    assert fault == Fault("raise", 2)
    fault.strike_at_load()
    fault.strike_at_token(1)
    with pytest.raises(RuntimeError, match="asked for"):
        fault.strike_at_token(2)


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("text", ["", "explode@load", "raise", "raise@", "raise@-1", "raise@later", "@load"])
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(HostError) as caught:
        parse_fault(text)
    assert caught.value.code is ErrorCode.INVALID_REQUEST
