"""Whether a carrier has drifted, been replaced, or been lost between two checkpoints of a trajectory.

Angles say how far subspaces have turned; only trying one checkpoint's direction in the other says whether it still
works there. E_ij is the effect, in checkpoint j, of the direction taken from checkpoint i at its own site, on one list
of prompts, and ρ_ij = E_ij/E_jj the share of j's own effect that i's direction has. Effects are signed so that a
carrier's is positive.

A class is given only where every value within the intervals gives that one. Everything else is *undecided*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.stats.bootstrap import LEAST_REPLICATES, block_weights

Floats = NDArray[np.float64]

KEPT = 0.8
"""From here on, a direction that keeps this share of the effect has only drifted."""
REPLACED = 0.5
"""Below it, in both directions, one carrier has taken another's place."""
LEAST_PROMPTS = 8
"""With fewer, resampling prompts says little about other prompts."""

Class = Literal["drift-only", "reorganised", "lost", "undecided"]


@dataclass(frozen=True, slots=True)
class Frame:
    """What two checkpoints must share for their directions to be compared."""

    width: int
    """d, of the residual stream."""
    n_layers: int
    tokens: tuple[str, ...]
    """Post-instruction tokens, position −P first."""
    tokenizer: str
    """Its hash."""
    template: str
    """Hash of the chat template."""


def refuse_unlike(here: Frame, there: Frame) -> None:
    """Nothing, for two checkpoints whose sites mean the same.

    Raises:
        NothingToMeasure: different widths or depths, tokenizers, or templates: the sentence says which.
    """
    reasons = []
    if here.width != there.width:
        reasons.append(f"their residual streams are {here.width} and {there.width} wide")
    if here.n_layers != there.n_layers:
        reasons.append(f"they have {here.n_layers} and {there.n_layers} layers")
    if here.tokenizer != there.tokenizer:
        reasons.append("their tokenizers differ")
    if here.template != there.template or here.tokens != there.tokens:
        reasons.append("their chat templates differ, and with them what a position stands for")
    if reasons:
        raise NothingToMeasure(f"the two checkpoints cannot be compared: {'; '.join(reasons)}")


class Estimate(NamedTuple):
    """A number with its two-sided interval."""

    value: float
    low: float
    high: float


def mean_effect(effects: NDArray[Any], *, seed: int, n: int = 2000, level: float = 0.95) -> Estimate:
    """Mean effect over prompts with its bootstrap interval.

    Percentiles of the bootstrap means, taken a little further out so that a small sample's interval is as wide as
    Student's t asks (Hesterberg 2015, "expanded percentile").

    Args:
        effects: one prompt each, [p].
        seed: of the resampling.
        n: resamples.
        level: two-sided.

    Raises:
        NothingToMeasure: fewer than 8 prompts, or an effect that is not finite.
    """
    values = _effects(effects)
    drawn = block_weights(values.size, n, seed) @ values / values.size
    low, high = np.quantile(drawn, _tails(values.size, level))
    return Estimate(float(values.mean()), float(low), float(high))


