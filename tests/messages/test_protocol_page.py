"""PROTOCOL.md is the contract: the actions and error codes that it names are those of the code, one for one."""

import re
from pathlib import Path

from messages.actions import ActionType
from messages.errors import ErrorCode
from native_host.runtime import source_root

PAGE = (Path(source_root()) / "PROTOCOL.md").read_text(encoding="utf-8")


def first_column(heading: str) -> list[str]:
    """The names in the first column of the table that `heading` begins."""
    found = re.search(rf"^\| {heading} \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"PROTOCOL.md has no table of {heading}"
    return re.findall(r"^\| `(\w+)` \|", found[0], re.MULTILINE)


def test_the_table_of_actions_has_a_row_for_each_action_and_no_other() -> None:
    assert sorted(first_column("action")) == sorted(ActionType)


def test_the_table_of_error_codes_has_a_row_for_each_code_and_no_other() -> None:
    assert first_column("code") == list(ErrorCode)
