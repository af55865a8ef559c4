"""The report: one self-contained HTML file from one record.

No script, no network, a content security policy that forbids both. Every string is cleaned once on the way in and
escaped on the way out. The output is well-formed XML too, so that a string that broke out would break the parse.
The same record gives the same bytes.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from geoaudit.report import (
    attack_figure,
    attacks,
    band_figures,
    behaviour,
    belief_figure,
    beliefs,
    beside,
    carrier,
    carrier_figure,
    checks,
    control_figure,
    coupling,
    direction,
    dose_figure,
    drift,
    drift_figure,
    figures,
    further,
    interval_figures,
    interventions,
    judges,
    parts,
    score_figure,
    spectrum,
    spectrum_figure,
    titles,
    verdict,
    words,
)
from geoaudit.report.clean import cleaned
from geoaudit.report.shared import shared

TEMPLATES = Path(__file__).parent / "templates"
MOST_WARNINGS = 60
"""Warnings shown; the record holds them all."""


def render(record: Mapping[str, Any]) -> str:
    """The report as HTML.

    Args:
        record: of version 1, complete or not.

    Raises:
        RequestError: not a geoaudit record, or one of another version.
    """
    shown = cleaned(record)
    lines = verdict.lines(shown)
    names = verdict.checkpoint_names(shown)
    counts = words.tally(line.assertion for line in lines)
    rates = behaviour.rate_tables(shown)
    samples = behaviour.examples(shown)
    text = _environment().get_template("report.html.j2").render(
        record=shown,
        uid=_counter(),
        checkpoints=verdict.rows(shown, "checkpoints"),
        suites=verdict.rows(shown, "suites"),
        measurements=verdict.rows(shown, "measurements"),
        banners=verdict.banners(shown),
        counts=counts,
        estimate=verdict.by_estimate(shown),
        headline=verdict.headline(counts, estimate=verdict.by_estimate(shown)),
        exit_text=verdict.exit_text(shown),
        lines=lines,
        cards=verdict.by_checkpoint(shown, lines),
        names=names,
        side_by_side=verdict.side_by_side(lines, names),
        by_category=[table for table in rates if not table.over_refusal],
        by_type=[table for table in rates if table.over_refusal],
        labels=behaviour.labels(rates, samples),
        judges=lambda reading: judges.judges(shown, reading),
        measure_title=lambda name: titles.of_measure(shown, name),
        title=lambda measurement: titles.title(shown, measurement.get("measure"), measurement),
        overlaps={name: verdict.overlap(shown, name) for name in names},
        attacks=attacks.attacks(shown),
        depths=further.depths(shown),
        utilities=further.utilities(shown),
        wordings=further.wordings(shown),
        examples=samples,
        carriers=carrier.carriers(shown),
        directions=direction.directions(shown),
        spectra=spectrum.spectra(shown),
        couplings=coupling.couplings(shown),
        beliefs=beliefs.beliefs(shown),
        inversions=beliefs.inversions(shown),
        interventions=interventions.interventions(shown),
        drifts=drift.drifts(shown),
        transfers=drift.transfers(shown),
        notes=checks.notes(lines),
        fired=checks.fired(shown),
        asserting=lambda measurements: verdict.asserting(lines, measurements),
        first=_once(),
        command=shlex.join(words.plain(part) for part in shown.get("command") or ()),
    )  # fmt: skip
    return shared(text).strip() + "\n"


def write(record: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Render and replace the file in one step; what was there stays until the new one is whole.

    Raises:
        RequestError: not a geoaudit record, or one of another version.
        OSError: the folder cannot be written.
    """
    text = render(record)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _counter() -> Callable[[], str]:
    """Identifiers for figures: never from a string of the record, in the same order every time."""
    numbers = count(1)
    return lambda: f"f{next(numbers)}"


def _once() -> Callable[[str], bool]:
    """Whether a name is asked for the first time: a figure's explanation is printed once, then pointed to."""
    seen: set[str] = set()

    def first(name: str) -> bool:
        new = name not in seen
        seen.add(name)
        return new

    return first


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        words=words,
        stops=verdict.stops,
        figures=figures,
        interval_figures=interval_figures,
        carrier_figure=carrier_figure,
        score_figure=score_figure,
        control_figure=control_figure,
        dose_figure=dose_figure,
        spectrum_figure=spectrum_figure,
        band_figures=band_figures,
        drift_figure=drift_figure,
        checks=checks,
        candidate_columns=carrier.COLUMNS,
        coupling_fields=coupling.FIELDS,
        independence_columns=coupling.CHANGES,
        direction_columns=direction.COLUMNS,
        site=direction.site,
        beside=beside,
        attack_figure=attack_figure,
        attack_points=attacks.points,
        belief_figure=belief_figure,
        belief_groups=beliefs.GROUPS,
        belief_answers=beliefs.ANSWERS,
        belief_scores=beliefs.SCORES,
        inversion_columns=beliefs.COLUMNS,
        mapping=titles.mapping,
        listed=titles.listed,
        parts=parts,
        graders=further.GRADERS,
        share_of=behaviour.share_of,
        most_warnings=MOST_WARNINGS,
    )
    environment.filters.update(plain=words.plain, count=words.count, seconds=words.seconds)
    return environment
