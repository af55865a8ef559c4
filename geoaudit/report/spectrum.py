"""Spectra as a reader meets them: each once though several measures read it, beside what chance gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from geoaudit.report import spectrum_figure, words
from geoaudit.report.band_figures import NULLS, Level, levels, percentile
from geoaudit.report.titles import Row, detail_of, mapping
from geoaudit.report.verdict import rows

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Spectrum:
    """One spectrum of one checkpoint with the measures that were read from it."""

    checkpoint: str
    detail: Row
    measurements: Sequence[Row]
    normalised: bool
    """Whether the rows were scaled to unit norm for the value itself."""

    @property
    def energies(self) -> Sequence[Any]:
        """Shares of energy of the spectrum that was measured."""
        return self.detail.get("energies") or ()

    @property
    def normalised_energies(self) -> Sequence[Any]:
        """The same with every row at unit norm; empty where that is the measured one already."""
        return () if self.normalised else mapping(self.detail.get("normalised")).get("energies") or ()

    @property
    def rows_text(self) -> str:
        """How the matrix was made."""
        detail = self.detail
        dropped = words.finite(detail.get("dropped"))
        return (
            f"{words.count(detail.get('rows'))} rows (harmful − harmless mean at each position and layer, resid_pre, "
            f"uncentred) of dimension {words.count(detail.get('d_model'))}"
            + (f"; {words.count(dropped)} rows without signal left out" if dropped else "")
        )

    @property
    def readings(self) -> list[Reading]:
        """What was read from the spectrum, measure by measure."""
        return [Reading(row) for row in self.measurements]

    @property
    def null(self) -> Row:
        """What chance gives this spectrum; empty where nothing was drawn by chance."""
        return next((null for one in self.readings if (null := mapping(one.detail.get("null")))), {})

    @property
    def null_names(self) -> list[str]:
        """The null levels that any figure of this spectrum shows."""
        of_energies = {name for name in NULLS if spectrum_figure.ranges(self.null, name)}
        return [name for name in NULLS if name in of_energies or any(one.level(name) for one in self.readings)]

    def component(self, name: str, index: int) -> str:
        """The range of a null level for one component."""
        found = spectrum_figure.ranges(self.null, name)
        return words.interval(*found[index], "share") if index < len(found) else NOT_RECORDED

    @property
    def components(self) -> str:
        """`90 % of the energy in 12 components, 95 % in 20`, "" where the record does not say."""
        found = [(share, words.finite(self.detail.get(name))) for share, name in (("90 %", "k90"), ("95 %", "k95"))]
        said = [f"{share} of the energy in {words.plural(k, 'component')}" for share, k in found if k is not None]
        return "; ".join(said)

    @property
    def made_from(self) -> str:
        """How the harmless contrasts were drawn, "" where there are none."""
        row = mapping(self.null.get("harmless"))
        parts = [words.plural(row["n"], "contrast")] if words.finite(row.get("n")) is not None else []
        if words.finite(row.get("categories")) is not None:
            parts.append(f"between {words.plural(row['categories'], 'category', 'categories')} of harmless prompts")
        if words.finite(row.get("prompts_per_side")) is not None:
            parts.append(f"{words.plural(row['prompts_per_side'], 'prompt')} a side")
        return ", ".join(parts)

    @property
    def isotropic(self) -> str:
        """The level of a matrix without any structure, "" where the record does not hold it."""
        found = words.finite(self.null.get("isotropic"))
        return "" if found is None else words.number(found)


@dataclass(frozen=True)
class Reading:
    """One measure of a spectrum."""

    measurement: Row

    @property
    def detail(self) -> Row:
        """What the measurement keeps for figures and tables."""
        return detail_of(self.measurement)

    @property
    def name(self) -> str:
        """The measure with its convention."""
        name, parameters = words.plain(self.measurement.get("measure")), mapping(self.measurement.get("parameters"))
        if name == "effective_rank":
            return f"{name}, convention {words.plain(self.detail.get('convention'))}"
        return f"{name}, fraction {words.plain(parameters['fraction'])}" if "fraction" in parameters else name

    @property
    def unit(self) -> str:
        """Unit of the value."""
        return str(self.measurement.get("unit") or "")

    @property
    def value(self) -> str:
        """The estimate with its interval."""
        low, high = self.measurement.get("low"), self.measurement.get("high")
        value = words.number(self.measurement.get("estimate"), self.unit)
        return f"{value} {words.interval(low, high, self.unit)}".strip()

    def beside(self, name: str) -> str:
        """The value of a variant: `normalised`, `held_out`; says where there is none."""
        found = mapping(self.detail.get(name)).get("estimate")
        return NOT_RECORDED if found is None else words.number(found, self.unit)

    @property
    def levels(self) -> list[Level]:
        """What chance gives this measure."""
        return levels(self.detail.get("null"))

    def level(self, name: str) -> str:
        """The range of a null level with the place of the value in it, "" where there is none."""
        found = next((one for one in self.levels if one.name == name), None)
        if found is None:
            return ""
        share = percentile(mapping(self.detail.get("percentile")).get(name))
        return f"{words.interval(found.low, found.high, self.unit)}{f'; {share}' if share else ''}"

    @property
    def by_layer(self) -> list[Row]:
        """The same measure of the rows of one layer alone, layer by layer."""
        return rows(self.detail, "by_layer")


def spectra(record: Row) -> list[Spectrum]:
    """Each spectrum once, in the record's order."""
    grouped: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows(record, "measurements"):
        detail = detail_of(row)
        if detail.get("energies"):
            key = words.plain(row.get("checkpoint")), str(detail["energies"]), _normalised(row)
            grouped.setdefault(key, []).append(row)
    return [Spectrum(key[0], detail_of(group[0]), group, key[2]) for key, group in grouped.items()]


def _normalised(row: Row) -> bool:
    return bool(mapping(row.get("parameters")).get("normalise")) or detail_of(row).get("field") == "normalised"
