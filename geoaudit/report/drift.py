"""Drift from a reference as a reader meets it: how far a subspace turned, and whether the carrier still works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from geoaudit.report import words
from geoaudit.report.coupling import Value
from geoaudit.report.titles import Row, detail_of, listed, mapping
from geoaudit.report.verdict import rows

CLASSES: Mapping[str, str] = {
    "drift-only": "the reference's carrier still works on the later checkpoint: the geometry moved and the "
    "mechanism did not",
    "reorganised": "neither carrier works on the other checkpoint, and the later one's own beats its controls: refusal "
    "moved to other directions",
    "lost": "too little of the effect is kept, and no other carrier is shown to have taken over",
    "undecided": "the intervals leave open which",
}
"""What a class of carrier transfer says."""
FREED: Mapping[str, tuple[str, str]] = {
    "principal_angle": ("principal angle", "°"),
    "energy_weighted_angle": ("angle weighted by energy", "°"),
    "projector_distance": ("projector distance", ""),
}
"""Measures whose value holds the prompts' sampling noise: in words, with their unit."""
_SAME = ("reference", "against", "k", "rule")


@dataclass(frozen=True)
class Drift:
    """One comparison of one checkpoint with another, and all measures that were read from it."""

    checkpoint: str
    measurements: Sequence[Row]

    @cached_property
    def detail(self) -> Row:
        """What its measurements keep between them; where two keep the same, the first that has it."""
        found: dict[str, Any] = {}
        for row in self.measurements:
            found.update({k: v for k, v in detail_of(row).items() if v is not None and found.get(k) is None})
        return found

    @property
    def readings(self) -> list[Value]:
        """Measure by measure: value, interval, what chance gives."""
        return [Value(row) for row in self.measurements]

    @property
    def rule(self) -> str:
        """The rule that selected the carriers, "" where none are compared."""
        return words.plain(self.detail["rule"]) if self.detail.get("rule") else ""

    @property
    def heading(self) -> str:
        """`against smollm2-135m (the reference)`."""
        against = words.plain(self.detail.get("against"))
        which = {"reference": "the reference", "previous": "the checkpoint before it"}.get(against, "")
        name = words.plain(self.detail.get("reference"))
        return f"against {name}{f', {which}' if which and which != name else ''}"

    @property
    def moved(self) -> str:
        """Where the carrier sits on either checkpoint, "" where not recorded."""
        ends = []
        for end in ("there", "here"):
            layer, position = words.finite(self.detail.get(f"layer_{end}")), self.detail.get(f"position_{end}")
            if layer is None:
                return ""
            at = "" if position is None else f", position {words.position(position)}"
            ends.append(f"layer {words.exact(layer)}{at}")
        return f"{ends[0]} there → {ends[1]} here"

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The other numbers of the comparison: those that no measure of it reports itself."""
        detail = self.detail
        asked = {words.plain(row.get("measure")) for row in self.measurements}
        found = [("read at", self.moved)]
        for name, measure, text, unit in (
            ("energy_weighted_angle", "energy_weighted_angle", "angle weighted by energy", "°"),
            ("projector_distance", "projector_distance", "projector distance", ""),
            ("cosine", "direction_cosine", "cosine to that checkpoint's direction", ""),
        ):
            if measure not in asked and words.finite(detail.get(name)) is not None:
                found.append((text, f"{words.number(detail[name])}{unit}"))
        for row in self.measurements:
            measure, free = words.plain(row.get("measure")), mapping(detail_of(row).get("held_out")).get("estimate")
            if measure in FREED and words.finite(free) is not None:
                text, unit = FREED[measure]
                found.append((f"{text}, without sampling noise", f"{words.number(free)}{unit}"))
        return [(name, text) for name, text in found if text]

    @property
    def angles(self) -> list[tuple[str, str, str]]:
        """Each principal angle with the share of energy of its component there and here."""
        there, here = listed(self.detail.get("energies_there")), listed(self.detail.get("energies_here"))

        def share(found: Sequence[Any], index: int) -> str:
            return words.number(found[index], "share") if index < len(found) else "not recorded"

        degrees = listed(self.detail.get("angles_degrees"))
        return [(f"{words.number(value)}°", share(there, k), share(here, k)) for k, value in enumerate(degrees)]

    @property
    def by_layer(self) -> list[Row]:
        """Cosine of the two directions at the same layer, layer by layer."""
        return rows(self.detail, "by_layer")


@dataclass(frozen=True)
class Cell:
    """One direction tried on one checkpoint."""

    effect: str
    """With its interval where there is one."""
    rho: Any
    low: Any
    high: Any
    own: bool
    """Whether the direction is tried where it comes from: ρ is 1 there, if it does anything at all."""

    @property
    def share(self) -> str:
        """ρ with its interval, "" where there is none."""
        return words.share(self.rho, self.low, self.high)


@dataclass(frozen=True)
class Transfer:
    """The carriers of two checkpoints, each tried on both."""

    checkpoint: str
    measurements: Sequence[Row]

    @property
    def detail(self) -> Row:
        """What the measurement keeps for figures and tables."""
        return detail_of(self.measurements[0])

    @property
    def names(self) -> list[str]:
        """The two checkpoints, the reference first."""
        found = [words.plain(name) for name in listed(mapping(self.detail.get("matrix")).get("checkpoints"))[:2]]
        return found if len(found) == 2 else [words.plain(self.detail.get("reference")), self.checkpoint]

    @property
    def rows(self) -> list[tuple[str, list[Cell]]]:
        """Where the direction comes from, and what it does on each checkpoint."""
        matrix = mapping(self.detail.get("matrix"))

        def of(name: str, i: int, j: int) -> Any:
            line = listed(listed(matrix.get(name))[i : i + 1])
            row = listed(line[0]) if line else ()
            return row[j] if j < len(row) else None

        made = []
        for i, name in enumerate(self.names):
            cells = []
            for j in range(2):
                ends = words.interval(of("effect_low", i, j), of("effect_high", i, j))
                effect = f"{words.number(of('effect', i, j))} {ends}".strip()
                cells.append(Cell(effect, of("rho", i, j), of("rho_low", i, j), of("rho_high", i, j), i == j))
            made.append((name, cells))
        return made

    @property
    def verdict(self) -> str:
        """The class."""
        return words.plain(self.detail.get("class"))

    @property
    def effect(self) -> str:
        """What was counted: `bypass`, `induce`; "" where not recorded."""
        found = self.detail.get("effect")
        return found if isinstance(found, str) else ""

    @property
    def sentence(self) -> str:
        """The class in a sentence: the record's own, else what the class means."""
        own = self.detail.get("sentence")
        return words.plain(own) if own else CLASSES.get(self.verdict, "the record gives no reason")


def drifts(record: Row) -> list[Drift]:
    """Each comparison once, in the record's order."""
    grouped: dict[tuple[str, ...], list[Row]] = {}
    for row in rows(record, "measurements"):
        detail = detail_of(row)
        if "reference" in detail and "against" in detail and not mapping(detail.get("matrix")):
            key = words.plain(row.get("checkpoint")), *(words.plain(detail.get(name)) for name in _SAME)
            grouped.setdefault(key, []).append(row)
    return [Drift(key[0], group) for key, group in grouped.items()]


def transfers(record: Row) -> list[Transfer]:
    """Each pair of checkpoints once, in the record's order."""
    grouped: dict[tuple[str, ...], list[Row]] = {}
    for row in rows(record, "measurements"):
        if mapping(detail_of(row).get("matrix")):
            key = words.plain(row.get("checkpoint")), words.plain(detail_of(row).get("matrix"))
            grouped.setdefault(key, []).append(row)
    return [Transfer(key[0], group) for key, group in grouped.items()]
