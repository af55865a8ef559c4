"""The effect of an intervention beyond that of its controls, and how an effect grows with its dose.

An edit of a model does something whatever it is made along. What a direction does is what is left when the mean effect
of control directions is taken off (arXiv 2606.16349, Eqs. 23–24). Prompts and controls are both samples: of other
prompts that could have been asked, and of other directions that could have been drawn. The interval resamples both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.stats.bootstrap import LEAST_REPLICATES, block_weights
from geoaudit.stats.clusters import bounded_mean_interval
from geoaudit.stats.paired import Change, paired_interval
from geoaudit.stats.proportions import lower_tail

Floats = NDArray[np.float64]

RESAMPLES = 2000

ALIKE = 1e-6
"""A spread below this share of the largest score is rounding of float32: the scores are all the same."""

LEAST_DOSES = 3
"""Two doses give a difference and no trend."""


@dataclass(frozen=True, eq=False)
class ControlledEffect:
    """What a target did on n prompts, beside m controls on the same prompts; all in the unit of the scores."""

    n: int
    """Prompts."""
    m: int
    """Controls."""
    raw: float
    """Mean score under the target minus mean score without any edit."""
    raw_interval: tuple[float, float] | None
    """Of `raw`, over prompts; None where every prompt changes by the same amount."""
    control: float
    """Mean of the effects of the controls."""
    beyond: float
    """`raw` minus `control`: Δ_ctrl."""
    low: float
    """Lower end of the interval of `beyond`, over prompts and controls."""
    high: float
    standardised: float | None
    """`beyond` over the spread (standard deviation) of the effects of the controls; None where they are all alike."""
    controls: Floats
    """Effect of each control, [m]."""
    interval: str
    """How the interval was made."""


def control_normalised(
    base: NDArray[Any],
    target: NDArray[Any],
    controls: NDArray[Any],
    *,
    seed: int | Sequence[int],
    n_resamples: int = RESAMPLES,
    level: float = 0.95,
    rates: bool = False,
) -> ControlledEffect:
    """The effect of a target beyond the mean of its controls, with its interval over prompts and controls together.

    Scores without an edit cancel in it: Δ_ctrl is the mean score under the target minus that under the controls. Each
    resample draws prompts, the same for the target and all controls, and controls.

    An interval above 0 says that the target does more than the *mean* control, which any one control is likely to do
    too: with 99 controls, of targets that were nothing but one more control 69 % had an interval without 0, and 3 % a
    `randomisation.rank_p` of at most 0.05. Whether a target is special is for the latter to say.

    The percentile interval, stretched (`stretched`): a mean is unbiased, so that there is nothing to reflect. Of 95 %
    intervals with 32 to 128 prompts and 20 or 99 controls, the share that held a planted effect of four spreads of the
    controls was 93 to 96 % for normal and for heavy-tailed scores (Student's t, 3 degrees of freedom; 90 to 95 % for
    an effect of nine), 97 to 99 % for rates, but 89 to 93 % where prompts differ with a skewness of 6 (log-normal; the
    truth was then beyond the end on the side of the long tail). But for rates, plain percentile and basic intervals
    held it up to 2 and up to 4 points less often; with 8 normal or skewed prompts, 4 to 6 and 4 to 9 points less often
    (`tests/tools/intervention_simulations.py`, 800 simulations of each; 300 of the effect of nine).

    *Rates* (0 and 1, or means of them) have samples in which no prompt differs from any other, of which a bootstrap
    makes an interval without width: 32 of 32 refusals gone is not a change of exactly −1. For them the interval is
    widened to hold that of `paired.paired_interval` for the target against the mean of the controls.

    Args:
        base: score of each prompt without an edit, [n].
        target: under the target, [n], of the same prompts in the same order.
        controls: under each control, [m, n].
        seed: of the resampling.
        n_resamples: 100 or more.
        level: two-sided, in (0, 1).
        rates: whether the scores are rates, in [0, 1].

    Raises:
        RequestError: shapes that do not fit, rates outside [0, 1], a level out of range or too few resamples.
        NothingToMeasure: fewer than two prompts or controls, a score that is not finite, or scores other than rates
            that are all alike: every prompt changes by the same amount, or all controls do the same.
    """
    if not 0 < level < 1 or n_resamples < LEAST_REPLICATES:
        raise RequestError(
            f"a level lies in (0, 1) and {LEAST_REPLICATES} resamples are needed, got {level} and {n_resamples}"
        )
    before, after, others = _scores(base, target, controls, rates)
    m, n = others.shape
    change, ahead = after - before, after - others.mean(axis=0)
    each: Floats = (others - before).mean(axis=1)
    scale = max(float(np.abs(values).max()) for values in (before, after, others))
    alike = [float(np.ptp(values)) <= ALIKE * scale for values in (change, ahead, each)]
    if not rates:
        _refuse_alike(ahead, each, alike[1], alike[2])
    raw, control = float(change.mean()), float(each.mean())
    beyond = float(ahead.mean())
    replicates = resampled(after, others, seed, n_resamples)
    low, high = stretched(beyond, replicates, (ahead, each), level)
    how = f"bootstrap over {n} prompts and {m} controls, stretched to their degrees of freedom"
    if rates:
        wider = paired_interval(Change.of(_listed(others.mean(axis=0)), _listed(after)), level)
        low, high = max(-1.0, min(low, wider[0])), min(1.0, max(high, wider[1]))
        raw_interval: tuple[float, float] | None = paired_interval(Change.of(_listed(before), _listed(after)), level)
        how += ", and at least that of a paired change of rates"
    elif alike[0]:
        raw_interval = None
    else:
        drawn = block_weights(n, n_resamples, _stream(seed, 0)) @ change / n
        raw_interval = stretched(raw, drawn, (change,), level)
    return ControlledEffect(
        n=n,
        m=m,
        raw=raw,
        raw_interval=raw_interval,
        control=control,
        beyond=beyond,
        low=low,
        high=high,
        standardised=None if alike[2] else beyond / float(each.std(ddof=1)),
        controls=each,
        interval=how,
    )


def resampled(target: Floats, controls: Floats, seed: int | Sequence[int], n_resamples: int = RESAMPLES) -> Floats:
    """Δ_ctrl of bootstrap resamples of prompts and of controls, drawn independently of each other.

    Args:
        target: [n].
        controls: [m, n].
        seed: of the draws.
        n_resamples: R.

    Returns:
        float64 [R].

    Raises:
        NothingToMeasure: fewer than two prompts or controls.
    """
    m, n = controls.shape
    prompts = block_weights(n, n_resamples, _stream(seed, 0)) / n
    drawn = block_weights(m, n_resamples, _stream(seed, 1)) / m
    result: Floats = prompts @ target - ((prompts @ controls.T) * drawn).sum(axis=1)
    return result


def stretched(estimate: float, replicates: Floats, samples: Sequence[Floats], level: float) -> tuple[float, float]:
    """The percentile interval, stretched about the estimate by what a bootstrap of few is too narrow by.

    Resamples of n vary by (n − 1)/n of the variance, and their quantiles are those of a normal law where a sample of n
    has Student's. The expanded percentile interval of Hesterberg (2015, Am Stat 69:371, §3.3) puts both right for one
    sample; for several, the degrees of freedom are Satterthwaite's (1946).

    Args:
        estimate: sum or difference of means of the samples.
        replicates: of it, [R].
        samples: what is averaged, each [n_i]: one contribution to the variance each.
        level: two-sided, in (0, 1).
    """
    from scipy.special import stdtrit

    tail = (1 - level) / 2
    sizes = np.array([values.size for values in samples])
    variances = np.array([float(values.var(ddof=1)) for values in samples]) / sizes
    total = float(variances.sum())
    q_low, q_high = (float(q) for q in np.quantile(replicates, [tail, 1 - tail]))
    if not total > 0:
        return q_low, q_high
    shares = variances / total
    freedom = 1 / float((shares**2 / (sizes - 1)).sum())
    narrow = math.sqrt(float((shares * (sizes - 1) / sizes).sum()))
    factor = float(stdtrit(freedom, 1 - tail)) / NormalDist().inv_cdf(1 - tail) / narrow
    return estimate + factor * (q_low - estimate), estimate + factor * (q_high - estimate)


@dataclass(frozen=True)
class DoseTrend:
    """Whether an effect rises or falls with the dose, prompt by prompt."""

    trend: float
    """Mean over prompts of Spearman's ρ between dose and effect, in [−1, 1]; 1: rises at every step of every prompt."""
    low: float
    high: float
    p: float
    """Exact two-sided sign test: that prompts rise and fall alike."""
    n: int
    """Prompts."""
    rising: int
    """Prompts with ρ above 0."""
    falling: int
    reversals: int
    """Steps between neighbouring doses at which the mean effect goes against the trend, of k − 1."""


