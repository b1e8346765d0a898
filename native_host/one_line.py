"""Text that others chose, such as a model's name, where a line is a record: in a table and in the log.

Above it: `native_host.logs` and the terminal. Standard library only.
"""

import re

_BREAKS_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def one_line(text: str) -> str:
    r"""Text with its control characters and line breaks spelled out: "a\nb" for a, a line feed, b."""
    return _BREAKS_A_LINE.sub(_spell_out, text)


def _spell_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
