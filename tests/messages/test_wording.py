"""Numbers in sentences for persons."""

import pytest

from messages.wording import plural


@pytest.mark.parametrize(("count", "noun"), [(0, "tokens"), (1, "token"), (2, "tokens"), (None, "tokens")])
def test_one_alone_is_told_as_one(count: int | None, noun: str) -> None:
    assert plural(count, "token") == noun


def test_a_noun_may_bring_its_verb() -> None:
    assert [plural(count, "port is", "ports are") for count in (1, 2)] == ["port is", "ports are"]
