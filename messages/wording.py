"""Numbers in sentences for persons: in errors, in a job's progress, in the terminal.

Above it: whoever writes such a sentence. Standard library only.
"""


def plural(count: int | None, one: str, many: str | None = None) -> str:
    """`one` for a count of one, else `many`, by default `one` with an s; a count that is not known has many."""
    return one if count == 1 else many or f"{one}s"
