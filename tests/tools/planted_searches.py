"""How often audits find what was planted: layer, position, subspace, rank and coupling, in models of each architecture.

    python tests/tools/planted_searches.py [seeds an architecture, default 50] [architectures, default six of eight]

Every seed draws rank, layers, positions and angle of a `tests.model.planting`; every tenth draws one of each kind of
negative beside it. A search is found *exactly* where all of its parts are: both rules select the planted place, with
no check against it and nothing else in the interval; the field's leading singular vectors span the planted subspace
within `ANGLE`; effective rank and, on a second model that refuses half of either kind of prompt, the coupling are the
planted ones within `RANK` and `COUPLING`, and no check stops any of them. The causal rank takes as long as all else
together: it is read for every fifth seed, and there belongs to what must be found. The fast search is compared with
the exhaustive one on all of them, negatives too. Every miss is printed with what was found instead.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: models this small are slowed down by a second thread

import numpy as np
from scipy.linalg import subspace_angles

from geoaudit.carriers.resample import scored_rows
from geoaudit.carriers.select import ROUNDING, Row, Selecting, scaled, score
from geoaudit.carriers.table import SearchTable
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.directions import differences
from geoaudit.measures import carrier, causal_rank, coupling, spectrum
from geoaudit.measures.bench import Bench
from geoaudit.measures.carrier_needs import search_of
from geoaudit.measures.carrier_selection import idle_cosine
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.needs import Probe
from geoaudit.measures.table import get
from geoaudit.prompts.sources import load
from geoaudit.records import Measurement
from tests.carriers.agreement import RULES as AGREEING
from tests.carriers.agreement import differences as score_gaps
from tests.carriers.agreement import means, selection
from tests.measures import benches
from tests.measures.benches import evidence_of, open_bench
from tests.model.planted import words
from tests.model.planting import KINDS, Kind, Planting, Sown, drawn, drawn_negative, plant

USUAL = ("llama", "qwen3", "gemma2", "olmo2", "gpt_neox", "gpt2")
ANGLE, RANK, COUPLING = 5.0, 0.1, 0.02
"""Degrees of the largest principal angle; effective dimensions; cosine."""
SCORES, TIE = 1e-3, 1e-5
"""How far scores of the fast and the exhaustive search may lie apart; below what gap two candidates are as good as each
other, because rounding is of that size."""
TRAIN, VALIDATION, HELD_OUT = 32, 8, 16
EVERY, EVERY_CAUSAL = 10, 5
"""Seeds for one of each kind of negative; for one causal rank."""
RULES = ("cosmic", "arditi")
PARTS = ("place, cosmic", "place, arditi", "subspace", "effective rank", "coupling")
CAUSAL = "causal rank"
AGREE = "fast = exhaustive"


@dataclass
class Report:
    """One planted model: what was planted, and in what an audit misses it."""

    planting: Planting
    missed: dict[str, str] = field(default_factory=dict)
    """Part -> what was found instead."""
    causal: bool = False
    """Whether the causal rank was read."""
    angle: float = float("nan")
    rank_error: float = float("nan")
    coupling_error: float = float("nan")
    ties: int = 0
    """Choices of the fast search that are another of candidates that the exhaustive one scores alike."""
    trusted: int = 0
    """Negatives: rules and presets that gave a carrier without any check against it."""
    selected: int = 0
    """Negatives: those that selected a carrier at all."""


@cache
def texts(*names: str, n: int = TRAIN) -> list[str]:
    """The first prompts of some built-in sets."""
    return [prompt.text for name in names for prompt in load(name).first(n).prompts]


def probes() -> tuple[list[str], list[str]]:
    """Harmful and harmless prompts that a search reads, the held-out ones too."""
    harmful, harmless = (
        [*texts(f"probe-{kind}-train"), *texts(f"probe-{kind}-validation", n=VALIDATION)]
        for kind in ("harmful", "harmless")
    )
    return [*harmful, *texts("harmful", n=HELD_OUT)], harmless


def parameters(measure: str, **given: Any) -> dict[str, Any]:
    """Of a measure, with the table's defaults for what is not given."""
    own = {} if measure.startswith("carrier_") else {name: one.default for name, one in get(measure).parameters.items()}
    return {**own, "direction": "carrier", "n_train": TRAIN, "n_validation": VALIDATION, "chat": ChatSetting(), **given}


def stopped(found: Measurement) -> str:
    """The checks that stop a measurement, empty for a trusted one."""
    return "; ".join(f"{flag.name}: {flag.sentence}" for flag in found.flags if flag.effect == "stops")


def searched(planting: Planting, folder: Path, *, causal: bool = True) -> Report:
    """Plant a carrier and look for it."""
    report = Report(planting)
    sown = plant(folder / "model", planting, *probes())
    bench = open_bench(sown)
    evidence = evidence_of(bench)
    _place(report, evidence)
    _agreement(report, bench)
    _field(report, sown, evidence)
    if causal:
        _causal(report, evidence)
    return report


