"""Coupling of harmfulness and refusal as a reader meets it: the ways of reading it, layer by layer, beside chance."""

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


@dataclass(frozen=True)
class Coupling:
    """One pair of directions on one checkpoint with all measures that were read from it."""

    checkpoint: str
    detail: Row
    measurements: Sequence[Row]

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


def couplings(record: Row) -> list[Coupling]:
    """Each pair of directions once, in the record's order."""
    grouped: dict[tuple[str, ...], list[Row]] = {}
    for row in rows(record, "measurements"):
        detail = detail_of(row)
        if "readings" in detail or "layer_gap" in detail or detail.get("form") in FORMS:
            key = words.plain(row.get("checkpoint")), *(words.plain(detail.get(name)) for name in _SAME)
            grouped.setdefault(key, []).append(row)
    return [Coupling(key[0], detail_of(group[0]), group) for key, group in grouped.items()]


def band_of(row: Row) -> str:
    """The field whose null bands a measurement's curve holds; of an older record the measure's own."""
    return words.plain(detail_of(row).get("band_of") or field_of(row))


def field_of(row: Row) -> str:
    """The field of a reading that a measure reports, "" for another one."""
    name = words.plain(row.get("measure")).removeprefix("coupling_")
    return name if name in FIELDS else ""