def monotone_dose(doses: NDArray[Any], effects: NDArray[Any], *, level: float = 0.95) -> DoseTrend:
    """The trend of an effect over doses, each prompt ranked by itself so that no prompt's scale counts more.

    The interval is that of a mean of bounded values (`clusters.bounded_mean_interval`), not a bootstrap: where each
    prompt rises at every step, as a planted effect does, all resamples are 1 and their interval has no width.

    Args:
        doses: [k], three different ones or more, in any order.
        effects: score of each prompt at each dose, [k, n]; the same prompts at all of them.
        level: two-sided, in (0, 1).

    Raises:
        RequestError: shapes that do not fit, fewer than three doses, doses that are equal or not finite, or a level
            out of range.
        NothingToMeasure: fewer than two prompts, an effect that is not finite, or no prompt that any dose changes.
    """
    at, values = np.asarray(doses, dtype=np.float64), np.asarray(effects, dtype=np.float64)
    if at.ndim != 1 or values.ndim != 2 or len(values) != at.size:
        raise RequestError(f"doses [k] need effects [k, n], got {at.shape} and {values.shape}")
    if at.size < LEAST_DOSES or not np.isfinite(at).all() or np.unique(at).size < at.size:
        raise RequestError(f"a trend needs {LEAST_DOSES} different finite doses, got {at.tolist()}")
    n = values.shape[1]
    if n < 2:
        raise NothingToMeasure(f"no trend over doses from {n} prompt{'s' * (n != 1)}: two are needed")
    missing = int((~np.isfinite(values)).any(axis=0).sum())
    if missing:
        raise NothingToMeasure(f"no trend over doses: the effect on {missing} of {n} prompts is not finite")
    order = np.argsort(at)
    rho = _spearman(values[order])
    rising, falling = int((rho > 0).sum()), int((rho < 0).sum())
    if not np.ptp(values, axis=0).any():
        raise NothingToMeasure(f"no trend over doses: no dose changes anything on any of {n} prompts")
    trend = float(rho.mean())
    low, high = (2 * end - 1 for end in bounded_mean_interval(_listed((1 + rho) / 2), level))
    steps = np.diff(values[order].mean(axis=1))
    return DoseTrend(
        trend=trend,
        low=min(low, trend),
        high=max(high, trend),
        p=min(1.0, 2 * lower_tail(min(rising, falling), rising + falling, 0.5)),
        n=n,
        rising=rising,
        falling=falling,
        reversals=int((steps < 0).sum() if trend >= 0 else (steps > 0).sum()),
    )


