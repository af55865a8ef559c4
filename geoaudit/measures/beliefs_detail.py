"""Both beliefs of every scored prompt, and what the record keeps of them: groups, quadrants, how they come apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry import beliefs as formula
from geoaudit.geometry import nulls
from geoaudit.geometry.beliefs import Products
from geoaudit.measures.beliefs_table import GROUPS
from geoaudit.measures.fulfilled import KINDS, BeliefRows
from geoaudit.measures.needs import CONTRASTS, SCARY
from geoaudit.stats.separation import auroc

Floats = NDArray[np.float64]

HARMFULNESS, REFUSAL = 0, 1
"""Places on the position axis: `t_inst`, and −1."""
NAMES = ("harmfulness", "refusal")
SCARED = (SCARY, CONTRASTS)
"""Safe requests that sound harmful, and unsafe ones matched to them in form."""
ANSWERS = ("refused", "answered", "unread")
LEAST_WITHIN = 20
"""Prompts on either side of a separation within one kind or one answer."""


@dataclass(frozen=True, eq=False)
class Survey:
    """Both beliefs of every scored prompt."""

    rows: BeliefRows
    by_layer: Floats
    """[2, n, L + 1]."""
    missing: tuple[str, str]
    """Why there is no belief of the one or the other; empty where there is one."""

    @property
    def scores(self) -> Scores:
        """Mean over all layers of either belief, [n]."""
        return Scores(self.by_layer.mean(axis=-1), self.missing)

    @property
    def correlation(self) -> float | None:
        """Of the two scores over all prompts; None where one does not vary."""
        if any(self.missing):
            return None
        both = self.by_layer.mean(axis=-1)
        if not (both.std(axis=1) > 0).all():
            return None
        return float(np.corrcoef(both)[0, 1])

    def read(self, position: int) -> Products:
        """Scalar products at one position."""
        rows = self.rows
        return Products(rows.cross[:, position], rows.norm[:, position], rows.gram[position])

    def did(self, answer: str) -> NDArray[np.bool_]:
        """Which prompts got this answer, [n]."""
        return np.array([each == answer for each in self.rows.answer])

    def asked(self, kind: str) -> NDArray[np.bool_]:
        """Which prompts are of this kind, [n]."""
        return np.array([each == kind for each in self.rows.kind])

    def group(self, name: str) -> NDArray[np.bool_]:
        """Which prompts are of a group such as `harmful_refused`, [n]."""
        kind, _, answer = name.rpartition("_")
        return self.asked(kind) & self.did(answer)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores by position, with the reason where there are none."""

    both: Floats
    missing: tuple[str, str]

    def __getitem__(self, position: int) -> Floats:
        """[n].

        Raises:
            NothingToMeasure: the centres are the same at every layer.
        """
        if self.missing[position]:
            raise NothingToMeasure(f"no belief of {NAMES[position]}: {self.missing[position]}")
        found: Floats = self.both[position]
        return found


@lru_cache(maxsize=2)
def survey(rows: BeliefRows) -> Survey:
    """Both beliefs between the centres of refused harmful and of answered harmless prompts."""
    toward, away = (formula.centre(rows.count, own) for own in (rows.refused, ~rows.refused))
    layers, missing = [], []
    for position in (HARMFULNESS, REFUSAL):
        read = Products(rows.cross[:, position], rows.norm[:, position], rows.gram[position])
        null = formula.null_layers(read.gram, toward[None], away[None]).all()
        missing.append("null-direction: the two centres are the same at every layer" if null else "")
        layers.append(formula.by_layer(read, toward, away))
    return Survey(rows, np.stack(layers), (missing[0], missing[1]))


def detail_of(rows: BeliefRows) -> dict[str, Any]:
    """The detail that all measures of beliefs share; a new dictionary each time."""
    found = survey(rows)
    return {
        "beliefs": {
            "positions": {"harmfulness": "t_inst", "refusal": -1},
            "layers": "the input of every block and the last block's output, averaged",
            "n_layers": int(found.by_layer.shape[-1] - 1),
            "centres": {
                "harmful_refused": int(rows.count[rows.refused].sum()),
                "harmless_answered": int(rows.count[~rows.refused].sum()),
            },
            "groups": [_group(found, name) for name in GROUPS],
            "quadrants": {kind: _quadrant(found, kind) for kind in KINDS},
            "separation": _separation(found),
            "correlation": None if found.correlation is None else shown(found.correlation),
            "layer_auroc": _by_layer(found),
        }
    }


def _group(found: Survey, name: str) -> dict[str, Any]:
    """A group with its points: one a prompt, four digits of either belief."""
    group = found.group(name)
    n = int(group.sum())
    both = found.by_layer.mean(axis=-1)[:, group]
    values = {
        label: None if found.missing[index] else [float(f"{value:.4g}") for value in both[index]]
        for index, label in enumerate(NAMES)
    }
    means = {
        f"{label}_mean": None if found.missing[index] or not n else shown(float(both[index].mean()))
        for index, label in enumerate(NAMES)
    }
    return {"group": name, "n": n, **means, **values}


def _quadrant(found: Survey, kind: str) -> dict[str, Any]:
    """Counts of one kind of prompt by answer, and of how many of each are believed harmful."""
    asked = found.asked(kind)
    counts: dict[str, Any] = {answer: int((asked & found.did(answer)).sum()) for answer in ANSWERS}
    if not found.missing[HARMFULNESS]:
        believed = found.scores[HARMFULNESS] > 0
        counts |= {f"{answer}_believed": int((asked & believed & found.did(answer)).sum()) for answer in ANSWERS}
    return counts


def _separation(found: Survey) -> list[dict[str, Any]]:
    """What either score separates where the other thing does not vary: the two come apart if each finds its own."""
    harmful = found.asked("harmful")
    refused, answered = found.did("refused"), found.did("answered")
    comparisons = (
        ("harmful against harmless, of the answered", answered & harmful, answered & ~harmful),
        ("harmful against harmless, of the refused", refused & harmful, refused & ~harmful),
        ("refused against answered, of the harmful", refused & harmful, answered & harmful),
        ("refused against answered, of the harmless", refused & ~harmful, answered & ~harmful),
    )
    rows = []
    for name, one, other in comparisons:
        sizes = [int(one.sum()), int(other.sum())]
        row: dict[str, Any] = {"comparison": name, "n": sizes}
        for index, label in enumerate(NAMES):
            there = not found.missing[index] and min(sizes) >= LEAST_WITHIN
            row[label] = shown(auroc(found.scores[index][one], found.scores[index][other])) if there else None
        rows.append(row)
    return rows


def _by_layer(found: Survey) -> list[float | None]:
    """AUROC of harmful against harmless prompts by the belief of harmfulness at each single layer row."""
    harmful = found.asked("harmful")
    if found.missing[HARMFULNESS] or not harmful.any() or harmful.all():
        return []
    layers = found.by_layer[HARMFULNESS]
    return [shown(auroc(layers[harmful, row], layers[~harmful, row])) for row in range(layers.shape[1])]


def level_of(values: Floats) -> Mapping[str, Any]:
    """Where a null level lies."""
    level = nulls.level(values)
    return {"n": level.n, "low": shown(level.low), "median": shown(level.median), "high": shown(level.high)}


def shown(value: float) -> float | None:
    """Six digits, or None for what is not a number: the record has no NaN."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
