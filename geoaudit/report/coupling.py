"""Coupling of harmfulness and refusal as a reader meets it: the ways of reading it, layer by layer, beside chance.

What ablating one of the two directions does to the other stands with the pair that it was measured on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geoaudit.report import words
from geoaudit.report.band_figures import NULLS, Level, levels, percentile
from geoaudit.report.titles import Row, detail_of, listed, mapping
from geoaudit.report.verdict import rows

READINGS: Mapping[str, str] = {
    "own_layers": "each at its own layer",
    "both_at_r": "both at the layer of R",
    "both_at_h": "both at the layer of H",
}
FIELDS: Mapping[str, str] = {"c_cos": "C_cos", "c_sub": "C_sub", "hrci_repr": "HRCI_repr", "hrci_full": "HRCI_full"}
"""The numbers of a reading, in the order of tables."""
FORMS: Mapping[str, str] = {
    "identified": "identified form: R is refused − complied within harmful and within harmless prompts, H is harmful − "
    "harmless within refused and within complied ones",
    "paper": "the papers' form: H and R from the same harmful − harmless contrast, at different tokens",
}
CELLS: Sequence[tuple[str, str]] = (("harmful", "harmful prompts"), ("harmless", "harmless prompts"))
_SAME = ("form", "k", "h_layer", "r_layer", "h_position", "r_position", "cross_fitted", "readings")
_PLACES = ("form", "h_layer", "r_layer", "h_position", "r_position")
"""What makes H and R the same two directions."""
INDEPENDENCE = "representational_independence"
PARTS: Mapping[str, str] = {
    "h_without_r": "H, with R ablated",
    "r_without_h": "R, with H ablated",
    "sum": "both added up",
}
CHANGES: Sequence[str] = ("change", "taken out alone", "controls", "rank p")
"""What stands beside each part: mean squared change of the cosine, what taking the other direction out of each layer's
input comes to by itself, and what ablating control directions changes."""


@dataclass(frozen=True)
class Coupling:
    """One pair of directions on one checkpoint with all measures that were read from it."""

    checkpoint: str
    detail: Row
    measurements: Sequence[Row]
    independence: Sequence[Independence] = ()
    """What ablating one of the two does to the other, where it was measured."""

    @property
    def all_measurements(self) -> list[Row]:
        """Every measurement of the pair."""
        return [*self.measurements, *(one.measurement for one in self.independence)]

    @property
    def form(self) -> str:
        """What H and R are made from."""
        found = words.plain(self.detail.get("form"))
        return FORMS.get(found, f"form {found}")

    @property
    def places(self) -> str:
        """Where H and R are read, and how far apart."""
        detail = self.detail
        parts = []
        for name in ("h", "r"):
            layer, position = words.finite(detail.get(f"{name}_layer")), detail.get(f"{name}_position")
            if layer is not None:
                at = "" if position is None else f", position {words.position(position)}"
                parts.append(f"{name.upper()} at layer {words.exact(layer)}{at}")
        if words.finite(detail.get("layer_gap")) is not None:
            parts.append(f"layer gap {words.number(detail['layer_gap'])}")
        if words.finite(detail.get("k")) is not None:
            parts.append(f"subspaces of {words.plural(detail['k'], 'dimension')}")
        if detail.get("cross_fitted") is not None:
            parts.append(
                "cosines cross-fitted on disjoint halves" if detail["cross_fitted"] else "cosines not cross-fitted"
            )
        return "; ".join(parts)

    @property
    def cells(self) -> list[tuple[str, str, str]]:
        """Kind of prompt, how many refused, how many complied; empty where the form needs no cells."""
        found = mapping(self.detail.get("cells"))
        if not found:
            return []
        return [
            (text, words.count(found.get(f"{kind}_refused")), words.count(found.get(f"{kind}_complied")))
            for kind, text in CELLS
        ]

    @property
    def table(self) -> list[tuple[str, list[str]]]:
        """A row for each way of reading: name, the numbers of FIELDS."""
        found = mapping(self.detail.get("readings"))
        names = [*READINGS, *(name for name in found if name not in READINGS)]
        made = [(READINGS.get(name, name), mapping(found.get(name))) for name in names if name in found]
        return [(name, [words.number(row.get(field)) for field in FIELDS]) for name, row in made]

    @property
    def by_layer(self) -> list[Row]:
        """H and R read at the same layer, layer by layer."""
        return rows(self.detail, "by_layer")

    def curve(self, field: str) -> tuple[list[Row], bool]:
        """The rows of a field by layer, and whether their null bands are bands of this field."""
        own = [rows(detail_of(row), "by_layer") for row in self.measurements if band_of(row) == field]
        return (own[0], True) if own and own[0] else (self.by_layer, False)

    @property
    def curves(self) -> list[str]:
        """Fields with a curve: the two parts, and any whole that was measured."""
        asked = {field_of(row) for row in self.measurements}
        names = [name for name in FIELDS if name in ("c_cos", "c_sub") or name in asked]
        return [name for name in names if any(words.finite(row.get(name)) is not None for row in self.by_layer)]

    @property
    def layers(self) -> dict[str, float]:
        """Where H and R are read, for lines in a curve."""
        found = {name.upper(): words.finite(self.detail.get(f"{name}_layer")) for name in ("h", "r")}
        known = {name: at for name, at in found.items() if at is not None}
        return {"H, R": known["H"]} if len(known) == 2 and known["H"] == known["R"] else known

    @property
    def readings(self) -> list[Value]:
        """Measure by measure: value, interval, what chance gives."""
        return [Value(row) for row in self.measurements]

    @property
    def null_names(self) -> list[str]:
        """The null levels that any figure of this coupling shows."""
        shown = [row for name in self.curves for row in self.curve(name)[0]]
        return [
            name for name in NULLS if any(name in row for row in shown) or any(one.level(name) for one in self.readings)
        ]

    @property
    def angles(self) -> str:
        """Principal angles of the two subspaces, "" where there are none."""
        found = [v for v in map(words.finite, listed(self.detail.get("angles_degrees"))) if v is not None]
        return ", ".join(f"{words.number(value)}°" for value in found)

    @property
    def apart(self) -> str:
        """What is left of each direction without the other, "" where not recorded."""
        found = mapping(self.detail.get("orthogonalised"))
        h, r = words.finite(found.get("h_perp_r_norm")), words.finite(found.get("r_perp_h_norm"))
        if h is None or r is None:
            return ""
        return f"|h⊥r| {words.number(h)}, |r⊥h| {words.number(r)}"

    @property
    def isotropic(self) -> str:
        """The level of directions drawn at random, "" where the record does not hold it."""
        found = [words.finite(mapping(detail_of(row).get("null")).get("isotropic")) for row in self.measurements]
        return ", ".join(words.number(value) for value in dict.fromkeys(found) if value is not None)


@dataclass(frozen=True)
class Value:
    """One measure of a coupling."""

    measurement: Row

    @property
    def value(self) -> str:
        """The estimate with its interval."""
        row, unit = self.measurement, str(self.measurement.get("unit") or "")
        return (
            f"{words.number(row.get('estimate'), unit)} {words.interval(row.get('low'), row.get('high'), unit)}".strip()
        )

    @property
    def levels(self) -> list[Level]:
        """What chance gives this measure."""
        return levels(detail_of(self.measurement).get("null"))

    @property
    def percentiles(self) -> Row:
        """Name of a null level -> share of it that is not above the value."""
        return mapping(detail_of(self.measurement).get("percentile"))

    def level(self, name: str) -> str:
        """The range of a null level, "" where there is none."""
        found = next((one for one in self.levels if one.name == name), None)
        if found is None:
            return ""
        share = percentile(self.percentiles.get(name))
        return f"{words.interval(found.low, found.high)}{f'; {share}' if share else ''}"


@dataclass(frozen=True)
class Independence:
    """What ablating one direction does to the cosine profile of the other."""

    measurement: Row

    @property
    def value(self) -> str:
        """The estimate with its interval, or why there is none."""
        if words.finite(self.measurement.get("estimate")) is None:
            return words.missing_reason(self.measurement)
        return Value(self.measurement).value

    @property
    def table(self) -> list[tuple[str, list[str]]]:
        """A row for each part of the value and for the sum: name, the texts of `CHANGES`; empty without a value."""
        detail = detail_of(self.measurement)
        changes, once, controls, p = (mapping(detail.get(name)) for name in ("changes", "at_once", "controls", "p"))
        found = []
        for name, text in PARTS.items():
            change, alone = (
                _added(each) if name == "sum" else words.finite(each.get(name)) for each in (changes, once)
            )
            if change is not None:
                row = [words.number(change), words.number(alone), _span(controls.get(name)), words.number(p.get(name))]
                found.append((text, row))
        return found


def _added(parts: Row) -> float | None:
    """The sum over both directions, None where one of them is missing."""
    found = [words.finite(parts.get(name)) for name in PARTS if name != "sum"]
    known = [value for value in found if value is not None]
    return sum(known) if len(known) == len(found) else None


def _span(values: object) -> str:
    """`0.001 to 0.004 (20)`."""
    found = [value for value in map(words.finite, listed(values)) if value is not None]
    if not found:
        return words.NOT_MEASURED
    return f"{words.number(min(found))} to {words.number(max(found))} ({len(found)})"


def couplings(record: Row) -> list[Coupling]:
    """Each pair of directions once, in the record's order; what is measured of their independence stands with them."""
    grouped: dict[tuple[str, ...], list[Row]] = {}
    apart: list[Row] = []
    for row in rows(record, "measurements"):
        detail = detail_of(row)
        if row.get("measure") == INDEPENDENCE and words.plain(detail.get("form")) in FORMS:
            apart.append(row)
        elif "readings" in detail or "layer_gap" in detail or words.plain(detail.get("form")) in FORMS:
            grouped.setdefault(_key(row, _SAME), []).append(row)
    pairs: dict[tuple[str, ...], list[Row]] = {}
    for row in apart:
        pairs.setdefault(_key(row, _PLACES), []).append(row)
    found = []
    for key, group in grouped.items():
        own = pairs.pop(_key(group[0], _PLACES), [])
        found.append(Coupling(key[0], detail_of(group[0]), group, [Independence(row) for row in own]))
    for key, group in pairs.items():
        found.append(Coupling(key[0], detail_of(group[0]), [], [Independence(row) for row in group]))
    return found


def _key(row: Row, names: Sequence[str]) -> tuple[str, ...]:
    """The checkpoint, and some fields of the detail."""
    return words.plain(row.get("checkpoint")), *(words.plain(detail_of(row).get(name)) for name in names)


def band_of(row: Row) -> str:
    """The field whose null bands a measurement's curve holds; of an older record the measure's own."""
    return words.plain(detail_of(row).get("band_of") or field_of(row))


def field_of(row: Row) -> str:
    """The field of a reading that a measure reports, "" for another one."""
    name = words.plain(row.get("measure")).removeprefix("coupling_")
    return name if name in FIELDS else ""
