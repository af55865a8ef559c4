"""Whether an intervention broke the model, whatever it did to refusal: what it does to whole answers.

KL at the first token alone misses an edit that breaks an answer after it. So the unedited model's own answers to
everyday requests are read again under the edit, token by token, and the edited model writes answers of its own. All of
it stands beside what the controls do that decide about the effect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure
from geoaudit.measures.carrier_selection import shown
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import Damaged
from geoaudit.measures.needs import Damage
from geoaudit.stats.ratios import PerToken, per_token

Floats = NDArray[np.float64]

SEED = 20260619
DAMAGE_ANSWERS_KL = 1.0
"""Nats of KL of the next token, on average over the first tokens of an answer, from which on an edit counts as having
broken the model."""
MORE_BROKEN = 0.2
"""Share of the answers that an edit may turn into none at all. Of a small model one or two in sixteen begin to loop, or
stop to, under edits that do next to nothing."""


UNMATCHED = 2.0
"""Times as much as its controls on average, and more than any of them: from there on a target is said to disturb
answers more than they do, although doses were matched at the first token."""


@dataclass(frozen=True)
class Harm:
    """What an intervention does to answers, beside its controls."""

    detail: Mapping[str, Any]
    """As the record keeps it."""
    kl: float
    """Nats a token, under the target; infinite where it gives no number or was not read."""
    reasons: list[str] = field(default_factory=list)
    """Why it counts as damage; none where it does not."""
    notes: list[str] = field(default_factory=list)
    """What a reader should know all the same."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Prompt set -> hash."""

    @classmethod
    def of(cls, need: Damage, evidence: Evidence) -> Harm:
        """The damage of a need. What cannot be read counts as damage: missing is not zero."""
        try:
            found: Damaged = evidence.of(need)
        except NothingToMeasure as error:
            return cls({"missing": str(error)}, math.inf, [f"what it does to answers was not read: {error}"])
        return _harm(found)

    @property
    def row(self) -> dict[str, Any]:
        """What one dose of a sweep keeps of it."""
        return {f"answers_{name}": self.detail.get(name) for name in ("kl", "control_kl", "perplexity")}


def _harm(found: Damaged) -> Harm:
    there = found.places
    counts = there.sum(axis=1)
    kl, loss = _totals(found.kl, there), _totals(found.loss, there)
    own, rise = _per_token(kl[0], counts), _per_token(loss[1] - loss[0], counts)
    tokens = counts.sum()
    perplexity = [_exponential(total) for total in loss.sum(axis=1) / tokens]
    broken = found.broken.mean(axis=1)
    detail = {
        "answers": len(counts),
        "asked": len(found.prompts),
        "written": found.broken.shape[1],
        "tokens": int(counts.max()),
        "kl": _shown(own, "mean"),
        "kl_low": _shown(own, "low"),
        "kl_high": _shown(own, "high"),
        "control_kl": [shown(float(total)) for total in kl[1:].sum(axis=1) / tokens],
        "perplexity_unedited": shown(perplexity[0]),
        "perplexity": shown(perplexity[1]),
        "control_perplexity": [shown(value) for value in perplexity[2:]],
        "factor": _shown(rise, "mean", exponential=True),
        "factor_low": _shown(rise, "low", exponential=True),
        "factor_high": _shown(rise, "high", exponential=True),
        "which": list(found.which),
        "broken_unedited": shown(float(broken[0])),
    }
    if len(broken) > 1:
        detail |= {"broken": shown(float(broken[1])), "control_broken": [shown(float(value)) for value in broken[2:]]}
    return Harm(
        detail,
        math.inf if own is None else own.mean,
        _reasons(found, own, rise),
        _notes(own, kl[1:].sum(axis=1) / tokens),
        {found.prompts.name: found.prompts.sha256},
    )


def _reasons(found: Damaged, own: PerToken | None, rise: PerToken | None) -> list[str]:
    if own is None or rise is None:
        return ["under it the model gives no numbers on its own answers"]
    reasons = []
    limit = f"on average over the first {found.places.shape[1]} tokens of its own answers"
    if not own.mean <= DAMAGE_ANSWERS_KL:
        reasons.append(f"it shifts the next token by {own.mean:.2f} nats {limit} (KL, at most {DAMAGE_ANSWERS_KL:g})")
    if not rise.mean <= DAMAGE_ANSWERS_KL:
        factor, most = math.exp(rise.mean), math.exp(DAMAGE_ANSWERS_KL)
        reasons.append(f"the perplexity of the model's own answers is {factor:.1f} times as great (at most {most:.1f})")
    if len(found.broken) > 1:
        before, after = (int(row.sum()) for row in found.broken[:2])
        if after - before > MORE_BROKEN * found.broken.shape[1]:
            reasons.append(
                f"of {found.broken.shape[1]} answers to everyday requests {after} are none under it, {before} without"
            )
    return reasons


def _notes(own: PerToken | None, controls: Floats) -> list[str]:
    known = controls[np.isfinite(controls)]
    if own is None or known.size < 2 or own.mean <= max(UNMATCHED * float(known.mean()), float(known.max())):
        return []
    return [
        f"matched at the first token, its controls disturb answers less: by {known.mean():.2g} nats a token (at most "
        f"{known.max():.2g}) against {own.mean:.2g}"
    ]


def _totals(values: Floats, there: NDArray[np.bool_]) -> Floats:
    """[C, n] sums over the places where an answer has a token; NaN where one is."""
    totals: Floats = np.where(there, values, 0.0).sum(axis=-1)
    return totals


def _per_token(totals: Floats, counts: NDArray[np.int64]) -> PerToken | None:
    """The mean per token with its interval; None where a value is no number."""
    return per_token(totals, counts, seed=SEED) if np.isfinite(totals).all() else None


def _shown(value: PerToken | None, part: str, *, exponential: bool = False) -> float | None:
    if value is None:
        return None
    number = float(getattr(value, part))
    return shown(_exponential(number) if exponential else number)


def _exponential(value: float) -> float:
    """The exponential, infinite where that is beyond all floats."""
    return math.exp(value) if value < 700 else math.inf
