"""What it means that the fast search agrees with the exhaustive one: shared by tests and by the planted searches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from geoaudit.carriers.resample import base_cosine, scored_rows
from geoaudit.carriers.select import Row, Selecting, Selection, choose
from geoaudit.carriers.table import SearchTable

RULES = (
    Selecting("arditi"),
    Selecting("arditi", induce_threshold=-99.0),
    Selecting("cosmic"),
    Selecting("cosmic", beta=0.0, raw=True),
)
SCORES = ("kl", "bypass", "induce", "s_refuse", "s_comply")


def means(table: SearchTable) -> list[dict[str, float]]:
    """Every candidate's scores, NaN where there is none."""
    found: list[dict[str, float]] = [{} for _ in table.candidates]
    for scores in (table.arditi, table.cosmic):
        for row, into in zip(scored_rows(table.candidates, scores), found, strict=True):
            for name in SCORES:
                if (value := getattr(row, name)) is not None:
                    into[name] = float("nan") if row.excluded else value
    return found


def selection(table: SearchTable, how: Selecting) -> Selection:
    """What a rule makes of a table."""
    ones = [np.ones((1, n)) for n in table.cosmic.base_cross.shape]
    scores = table.arditi if how.rule == "arditi" else table.cosmic
    rows = scored_rows(table.candidates, scores)
    return choose(rows, how, n_layers=table.n_layers, c0=float(base_cosine(table.cosmic, *ones)[0]))


def differences(fast: SearchTable, whole: SearchTable) -> dict[str, float]:
    """The largest difference of each score over the candidates for which the fast search reports it."""
    pairs = list(zip(means(fast), means(whole), strict=True))
    gaps = {name: [abs(a[name] - b[name]) for a, b in pairs if np.isfinite(a[name])] for name in SCORES}
    return {name: max(each, default=0.0) for name, each in gaps.items()}


def failures(
    fast: SearchTable, whole: SearchTable, *, kl_budget: float = 0.1, within: float = 1e-3, kl_within: float = 1e-3
) -> Iterator[str]:
    """Everything in which a `frontier` search is not what the exhaustive one says; nothing where they agree.

    Scores agree wherever they are reported; they are reported wherever a rule may ask for them; what was screened lies
    beyond the frontier; and every rule chooses the same, at the budget of the search and where nothing is admissible.

    Args:
        fast: the table of a `frontier` search.
        whole: that of the exhaustive search.
        kl_budget: of the fast search.
        within: how far scores may lie apart.
        kl_within: how far a KL may, and how near to a threshold it is left open on which side it falls.
    """
    if [(row.position, row.layer) for row in fast.candidates] != [
        (row.position, row.layer) for row in whole.candidates
    ]:
        yield "other candidates"
        return
    for name, gap in differences(fast, whole).items():
        if not gap <= (kl_within if name == "kl" else within):
            yield f"{name} differs by {gap:.2g}"
    for row, truth, mine, other in zip(fast.candidates, whole.candidates, means(fast), means(whole), strict=True):
        where = (row.position, row.layer)
        if "null" in (row.excluded, truth.excluded):
            if row.excluded != truth.excluded:
                yield f"{where} is null for one of them"
        elif row.excluded == "screened":
            if not other["kl"] > fast.frontier_kl - kl_within:
                yield f"{where} was screened at a KL of {other['kl']:.4f}"
        else:
            needed = ["kl"]
            needed += ["induce", "s_refuse"] * (other["kl"] < fast.frontier_kl - kl_within)
            needed += ["bypass", "s_comply"] * (other["kl"] < kl_budget - kl_within)
            missing = [name for name in needed if np.isfinite(other[name]) and not np.isfinite(mine[name])]
            if missing:
                yield f"{where} lacks {', '.join(missing)} at a KL of {other['kl']:.4f}"
    for rule in RULES:
        for budget in (kl_budget, -1.0):
            how = replace(rule, kl_budget=budget)
            one, two = selection(fast, how), selection(whole, how)
            beyond = two.nearest is not None and two.nearest.kl is not None and two.nearest.kl > fast.frontier_kl
            wanted = (_place(two.selected), None if beyond else _place(two.nearest))
            if (_place(one.selected), _place(one.nearest)) != wanted:
                yield f"{how}: {_place(one.selected)}, nearest {_place(one.nearest)}, and not {wanted}"


def _place(row: Row | None) -> tuple[int, int] | None:
    return None if row is None else (row.position, row.layer)
