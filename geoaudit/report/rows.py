"""One assertion as cells of a table of plain text: what the terminal and the Markdown summary both write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from geoaudit.report import words
from geoaudit.report.changes import BOUND, Change, Series
from geoaudit.report.titles import listed
from geoaudit.report.verdict import Line

HEADER = ("outcome", "checkpoint", "assertion", "value [interval]", "bound", "n")
CHANGES = {"change_at_most": "change ≤", "change_at_least": "change ≥"}


class Cells(NamedTuple):
    """A row under `HEADER`, each cell on one line."""

    outcome: str
    checkpoint: str
    """Of an assertion on a whole trajectory, the trajectory."""
    assertion: str
    value: str
    bound: str
    n: str
    """Prompts; empty where nothing was measured (no zero for what is not there) and across a trajectory."""


def cells(line: Line) -> Cells:
    """The row of an assertion; of one on a change, the change; of one across a trajectory, its course."""
    assertion = line.assertion
    return Cells(
        line.word,
        flat(words.plain(assertion.get("checkpoint"))),
        flat(words.plain(assertion.get("id"))),
        flat(_value(line) if line.measured else words.NOT_MEASURED),
        flat(_bound(line)),
        line.n if line.measured and not line.series else "",
    )


def groups(lines: Sequence[Line]) -> list[list[Line]]:
    """Lines of the same assertion with the same outcome, which differ in their checkpoints alone; in the same order."""
    found: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        own = words.plain(line.assertion.get("suite")), words.plain(line.assertion.get("id"))
        found.setdefault((line.word, *own), []).append(line)
    return list(found.values())


def span(lines: Sequence[Line]) -> str:
    """`0.20 to 0.94`: from the least to the largest value of several checkpoints; "" where none was measured."""
    found = sorted((line for line in lines if line.measured and line.kind == BOUND), key=_estimate)
    if not found:
        return ""
    least, most = found[0].value, found[-1].value
    return least if least == most else f"{least} to {most}"


def named(names: Sequence[str], most: int = 5) -> str:
    """`a, b, c and 12 more`."""
    more = len(names) - most
    return ", ".join(names) if more < 2 else f"{', '.join(names[:most])} and {words.count(more)} more"


def beside(line: Line) -> str:
    """What a change was compared with, or how a trajectory was followed; "" for a bound."""
    if line.change:
        return _compared(line, line.change)
    return _followed(line.series) if line.series else ""


def flat(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def _value(line: Line) -> str:
    return line.series.values if line.series else f"{line.value} {line.interval}".strip()


def _bound(line: Line) -> str:
    comparator, bound = words.plain(line.assertion.get("comparator") or ""), line.assertion.get("bound")
    if line.series:
        return line.series.rule
    if line.change and (ends := words.bounds(bound)):
        return f"{CHANGES.get(comparator, comparator)} {'+' if ends[0] > 0 else ''}{words.exact(ends[0])}"
    return words.bound_text(comparator, bound, short=True)


def _compared(line: Line, change: Change) -> str:
    facts = dict(change.facts)
    sides = [facts.get(name, words.NOT_MEASURED) for name in (change.against, "this checkpoint")]
    parts = [f"against {change.against}: {' → '.join(sides)}" if line.measured else f"against {change.against}"]
    p = facts.get("p", "")
    adjusted = facts.get("p, adjusted (Holm)", "")
    if p and adjusted and not adjusted.endswith(" over 1 line"):
        p += f", {adjusted} by Holm"
    parts += [f"p {p}"] if p else []
    parts += [change.mismatches] if listed(change.result.get("mismatches")) else []
    return "; ".join(parts)


def _followed(series: Series) -> str:
    parts = [f"over {words.plural(len(series.points), 'checkpoint')}{series.reach}"]
    parts += [f"{words.count(series.missing)} without a value"] if series.missing else []
    parts += [f"first failing step: {series.first_failing}"] if series.first_failing else []
    return ", ".join(parts)


def _estimate(line: Line) -> float:
    return words.finite(line.measurement.get("estimate")) or 0.0
