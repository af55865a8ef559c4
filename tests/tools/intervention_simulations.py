"""How the statistics of interventions behave where the truth is known: p-values, intervals, power, families of cells.

    python tests/tools/intervention_simulations.py [simulations a row, default 500]

An edit moves the score of a prompt by a·g + noise: a is the edit's own, g the prompt's. Controls draw their a from one
law; under the null hypothesis the target does so too. Laws are normal, heavy-tailed (Student's t with 3 degrees of
freedom), skewed (exponential and log-normal), and rates, where the score is whether a logit is above 0. The tests of
`geoaudit.stats` run the same functions with fewer simulations.
"""

from __future__ import annotations

import sys
import time
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.stats import kstest

from geoaudit.stats.effects import control_normalised, resampled
from geoaudit.stats.randomisation import Side, max_t, rank_p

LAWS = ("normal", "heavy", "skewed", "rates")
PROMPTS = (32, 64, 128)
CONTROLS = (20, 99)
RESAMPLES = 500
MEAN_OF_CONTROLS, SPREAD_OF_CONTROLS = -0.5, 0.5
"""Of a: an edit that damages the model moves scores too."""
SPREAD_OF_PROMPTS = 0.5
NOISE = 0.5


class Scores(NamedTuple):
    """What `control_normalised` takes."""

    base: np.ndarray
    target: np.ndarray
    controls: np.ndarray


