"""The report: one self-contained HTML file from one record.

No network, and one small script that the page works without; a content security policy allows that script by its hash
and nothing else. Every string is cleaned once on the way in and escaped on the way out. The output is well-formed XML
too, so that a string that broke out would break the parse. The same record gives the same bytes.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
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
    export,
    figures,
    frontier,
    frontier_figure,
    further,
    interval_figures,
    interventions,
    judges,
    judging,
    many,
    page,
    parts,
    provenance,
    score_figure,
    scorecard,
    spectrum,
    spectrum_figure,
    titles,
    trajectories,
    trajectory_figure,
    verdict,
    words,
)
from geoaudit.report.clean import cleaned
from geoaudit.report.shared import shared
from geoaudit.report.svg import Figure, Uid
from geoaudit.report.tables import tabled

TEMPLATES = Path(__file__).parent / "templates"
MOST_WARNINGS = 60
"""Warnings shown; the record holds them all."""


def render(record: Mapping[str, Any]) -> str:
    """The report as HTML.

    Args:
        record: complete or not.

    Raises:
        RequestError: not a geoaudit record, or one of another version.
    """
    text, figures = drawn(record)
    return finished(text, figures)


def finished(text: str, figures: Sequence[Figure]) -> str:
    """The page as it is handed round: tables beneath its figures, what they have in common written once."""
    return shared(tabled(text, figures)).strip() + "\n"


def drawn(record: Mapping[str, Any]) -> tuple[str, list[Figure]]:
    """The page with every figure whole and in its place, and these figures with their numbers.

    Raises:
        RequestError: not a geoaudit record, or one of another version.
    """
    shown = cleaned(record)
    kept: list[Figure] = []
    lines = verdict.lines(shown)
    names = trajectories.ordered(shown, verdict.checkpoint_names(shown))
    counts = words.tally(line.assertion for line in lines)
    rates = behaviour.rate_tables(shown)
    samples = behaviour.examples(shown)
    cards = verdict.by_checkpoint(shown, lines)
    full = many.detailed(shown, {name: tally for name, _, tally in cards})
    text = _environment().get_template("report.html.j2").render(
        record=shown,
        uid=_counter(kept),
        style=page.style(),
        script=page.script(),
        policy=page.policy(),
        checkpoints=verdict.rows(shown, "checkpoints"),
        shown=[row for row in verdict.rows(shown, "checkpoints") if words.plain(row.get("name")) in full],
        suites=verdict.rows(shown, "suites"),
        measurements=verdict.rows(shown, "measurements"),
        banners=verdict.banners(shown),
        counts=counts,
        estimate=verdict.by_estimate(shown),
        headline=verdict.headline(counts, estimate=verdict.by_estimate(shown)),
        exit_text=verdict.exit_text(shown),
        replayed=provenance.replayed(shown),
        card=scorecard.scorecard(shown, lines),
        lines=lines,
        series=[line for line in lines if line.series],
        panels=trajectories.panels(shown),
        where=trajectories.where(shown),
        frontiers=frontier.frontiers(shown),
        full=full,
        cards=cards,
        names=names,
        groups=many.groups(lines, together=len(names) > many.FEW),
        side_by_side=verdict.side_by_side(lines, names),
        by_category=[table.narrowed(full, names) for table in rates if not table.over_refusal],
        by_type=[table.narrowed(full, names) for table in rates if table.over_refusal],
        conventions=lambda measure: provenance.conventions(shown, measure),
        judging=judging.judges(shown),
        hashes=provenance.hashes(shown),
        options=provenance.options(shown),
        baseline=provenance.baseline(shown),
        made=provenance.made(shown),
        key_of=provenance.key,
        left=many.rest(names, full),
        labels=behaviour.labels(rates, samples),
        judges=lambda reading: judges.judges(shown, reading),
        measure_title=lambda name: titles.of_measure(shown, name),
        title=lambda measurement: titles.title(shown, measurement.get("measure"), measurement),
        overlaps={name: verdict.overlap(shown, name) for name in names},
        attacks=attacks.attacks(shown),
        depths=many.of(further.depths(shown), full),
        utilities=further.utilities(shown),
        wordings=further.wordings(shown),
        examples=many.of(samples, full),
        carriers=many.of(carrier.carriers(shown), full),
        directions=many.of(direction.directions(shown), full),
        spectra=many.of(spectrum.spectra(shown), full),
        couplings=many.of(coupling.couplings(shown), full),
        beliefs=many.of(beliefs.beliefs(shown), full),
        inversions=many.of(beliefs.inversions(shown), full),
        interventions=many.of(interventions.interventions(shown), full),
        drifts=many.of(drift.drifts(shown), full),
        transfers=many.of(drift.transfers(shown), full),
        notes=checks.notes(lines),
        fired=checks.fired(shown),
        asserting=lambda measurements: verdict.asserting(lines, measurements),
        first=_once(),
        command=shlex.join(words.plain(part) for part in shown.get("command") or ()),
    )  # fmt: skip
    return text, kept


def write(
    record: Mapping[str, Any], path: str | os.PathLike[str], figures: str | os.PathLike[str] | None = None
) -> None:
    """Render and replace the file in one step; what was there stays until the new one is whole.

    Args:
        record: complete or not.
        path: of the report.
        figures: a folder that every figure of the report is written to as well, as SVG with its numbers as CSV.

    Raises:
        RequestError: not a geoaudit record, or one of another version; `figures` is a file.
        OSError: a folder cannot be written.
    """
    body, shown = drawn(record)
    text = finished(body, shown)
    if figures is not None:
        export.check(Path(figures))
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    if figures is not None:
        export.write(body, shown, figures)


def _counter(kept: list[Figure]) -> Callable[[], Uid]:
    """Identifiers for figures: never from a string of the record, in the same order every time."""
    numbers = count(1)
    return lambda: Uid(f"f{next(numbers)}", kept)


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
        beside_rate=verdict.beside_rate,
        figures=figures,
        interval_figures=interval_figures,
        carrier_figure=carrier_figure,
        score_figure=score_figure,
        control_figure=control_figure,
        dose_figure=dose_figure,
        spectrum_figure=spectrum_figure,
        band_figures=band_figures,
        drift_figure=drift_figure,
        trajectory_figure=trajectory_figure,
        frontier_figure=frontier_figure,
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
        few_of=behaviour.few_of,
        most_warnings=MOST_WARNINGS,
        most_named=checks.MOST_NAMED,
    )
    environment.filters.update(plain=words.plain, count=words.count, seconds=words.seconds)
    return environment