def first_damaged(doses: NDArray[Any], damage: NDArray[Any], bound: float) -> float | None:
    """The dose of least size at which the damage is above its bound; where both signs are, the worse one.

    Args:
        doses: [k], of either sign, in any order.
        damage: at each dose, [k], more is worse: KL on harmless text, a degenerate rate. One that is not a number
            counts as damage.
        bound: the most that is allowed.

    Returns:
        The dose; None where none does damage.

    Raises:
        RequestError: shapes that do not fit, or doses or a bound that are not numbers.
    """
    at, harm = np.asarray(doses, dtype=np.float64), np.asarray(damage, dtype=np.float64)
    if at.ndim != 1 or at.shape != harm.shape:
        raise RequestError(f"each dose needs one damage, got {at.shape} and {harm.shape}")
    if np.isnan(at).any() or math.isnan(bound):
        raise RequestError("doses and the bound on damage are numbers")
    worst = np.where(np.isnan(harm), np.inf, harm)
    damaged = [(abs(dose), -much, dose) for dose, much in zip(at, worst, strict=True) if not much <= bound]
    return float(min(damaged)[2]) if damaged else None


def _scores(
    base: NDArray[Any], target: NDArray[Any], controls: NDArray[Any], rates: bool
) -> tuple[Floats, Floats, Floats]:
    before, after, others = (np.asarray(values, dtype=np.float64) for values in (base, target, controls))
    if before.ndim != 1 or others.ndim != 2 or not before.shape == after.shape == others.shape[1:]:
        raise RequestError(
            f"scores of the same prompts are base [n], target [n] and controls [m, n], got {before.shape}, "
            f"{after.shape} and {others.shape}"
        )
    m, n = others.shape
    if n < 2 or m < 2:
        raise NothingToMeasure(
            f"no effect beyond controls from {n} prompt{'s' * (n != 1)} and {m} control{'s' * (m != 1)}: two of each "
            "are the least that have a spread"
        )
    for name, values in (("without an edit", before), ("under the target", after), ("under the controls", others)):
        missing = int((~np.isfinite(values)).sum())
        if missing:
            raise NothingToMeasure(
                f"no effect beyond controls: {missing} of {values.size} scores {name} are no numbers"
            )
        if rates and not ((values >= 0) & (values <= 1)).all():
            raise RequestError(f"rates lie in [0, 1]; scores {name} do not")
    return before, after, others


