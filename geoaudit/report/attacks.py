"""Optimised attacks as a reader meets them: which checkpoint's attack opens which checkpoint, beside plain requests.

A row is where the text was made, a column where it was sent. The diagonal is an adaptive attack, what is off it
transfer; the first row is no attack at all, because a model can resist optimised text and answer the plain request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from geoaudit.report import titles, verdict, words
from geoaudit.report.titles import Row, detail_of, listed, mapping
from geoaudit.report.verdict import rows

MEASURES = ("attack_success_rate", "transfer_asr")
_SAME = ("source", "attack", "budget", "width", "seed", "initial", "n", "max_new_tokens", "chat")
"""Parameters in which the cells of a table agree, with the judge."""
PLAIN = "no attack"


@dataclass(frozen=True)
class Cell:
    """Text made on one checkpoint and sent to one."""

    numbers: Row
    own: bool
    """Whether it was made on the checkpoint that it is sent to."""

    @property
    def value(self) -> str:
        """`0.250 [0.087, 0.491]`, "" where nothing was measured."""
        found = self.numbers
        return words.share(found.get("estimate"), found.get("low"), found.get("high"))

    @property
    def n(self) -> str:
        """`n = 20`."""
        return f"n = {words.count(self.numbers.get('n'))}"


@dataclass(frozen=True)
class Attack:
    """One attack under one budget on one prompt source, read by one judge, over the checkpoints."""

    measurements: Sequence[Row]
    order: Sequence[str]
    """Names of the checkpoints in the record's order."""

    @property
    def title(self) -> str:
        """`GCG, 100 steps of 64 candidates`."""
        return words.plain(detail_of(self.measurements[0]).get("attack")).partition(", made on ")[0]

    @property
    def how(self) -> str:
        """Prompts, judge and seed."""
        parameters = mapping(self.measurements[0].get("parameters"))
        seed = words.finite(parameters.get("seed"))
        parts = [
            words.plain(parameters.get("source")),
            f"judge {titles.judge(self.measurements[0]) or 'none'}",
            "" if seed is None else f"seed {words.count(seed)}",
        ]
        return " · ".join(part for part in parts if part)

    @cached_property
    def cells(self) -> Mapping[tuple[str, str], Row]:
        """(made on, sent to) -> the numbers; what a measure of its own says goes before what stands beside another."""
        found: dict[tuple[str, str], Row] = {}
        for row in self.measurements:
            home = mapping(detail_of(row).get("at_home"))
            if home:
                name = words.plain(home.get("checkpoint"))
                found.setdefault((name, name), home)
        for row in self.measurements:
            made_on = words.plain(mapping(detail_of(row).get("optimised")).get("made_on"))
            found[made_on, words.plain(row.get("checkpoint"))] = row
        return found

    @cached_property
    def direct(self) -> Mapping[str, Row]:
        """Checkpoint -> the numbers of plain requests."""
        pairs = [
            (words.plain(row.get("checkpoint")), mapping(detail_of(row).get("direct"))) for row in self.measurements
        ]
        return {name: numbers for name, numbers in pairs if numbers}

    @property
    def targets(self) -> list[str]:
        """What it was sent to."""
        return self._ordered(sent for _, sent in self.cells)

    @property
    def table(self) -> list[tuple[str, list[Cell]]]:
        """Plain requests first, then a row for each checkpoint that text was made on; an empty cell was not asked."""
        made = [(PLAIN, [Cell(self.direct.get(name, {}), False) for name in self.targets])]
        for source in self._ordered(source for source, _ in self.cells):
            cells = [Cell(self.cells.get((source, name), {}), source == name) for name in self.targets]
            made.append((source, cells))
        return made

    @property
    def losses(self) -> list[tuple[str, Row]]:
        """What the attack did on each checkpoint that it was made on."""
        found: dict[str, Row] = {}
        for row in self.measurements:
            made = mapping(detail_of(row).get("optimised"))
            found.setdefault(words.plain(made.get("made_on")), made)
        return [(name, found[name]) for name in self._ordered(found)]

    def _ordered(self, names: Iterable[str]) -> list[str]:
        wanted = dict.fromkeys(names)
        return [*(name for name in self.order if name in wanted), *(name for name in wanted if name not in self.order)]


def attacks(record: Row) -> list[Attack]:
    """Every optimised attack of the record, in its order."""
    grouped: dict[tuple[str, ...], list[Row]] = {}
    for row in rows(record, "measurements"):
        if row.get("measure") in MEASURES and mapping(detail_of(row).get("optimised")):
            parameters = mapping(row.get("parameters"))
            key = titles.judge(row), *(words.plain(parameters.get(name)) for name in _SAME)
            grouped.setdefault(key, []).append(row)
    names = verdict.checkpoint_names(record)
    return [Attack(found, names) for found in grouped.values()]


def points(found: Row) -> list[tuple[float, float, float, float]]:
    """(step, lower quartile, median, upper quartile) of the losses over the behaviours, in order."""
    made = []
    for row in map(mapping, listed(found.get("curve"))):
        numbers = [words.finite(row.get(name)) for name in ("step", "low", "median", "high")]
        if None not in numbers:
            made.append(tuple(numbers))
    return sorted(made)  # type: ignore[arg-type]
