"""What `doctor` finds: one line each, with what to do about it. Standard library only."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is; NOTE is not bad at all."""

    OK = "OK"
    NOTE = "NOTE"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """A thing that was looked at, in a few words, and the remedy if there is something to do."""

    level: Level
    subject: str
    text: str
    remedy: str | None = None


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, text)


def note(subject: str, text: str, remedy: str | None = None) -> Finding:
    """Good to know."""
    return Finding(Level.NOTE, subject, text, remedy)


def warn(subject: str, text: str, remedy: str) -> Finding:
    """It works, but not as it should, or not for long."""
    return Finding(Level.WARN, subject, text, remedy)


def fail(subject: str, text: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(Level.FAIL, subject, text, remedy)