def _causal(report: Report, evidence: Evidence) -> None:
    """How many directions refusal hangs on."""
    report.causal = True
    try:
        found = causal_rank.causal_rank(parameters("causal_rank", n=HELD_OUT), evidence)
    except NothingToMeasure as error:
        report.missed[CAUSAL] = str(error)
        return
    if found.estimate != report.planting.rank or stopped(found):
        report.missed[CAUSAL] = f"{found.estimate} {stopped(found)}"


def _place(report: Report, evidence: Evidence) -> None:
    """Both rules, layer and position."""
    axis = report.planting.axes[0]
    for rule in RULES:
        for measure, place in (("carrier_layer", axis.layer), ("carrier_position", axis.position)):
            try:
                found = getattr(carrier, measure)(parameters(measure, rule=rule), evidence)
            except NothingToMeasure as error:
                report.missed[f"place, {rule}"] = str(error)
                continue
            if (found.estimate, found.low, found.high) != (place, place, place):
                report.missed[f"place, {rule}"] = f"{measure} {found.estimate} in [{found.low}, {found.high}]"
            elif why := stopped(found):
                report.missed[f"place, {rule}"] = why


def _agreement(report: Report, bench: Bench) -> None:
    """The fast search against the exhaustive one: its scores, and what each rule chooses from them."""

    def table(rule: str, how: str) -> SearchTable:
        made: SearchTable = bench.fulfil(search_of(parameters("carrier_layer", rule=rule, search=how)))
        return made

    fast, whole = table("cosmic", "frontier"), table("cosmic", "exhaustive")
    apart = [f"{name} differs by {gap:.1g}" for name, gap in score_gaps(fast, whole).items() if gap > SCORES]
    for row, mine, other in zip(fast.candidates, means(fast), means(whole), strict=True):
        if row.excluded != "null" and other["kl"] <= Selecting("cosmic").kl_budget:
            lacking = [name for name in other if np.isfinite(other[name]) and not np.isfinite(mine[name])]
            apart += [f"({row.position}, {row.layer}) lacks {name}" for name in lacking]
    for rule in AGREEING:
        for how in (rule, replace(rule, kl_budget=-1.0)):  # nothing is admissible: who is nearest?
            apart += _chosen(report, fast, whole, how)
    for rule in RULES:  # by the search that looks for the winner of one rule only
        apart += _chosen(report, table(rule, "winner"), whole, Selecting(rule), nearest=False)
    if apart:
        report.missed[AGREE] = "; ".join(apart)


def _chosen(
    report: Report, fast: SearchTable, whole: SearchTable, how: Selecting, *, nearest: bool = True
) -> Iterator[str]:
    """What a rule chooses from one table and not from the other, but for ties within rounding."""
    mine, other = selection(fast, how), selection(whole, how)
    scores = whole.arditi if how.rule == "arditi" else whole.cosmic
    rows = {(row.position, row.layer): row for row in scored_rows(whole.candidates, scores)}
    for name in ("selected", "nearest") if nearest else ("selected",):
        one, two = ((row.position, row.layer) if row else None for row in (getattr(mine, name), getattr(other, name)))
        if one == two:
            continue
        if _tied([rows[place] for place in (one, two) if place], how, name, idle_cosine(whole)):
            report.ties += 1
        else:
            yield f"{how.rule}, {name}: {one}, exhaustively {two}"


def _tied(rows: list[Row], how: Selecting, name: str, c0: float) -> bool:
    """Whether rounding decides between two candidates, or whether one of them does anything at all."""
    values = [row.kl if name == "nearest" else score(row, how.rule, how.beta) for row in rows]
    if len(values) == 2 and abs(values[0] - values[1]) <= TIE:
        return True
    return how.rule == "cosmic" and any(abs(scaled(row.s_refuse, c0) - ROUNDING) <= TIE for row in rows)


def _field(report: Report, sown: Sown, evidence: Evidence) -> None:
    """Subspace and effective rank of the field of differences in means."""
    means = evidence.of(Probe(TRAIN))
    rows = differences(means.harmful, means.harmless)[:, :-1]
    leading = np.linalg.svd(rows.reshape(-1, rows.shape[-1]))[2][: report.planting.rank]
    report.angle = float(np.degrees(subspace_angles(leading.T, sown.subspace.numpy().T)).max())
    found = spectrum.effective_rank(parameters("effective_rank"), evidence)
    assert found.estimate is not None
    report.rank_error = abs(found.estimate - sown.effective_rank)
    if not report.angle <= ANGLE:
        report.missed["subspace"] = f"{report.angle:.1f}°"
    if not report.rank_error <= RANK:
        report.missed["effective rank"] = f"{found.estimate:.3f}, planted {sown.effective_rank:.3f}"