def _refuse_alike(ahead: Floats, each: Floats, prompts_alike: bool, controls_alike: bool) -> None:
    """Scores that are computed vary; where they do not, something was not done, and no spread is to be had."""
    if controls_alike:
        raise NothingToMeasure(
            f"all {each.size} controls have the same effect ({each.mean():.3g}): they were not applied, or are one "
            "control, and say nothing of how others vary"
        )
    if prompts_alike:
        raise NothingToMeasure(
            f"the target's lead over its controls is the same ({ahead.mean():.3g}) on all {ahead.size} prompts: they "
            "are one prompt, or the score does not depend on it, and an interval would have no width"
        )


def _spearman(values: Floats) -> Floats:
    """Spearman's ρ of each column with its row number, [n]; ties share ranks, and a constant column has 0."""
    k = len(values)
    ranks = (values[:, None] > values).sum(axis=1) + 0.5 * (values[:, None] == values).sum(axis=1)
    ranks = ranks - k / 2
    steps = np.arange(k) - (k - 1) / 2
    size = np.sqrt((ranks**2).sum(axis=0) * (steps**2).sum())
    rho: Floats = np.divide(steps @ ranks, size, out=np.zeros(values.shape[1]), where=size > 0)
    return np.clip(rho, -1.0, 1.0)


def _listed(values: Floats) -> list[float]:
    """For functions of the standard library; a mean of 0s and 1s may lie outside [0, 1] by rounding."""
    return [float(value) for value in np.clip(values, 0.0, 1.0)]


def _stream(seed: int | Sequence[int], stream: int) -> tuple[int, ...]:
    return (*(seed if isinstance(seed, Sequence) else (seed,)), stream)
