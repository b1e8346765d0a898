"""The table's rows, and how each figure is held against its goal."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.samples import median, median_ratio

HEADER = ("figure", "ours", "reference", "compared", "goal", "met")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, worded for people; `met` is None for a row that has no goal of its own."""

    figure: str
    ours: str
    reference: str
    compared: str
    goal: str
    met: bool | None

    def cells(self) -> tuple[str, ...]:
        """The row's texts, in the header's order."""
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        return (self.figure, self.ours, self.reference, self.compared, self.goal, met)


def markdown(cells: Sequence[str]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def head() -> str:
    """The table's first two lines."""
    return "\n".join((markdown(HEADER), markdown(["---"] * len(HEADER))))


def at_most_times(figure: str, unit: str, ours: float, reference: float, limit: float | None) -> Row:
    """A row whose goal is ours <= limit x reference; with limit None it has none."""
    ratio = ours / reference
    goal, met = ("", None) if limit is None else (f"<= {limit} x", ratio <= limit)
    return Row(figure, _in(ours, unit), _in(reference, unit), f"{ratio:.2f} x", goal, met)


def at_least_times(
    figure: str, unit: str, ours: Sequence[float], reference: Sequence[float], limit: float | None
) -> Row:
    """A row of medians whose goal is ours >= limit x reference, round by round; with limit None it has none."""
    ratio = median_ratio(ours, reference)
    goal, met = ("", None) if limit is None else (f">= {limit} x", ratio >= limit)
    return Row(figure, _in(median(ours), unit), _in(median(reference), unit), f"{ratio:.2f} x", goal, met)


def at_most_more(figure: str, unit: str, ours: float, reference: float, limit: float, over: str = "") -> Row:
    """A row whose goal is ours <= reference + limit."""
    more = ours - reference
    goal = f"<= {over}+ {limit:g} {unit}"
    return Row(figure, _in(ours, unit), _in(reference, unit), f"{more:+.2f} {unit}", goal, more <= limit)


def at_most(figure: str, unit: str, ours: float, limit: float, aside: str = "") -> Row:
    """A row whose goal is ours <= limit; `aside` goes where a comparison would stand."""
    return Row(figure, _in(ours, unit), "-", aside, f"<= {limit:g} {unit}", ours <= limit)


def not_measured(figure: str, goal: str, reason: str) -> Row:
    """A row whose reference cannot be had here: its goal is missed, since nothing shows that it is met."""
    return Row(figure, "-", "-", f"not measured: {reason}", goal, False)


def _in(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 20 else 2
    return f"{value:,.{digits}f} {unit}"