def coupled(planting: Planting, folder: Path, into: Report | None = None) -> Report:
    """Plant a carrier in a model that refuses half of either kind of prompt, and read the coupling."""
    report, position = into or Report(planting), planting.axes[0].position
    harmful = texts("probe-harmful-train", "safe-but-scary-contrasts")
    harmless = texts("probe-harmless-train", "safe-but-scary")
    chance = random.Random(planting.seed)
    triggers = frozenset(_half(harmful, harmless, chance) | _half(harmless, harmful, chance))
    sown = plant(folder / "model", planting, harmful, harmless, triggers)
    try:
        found = coupling.c_cos(
            parameters("c_cos", h_position="t_inst", r_position=position), evidence_of(open_bench(sown))
        )
    except NothingToMeasure as error:
        report.missed["coupling"] = str(error)
        return report
    assert found.estimate is not None
    refusal = sown.field[position, found.detail["r_layer"]]
    planted = abs(float(refusal @ sown.harmfulness / refusal.norm()))
    report.coupling_error = abs(found.estimate - planted)
    if not report.coupling_error <= COUPLING or stopped(found):
        report.missed["coupling"] = f"{found.estimate:.3f}, planted {planted:.3f}; {stopped(found)}"
    return report


def _half(own: Sequence[str], others: Sequence[str], chance: random.Random) -> set[str]:
    """Words of some prompts and not of others that half of the prompts have one of."""
    known = {word for text in others for word in words(text)}
    left = sorted({word for text in own for word in words(text)} - known)
    chance.shuffle(left)
    chosen: set[str] = set()
    while 2 * sum(not chosen.isdisjoint(words(text)) for text in own) < len(own):
        chosen.add(left.pop())
    return chosen


def denied(kind: Kind, family: str, seed: int, folder: Path) -> Report:
    """Plant no carrier, and look for one by both rules and by the papers' own preset, whose score has no zero."""
    report = Report(drawn_negative(kind, family, seed))
    bench = open_bench(plant(folder / "model", report.planting, *probes()))
    for how in ({"rule": "cosmic"}, {"rule": "arditi"}, {"preset": "paper"}):
        try:
            found = carrier.carrier_layer(parameters("carrier_layer", **how), evidence_of(bench))
        except NothingToMeasure:
            continue
        report.selected += 1
        if not stopped(found):
            report.trusted += 1
            report.missed[f"trusted, {how}"] = f"{found.detail['selected']}"
    _agreement(report, bench)
    return report


def main(seeds: int, families: Sequence[str]) -> None:
    """All architectures, and every miss."""
    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.disable_progress_bar()
    found: list[Report] = []
    negatives: list[Report] = []
    for family in families:
        start, first = time.process_time(), (len(found), len(negatives))
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
                found.append(searched(drawn(family, seed), Path(one), causal=seed % EVERY_CAUSAL == 0))
                coupled(found[-1].planting, Path(other), found[-1])
            _tell(f"{family} {seed}", found[-1])
            for kind in KINDS if seed % EVERY == 0 else ():
                with tempfile.TemporaryDirectory() as one:
                    negatives.append(denied(kind, family, seed, Path(one)))
                _tell(f"{kind} {family} {seed}", negatives[-1])
            benches._loaded.cache_clear()
        _summary(family, found[first[0] :], negatives[first[1] :], time.process_time() - start)
    _summary("in all", found, negatives, time.process_time())


def _tell(name: str, report: Report) -> None:
    places = ", ".join(f"({axis.position}, {axis.layer})" for axis in report.planting.axes)
    for part, instead in report.missed.items():
        print(f"  missed: {name}, axes at {places or 'no place'}: {part}: {instead}", flush=True)


def _summary(name: str, found: list[Report], negatives: list[Report], seconds: float) -> None:
    held = [f"{part} {sum(part not in each.missed for each in found)}" for part in (*PARTS, AGREE)]
    causal = [each for each in found if each.causal]
    held.append(f"{CAUSAL} {sum(CAUSAL not in each.missed for each in causal)} of {len(causal)}")
    exact = sum(not {*PARTS, CAUSAL} & set(each.missed) for each in found)
    ranks = "/".join(str(sum(each.planting.rank == k for each in found)) for k in (1, 2, 3))
    angle, rank, cosine = (
        np.nanmax([getattr(each, part) for each in found]) for part in ("angle", "rank_error", "coupling_error")
    )
    print(f"{name}: {len(found)} models, {ranks} of rank 1/2/3, found exactly: {exact}; {', '.join(held)}")
    print(f"  at worst: angle {angle:.1f}°, effective rank off by {rank:.3f}, coupling by {cosine:.4f}")
    print(
        f"  negatives: {len(negatives)} models, 3 ways each; something was selected in "
        f"{sum(each.selected for each in negatives)}, trusted in {sum(each.trusted for each in negatives)}; "
        f"{AGREE} {sum(AGREE not in each.missed for each in negatives)}"
    )
    print(
        f"  {sum(each.ties for each in (*found, *negatives))} choices are ties; {seconds:.0f} s of one core", flush=True
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50, sys.argv[2:] or USUAL)
