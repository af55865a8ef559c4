"""Which checkpoints a report shows in full where there are many: a page that nobody can load is read by nobody.

Everything is decided, counted and listed for every checkpoint. Only the figures of single checkpoints (heat maps,
spectra, scatters) are kept for a few; how they develop is drawn for all of them, and the record holds the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from geoaudit.report import words
from geoaudit.report.changes import BOUND
from geoaudit.report.titles import Row, listed
from geoaudit.report.verdict import Line, checkpoint_names, rows

MOST = 3
"""Checkpoints shown in full where there are more than `FEW`."""
FEW = 4
"""Checkpoints up to which all are shown in full."""


def detailed(record: Row, tallies: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The checkpoints shown in full, in the record's order: of many the worst, the last and the first.

    Args:
        record: names checkpoints and trajectories.
        tallies: checkpoint -> outcome -> how many.
    """
    names = checkpoint_names(record)
    if len(names) <= FEW:
        return names
    worst = sorted(names, key=lambda name: (_badness(tallies.get(name, {})), names.index(name)))
    ends: list[str] = []
    for one in rows(record, "trajectories"):
        own = [words.plain(name) for name in listed(one.get("checkpoints"))]
        ends += own[-1:]
    ends += [names[-1], names[0]]
    wanted = list(dict.fromkeys([worst[0], *(name for name in ends if name in names), *worst]))[:MOST]
    return [name for name in names if name in wanted]


class _Placed(Protocol):
    @property
    def checkpoint(self) -> str: ...


_Of = TypeVar("_Of", bound=_Placed)


def of(found: Sequence[_Of], names: Sequence[str]) -> list[_Of]:
    """Those that belong to one of the checkpoints."""
    return [one for one in found if one.checkpoint in names]


def rest(names: Sequence[str], full: Sequence[str]) -> list[str]:
    """The checkpoints that are not shown in full."""
    return [name for name in names if name not in full]


@dataclass(frozen=True)
class Group:
    """One assertion with one outcome, on all checkpoints on which it came out so."""

    lines: Sequence[Line]

    @property
    def first(self) -> Line:
        """The one that the group is shown by."""
        return self.lines[0]

    def told(self, full: Sequence[str]) -> list[Line]:
        """The lines whose words are shown: those of checkpoints shown in full, else the first."""
        if len(self.lines) == 1:
            return list(self.lines)
        return [line for line in self.lines if line.checkpoint in full] or [self.first]


def groups(lines: Sequence[Line], *, together: bool) -> list[Group]:
    """The lines, worst first; `together`: bounds that differ in their checkpoint alone as one."""
    found: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        own = words.plain(line.assertion.get("suite")), words.plain(line.assertion.get("id")), line.word
        found.setdefault(own if together and line.kind == BOUND else (str(line.number),), []).append(line)
    return [Group(own) for own in found.values()]


def _badness(tally: Mapping[str, int]) -> tuple[int, ...]:
    """Smaller is worse: by failed assertions, then invalid ones, then inconclusive ones."""
    return tuple(-tally.get(outcome, 0) for outcome in words.OUTCOMES[:-1])