def transfer_ratio(
    carried: NDArray[Any], own: NDArray[Any], *, seed: int, n: int = 2000, level: float = 0.95
) -> Estimate:
    """ρ = mean(carried)/mean(own) with a paired bootstrap over prompts.

    Numerator and denominator are drawn with the same prompts. The percentiles are those of `mean_effect`, not
    reflected: ρ* < c says the same as mean(carried* − c·own*) < 0, so that the interval is that of a mean of
    differences at every c, and a noisy denominator skews it to the side it should. A resample whose denominator is not
    above 0 counts for the tail at *both* ends.

    Args:
        carried: effect of the other checkpoint's direction in this one, a prompt each, [p].
        own: effect of this checkpoint's own direction, on the same prompts in the same order, [p].
        seed: of the resampling.
        n: resamples.
        level: two-sided.

    Raises:
        RequestError: different numbers of prompts.
        NothingToMeasure: the own effect is not shown to be above 0 (nothing to take a share of), fewer than 8 prompts,
            or an effect that is not finite.
    """
    above, below = _effects(carried), _effects(own)
    if above.size != below.size:
        raise RequestError(f"a paired ratio needs the same prompts, got {above.size} and {below.size}")
    base = mean_effect(below, seed=seed, n=n, level=level)
    if not base.low > 0:
        raise NothingToMeasure(
            f"no ratio: the checkpoint's own direction has an effect of {base.value:.3g} [{base.low:.3g}, "
            f"{base.high:.3g}], which is not shown to be above 0"
        )
    weights = block_weights(below.size, n, seed)
    denominator = weights @ below
    alive = denominator > 0
    ratio = np.divide(weights @ above, denominator, where=alive, out=np.zeros(n))
    lowest, highest = _tails(below.size, level)
    # "lower"/"higher": infinities cannot be interpolated between
    low = float(np.quantile(np.where(alive, ratio, -math.inf), lowest, method="lower"))
    high = float(np.quantile(np.where(alive, ratio, math.inf), highest, method="higher"))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NothingToMeasure("no interval: the checkpoint's own effect vanishes in too many resamples")
    return Estimate(float(above.mean() / below.mean()), low, high)


@dataclass(frozen=True, eq=False)
class Transferred:
    """What directions of a reference and of a later checkpoint do in each other.

    Row i of a matrix is where the direction comes from, column j the checkpoint it is tried in: reference, late.
    """

    effect: tuple[tuple[Estimate, Estimate], tuple[Estimate, Estimate]]
    """E_ij."""
    rho: tuple[tuple[Estimate | None, Estimate | None], tuple[Estimate | None, Estimate | None]]
    """E_ij/E_jj; 1 without width on the diagonal; None in a column whose own effect is not above 0."""
    kind: Class
    sentence: str
    """Why, with the numbers."""


def transferred(effects: NDArray[Any], late_beats_controls: bool | None, *, seed: int, n: int = 2000) -> Transferred:
    """Effects, ratios and class of a pair of checkpoints.

    * *drift-only*: ρ_ref→late ≥ 0.8. The reference's direction still does most of what the late one does.
    * *reorganised*: both ρ < 0.5, and the late direction does more than its controls: another carrier took over.
    * *lost*: otherwise.

    Decided on the 95 % intervals: a class that some value within them would not give is not given. Beyond the ratios,
    no class that reassures is given where there is no carrier to speak of:

    * the reference's own effect must be above 0, or there was nothing to drift from;
    * *drift-only* too needs a late direction that does more than its controls: in a model that any edit breaks, every
      direction keeps every effect;
    * where the late checkpoint's own effect is not above 0 there are no ratios; it is then *lost* if both directions
      are shown to do less there than half of what the reference's did at home, and undecided if they are not.

    Args:
        effects: a prompt each, [2, 2, p]: where the direction comes from, the checkpoint it is tried in (reference
            first), the prompts.
        late_beats_controls: whether the late checkpoint's own direction does more there than KL-matched controls, at
            95 %; None where that was not examined.
        seed: of the resampling.
        n: resamples.

    Raises:
        RequestError: another shape, or fewer than 100 resamples.
        NothingToMeasure: fewer than 8 prompts, or an effect that is not finite.
    """
    values = np.asarray(effects, dtype=np.float64)
    if values.ndim != 3 or values.shape[:2] != (2, 2):
        raise RequestError(f"effects come as [2, 2, prompts], got shape {values.shape}")
    if n < LEAST_REPLICATES:
        raise RequestError(f"{n} resamples: at least {LEAST_REPLICATES} are needed")
    (ref_ref, ref_late), (late_ref, late_late) = (
        (mean_effect(row[0], seed=seed, n=n), mean_effect(row[1], seed=seed, n=n)) for row in values
    )
    in_ref = _ratio(values[1, 0], values[0, 0], seed, n)
    in_late = _ratio(values[0, 1], values[1, 1], seed, n)
    itself = Estimate(1.0, 1.0, 1.0)
    kind, sentence = _class(values, ref_ref, late_late, in_late, in_ref, late_beats_controls, seed, n)
    return Transferred(
        effect=((ref_ref, ref_late), (late_ref, late_late)),
        rho=((itself if ref_ref.low > 0 else None, in_late), (in_ref, itself if late_late.low > 0 else None)),
        kind=kind,
        sentence=sentence,
    )