def standard(law: str, generator: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Draws of mean 0 and variance 1."""
    if law == "heavy":
        return generator.standard_t(3, size) / np.sqrt(3)
    if law == "skewed":
        return generator.exponential(1, size) - 1
    return generator.standard_normal(size)


def edits(law: str, generator: np.random.Generator, n: int) -> np.ndarray:
    """What n edits that are nothing special do, a."""
    return MEAN_OF_CONTROLS - SPREAD_OF_CONTROLS * standard(law, generator, (n,))


def scores(law: str, n: int, own: float, others: np.ndarray, generator: np.random.Generator) -> Scores:
    """Scores of n prompts under an edit of effect `own` and under controls of effects `others`, [m]."""
    base = 2 * standard("normal" if law == "rates" else law, generator, (n,)) - 2
    if law == "skewed":
        sensitivity = generator.lognormal(-0.5, 1, n)  # of mean 1
    else:
        sensitivity = 1 + SPREAD_OF_PROMPTS * standard(law, generator, (n,))
    effects = np.concatenate([[own], others])
    moved = base + effects[:, None] * sensitivity + NOISE * standard(law, generator, (len(effects), n))
    if law == "rates":
        base, moved = (base > 0).astype(float), (moved > 0).astype(float)
    return Scores(base, moved[0], moved[1:])


@cache
def truth(law: str, own: float) -> float:
    """Δ_ctrl over all prompts and controls."""
    if law != "rates":
        return own - MEAN_OF_CONTROLS
    generator = np.random.default_rng(0)
    each = [scores(law, 2000, own, edits(law, generator, 200), generator) for _ in range(20)]
    return float(np.mean([one.target.mean() - one.controls.mean() for one in each]))


def null_p_values(law: str, n: int, m: int, side: Side, simulations: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """p-values of a target that is one more control, and the same spread evenly over the steps of their grid."""
    found = []
    for index in range(simulations):
        generator = np.random.default_rng((seed, index))
        drawn = edits(law, generator, m + 1)
        made = scores(law, n, drawn[0], drawn[1:], generator)
        p = rank_p(made.target.mean(), made.controls.mean(axis=1), side)
        step = (2 if side == "either" else 1) / (m + 1)
        found.append((p, p - step * generator.random()))
    p_values, smooth = np.array(found).T
    return p_values, smooth


class Covered(NamedTuple):
    """Shares of simulations in which a 95 % interval holds the true Δ_ctrl."""

    ours: float
    percentile: float
    basic: float
    too_high: float
    """Share in which ours lies wholly above the truth."""
    too_low: float
    width: float
    """Mean width of ours."""


def coverage(law: str, n: int, m: int, own: float, simulations: int, seed: int) -> Covered:
    """Of the interval that `control_normalised` gives, and of two others from the same resamples."""
    right = truth(law, own)
    found = []
    for index in range(simulations):
        generator = np.random.default_rng((seed, index))
        made = scores(law, n, own, edits(law, generator, m), generator)
        effect = control_normalised(*made, seed=(seed, index), n_resamples=RESAMPLES, rates=law == "rates")
        drawn = resampled(made.target, made.controls, (seed, index), RESAMPLES)
        low, high = np.quantile(drawn, [0.025, 0.975])
        reflected = 2 * effect.beyond - high <= right <= 2 * effect.beyond - low
        above, below = effect.low > right, effect.high < right
        found.append((not (above or below), low <= right <= high, reflected, above, below, effect.high - effect.low))
    return Covered(*(float(each) for each in np.mean(found, axis=0)))


class Power(NamedTuple):
    """Shares of simulations in which a planted effect is seen."""

    p_05: float
    """Rank p-value at most 0.05."""
    p_01: float
    interval: float
    """Interval of Δ_ctrl above 0."""


def power(law: str, n: int, m: int, beyond: float, simulations: int, seed: int) -> Power:
    """Of a target that does `beyond` more than the mean control."""
    found = []
    for index in range(simulations):
        generator = np.random.default_rng((seed, index))
        made = scores(law, n, MEAN_OF_CONTROLS + beyond, edits(law, generator, m), generator)
        effect = control_normalised(*made, seed=(seed, index), n_resamples=300, rates=law == "rates")
        p = rank_p(effect.raw, effect.controls)
        found.append((p <= 0.05, p <= 0.01, effect.low > 0))
    return Power(*(float(each) for each in np.mean(found, axis=0)))


class Family(NamedTuple):
    """Shares of simulated families of cells, none of which differs from its controls, in which one is said to."""

    single_step: float
    step_down: float
    by_draws_alone: float
    """With the scale of a cell taken from the draws without the target, as is usual."""
    unadjusted: float
    planted_wrong: float
    """Step-down, wrong in any cell without an effect, where a third of the cells has a large one."""
    planted_found: float
    """Share of those third that step-down finds."""


def family(law: str, cells: int, draws: int, side: Side, simulations: int, seed: int) -> Family:
    """At 5 %; cells of unlike scales that share a part of what a control does."""
    found = []
    third = -(-cells // 3)
    for index in range(simulations):
        generator = np.random.default_rng((seed, index))
        shared = standard(law, generator, (draws + 1, 1))
        drawn = (shared + standard(law, generator, (draws + 1, cells))) * 10.0 ** generator.uniform(-2, 2, cells)
        plain = max_t(drawn[0], drawn[1:], side)
        planted = drawn[0] + np.where(np.arange(cells) < third, 8 * drawn[1:].std(axis=0), 0)
        seen = max_t(planted, drawn[1:], side).step_down <= 0.05
        found.append(
            (
                (plain.single_step <= 0.05).any(),
                (plain.step_down <= 0.05).any(),
                usual_single_step(drawn[0], drawn[1:], side) <= 0.05,
                (plain.raw <= 0.05).any(),
                seen[third:].any(),
                seen[:third].mean(),
            )
        )
    return Family(*(float(each) for each in np.mean(found, axis=0)))


def usual_single_step(target: np.ndarray, draws: np.ndarray, side: Side) -> float:
    """The least adjusted p-value where cells are standardised by the mean and spread of the draws alone."""
    own, others = ((values - draws.mean(axis=0)) / draws.std(axis=0, ddof=1) for values in (target, draws))
    if side == "either":
        own, others = np.abs(own), np.abs(others)
    elif side == "less":
        own, others = -own, -others
    return float((1 + (others.max(axis=1) >= own.max()).sum()) / (1 + len(draws)))


def main(simulations: int) -> None:
    """Print the tables."""
    began = time.perf_counter()
    print(f"{simulations} simulations a row")
    print("\np-values under the null hypothesis: distance D from uniform (Kolmogorov–Smirnov), its p, p ≤ .05, p ≤ .01")
    for law in LAWS:
        for side in ("greater", "either"):
            for n, m in ((32, 20), (32, 99), (128, 99)):
                p_values, smooth = null_p_values(law, n, m, side, simulations, 1)
                distance, p = kstest(smooth, "uniform")
                shares = [float((p_values <= level + 1e-12).mean()) for level in (0.05, 0.01)]
                print(
                    f"{law:8}{side:9}n ={n:4}  m ={m:3}  D {distance:.3f}  p {p:.3f}  {shares[0]:.3f}  {shares[1]:.3f}"
                )
    print("\ncoverage of 95 % intervals of the effect beyond controls")
    print(f"{'':33}{'ours':>7}{'percentile':>12}{'basic':>7}{'too high':>10}{'too low':>9}{'width':>7}")
    for law in LAWS:
        for own in (MEAN_OF_CONTROLS, 1.5, 4.0):
            for n in (8, *PROMPTS):
                for m in (5, *CONTROLS) if n == 32 else CONTROLS:
                    row = coverage(law, n, m, own, simulations, 2)
                    print(
                        f"{law:8}beyond{own - MEAN_OF_CONTROLS:5.1f}  n ={n:4}  m ={m:3}{row.ours:7.3f}"
                        f"{row.percentile:12.3f}{row.basic:7.3f}{row.too_high:10.3f}{row.too_low:9.3f}{row.width:7.2f}",
                        flush=True,
                    )
    print("\npower against an effect beyond controls of so many spreads of what controls do")
    print(f"{'':37}{'p ≤ .05':>9}{'p ≤ .01':>9}{'interval':>10}")
    for law in LAWS:
        for spreads in (1.0, 2.0, 4.0):
            for n, m in ((8, 99), (32, 19), (32, 99), (32, 199), (128, 99)):
                seen = power(law, n, m, spreads * SPREAD_OF_CONTROLS, simulations, 3)
                print(
                    f"{law:8}spreads {spreads:.0f}   n ={n:4}  m ={m:4}     {seen.p_05:9.3f}{seen.p_01:9.3f}"
                    f"{seen.interval:10.3f}",
                    flush=True,
                )
    print("\nfamilies of cells: any wrong call at 5 %")
    print(f"{'':42}{'single':>8}{'down':>7}{'draws alone':>13}{'plain':>7}{'planted':>9}{'found':>7}")
    for law in LAWS[:3]:
        for side in ("greater", "either"):
            for cells, draws in ((18, 19), (18, 99), (1, 19)):
                one = family(law, cells, draws, side, 4 * simulations, 4)
                print(
                    f"{law:8}{side:9}cells ={cells:3}  draws ={draws:4}      {one.single_step:8.3f}{one.step_down:7.3f}"
                    f"{one.by_draws_alone:13.3f}{one.unadjusted:7.3f}{one.planted_wrong:9.3f}{one.planted_found:7.3f}",
                    flush=True,
                )
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