def _class(
    values: Floats,
    ref_ref: Estimate,
    late_late: Estimate,
    in_late: Estimate | None,
    in_ref: Estimate | None,
    beats: bool | None,
    seed: int,
    n: int,
) -> tuple[Class, str]:
    if in_ref is None:
        return "undecided", f"the reference's own direction is not shown to do anything there ({_shown(ref_ref)})"
    if in_late is None:
        home = values[0, 0]
        shares = [_ratio(values[row, 1], home, seed, n) for row in (0, 1)]
        kept = [share for share in shares if share is not None]
        said = f"the late checkpoint's own direction is not shown to do anything there ({_shown(late_late)})"
        if len(kept) == 2 and all(share.high < REPLACED for share in kept):
            return "lost", f"{said}, and neither direction does half of what the reference's did at home"
        return "undecided", said
    ratios = f"ρ reference→late {_shown(in_late)}, late→reference {_shown(in_ref)}"
    could_drift = in_late.high >= KEPT
    could_reorganise = in_late.low < REPLACED and in_ref.low < REPLACED and beats is not False
    could_be_lost = in_late.low < KEPT and (in_late.high >= REPLACED or in_ref.high >= REPLACED or beats is not True)
    if could_drift and not (could_reorganise or could_be_lost):
        if beats is not True:
            why = "does no more than its controls" if beats is False else "was not compared with controls"
            return (
                "undecided",
                f"{ratios}: the effect is kept, but the late direction {why}, so that keeping it says little",
            )
        return (
            "drift-only",
            f"{ratios}: the reference's direction still does at least {KEPT:g} of the late one's effect",
        )
    if could_reorganise and not (could_drift or could_be_lost):
        return (
            "reorganised",
            f"{ratios}: neither does half of what the other does at home, and the late one beats its controls",
        )
    if could_be_lost and not (could_drift or could_reorganise):
        if beats is False:
            return "lost", f"{ratios}: the effect is not kept, and the late direction does no more than its controls"
        return (
            "lost",
            f"{ratios}: less than {KEPT:g} of the effect is kept, and not so little both ways that another carrier is "
            "shown to have taken over",
        )
    could = [
        name
        for name, possible in (("drift-only", could_drift), ("reorganised", could_reorganise), ("lost", could_be_lost))
        if possible
    ]
    unknown = "; the late direction was not compared with controls" if beats is None else ""
    return "undecided", f"{ratios}: {' or '.join(could)}{unknown}"


def _ratio(carried: Floats, own: Floats, seed: int, n: int) -> Estimate | None:
    try:
        return transfer_ratio(carried, own, seed=seed, n=n)
    except NothingToMeasure:
        return None


def _shown(number: Estimate) -> str:
    return f"{number.value:.2f} [{number.low:.2f}, {number.high:.2f}]"


def _effects(effects: NDArray[Any]) -> Floats:
    values = np.asarray(effects, dtype=np.float64)
    if values.ndim != 1:
        raise RequestError(f"effects are one number a prompt, got shape {values.shape}")
    if values.size < LEAST_PROMPTS:
        raise NothingToMeasure(f"an effect on {values.size} prompts: at least {LEAST_PROMPTS} are needed")
    if not np.isfinite(values).all():
        raise NothingToMeasure("an effect is not finite on some prompt")
    return values


def _tails(size: int, level: float) -> tuple[float, float]:
    """Where to cut the bootstrap distribution of a mean of `size` values for an interval as wide as Student's."""
    from scipy import stats

    if not 0 < level < 1:
        raise RequestError(f"a level lies in (0, 1), got {level}")
    student = float(stats.t.ppf((1 + level) / 2, size - 1))
    tail = float(stats.norm.sf(math.sqrt(size / (size - 1)) * student))
    return tail, 1 - tail
