"""What an edit does beyond its controls has an interval that holds, or none."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from scipy.stats import t as student

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.stats.effects import control_normalised, first_damaged, monotone_dose, resampled, stretched
from geoaudit.stats.paired import Change, paired_interval
from geoaudit.stats.randomisation import rank_p
from tests.tools.intervention_simulations import coverage

seeds = st.integers(0, 10**6)


def rows(seed: int = 0, n: int = 32, m: int = 20, effect: float = 3.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Base, target and controls; the target moves a prompt by `effect`, a control by −0.5 ± 0.5."""
    generator = np.random.default_rng(seed)
    base = generator.normal(-2, 2, n)
    controls = base + generator.normal(-0.5, 0.5, (m, 1)) + generator.normal(0, 0.5, (m, n))
    return base, base + effect + generator.normal(0, 1, n), controls


def hits(seed: int, n: int, m: int, chance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    shapes = ((n,), (n,), (m, n))
    base, target, controls = (
        (generator.random(shape) < p).astype(float) for shape, p in zip(shapes, (0.9, chance, 0.85), strict=True)
    )
    return base, target, controls


# --- effect beyond controls ------------------------------------------------------------------------------------------


def test_a_planted_effect_is_recovered_and_the_controls_own_is_taken_off():
    found = control_normalised(*rows(n=400, m=99), seed=1)
    assert found.raw == pytest.approx(3.0, abs=0.2)
    assert found.control == pytest.approx(-0.5, abs=0.2)
    assert found.beyond == pytest.approx(3.5, abs=0.25)
    assert found.low < found.beyond < found.high
    assert found.raw_interval is not None
    assert found.raw_interval[0] < found.raw < found.raw_interval[1]
    assert found.standardised == pytest.approx(7.0, abs=1.2)
    assert (found.n, found.m, found.controls.shape) == (400, 99, (99,))


def test_an_effect_that_its_controls_share_is_none():
    """Target and controls lower the score alike: the naive change looks sure, beyond controls there is nothing."""
    base, _, controls = rows(effect=0.0, m=30)
    found = control_normalised(base, controls[0], controls[1:], seed=1)
    assert found.raw_interval is not None
    assert found.raw_interval[1] < 0
    assert found.low < 0 < found.high


def test_an_interval_without_zero_does_not_make_a_direction_special():
    """Of targets that are one more control most differ from the mean control; by rank one in twenty is rare."""
    apart = rare = 0
    for seed in range(60):
        base, _, controls = rows(seed, 64, 40)
        found = control_normalised(base, controls[0], controls[1:], seed=seed, n_resamples=100)
        apart += not found.low <= 0 <= found.high
        rare += rank_p(found.raw, found.controls, "either") <= 0.05
    assert apart > 30
    assert rare <= 8


@given(seeds, st.integers(2, 12), st.integers(2, 9))
def test_the_estimate_is_as_it_is_defined(seed, n, m):
    base, target, controls = rows(seed, n, m)
    found = control_normalised(base, target, controls, seed=seed, n_resamples=100)
    effects = [float(np.mean(row - base)) for row in controls]
    assert found.raw == pytest.approx(np.mean(target - base))
    assert found.controls == pytest.approx(effects)
    assert found.control == pytest.approx(np.mean(effects))
    assert found.beyond == pytest.approx(found.raw - found.control)
    assert found.standardised == pytest.approx(found.beyond / np.std(effects, ddof=1))
    assert found.low <= found.beyond <= found.high


@given(seeds, st.floats(-50, 50), st.floats(0.1, 10))
def test_unit_and_origin_of_the_score_go_through(seed, shift, scale):
    base, target, controls = rows(seed, 12, 6)
    one = control_normalised(base, target, controls, seed=3, n_resamples=100)
    other = control_normalised(*(scale * each + shift for each in (base, target, controls)), seed=3, n_resamples=100)
    assert (other.low, other.high) == pytest.approx((scale * one.low, scale * one.high), abs=1e-8)
    assert other.raw_interval == pytest.approx([scale * end for end in one.raw_interval], abs=1e-8)
    assert other.standardised == pytest.approx(one.standardised)
    mirrored = control_normalised(-base, -target, -controls, seed=3, n_resamples=100)
    assert (mirrored.low, mirrored.high) == pytest.approx((-one.high, -one.low))


def test_scores_without_an_edit_cancel():
    base, target, controls = rows()
    one, other = (control_normalised(each, target, controls, seed=3) for each in (base, base**2))
    assert (one.low, one.high) == (other.low, other.high)
    assert one.beyond == pytest.approx(other.beyond)
    assert one.raw != pytest.approx(other.raw)


def test_the_seed_decides():
    one, same, other = (control_normalised(*rows(), seed=seed) for seed in (1, 1, (1, 0)))
    assert (one.low, one.raw_interval) == (same.low, same.raw_interval)
    assert one.low != other.low
    assert one.low == pytest.approx(other.low, abs=0.2)


def test_controls_are_resampled_too():
    """Prompts that hardly differ and controls that do: over prompts alone the interval would be a tenth as wide."""
    generator = np.random.default_rng(0)
    base = generator.normal(0, 0.1, 64)
    target = base + 2 + generator.normal(0, 0.1, 64)
    controls = base + generator.normal(0, 1, (20, 1)) + generator.normal(0, 0.1, (20, 64))
    found = control_normalised(base, target, controls, seed=0)
    assert found.raw_interval is not None
    assert found.high - found.low > 10 * (found.raw_interval[1] - found.raw_interval[0])
    expected = 2 * student.ppf(0.975, 19) * found.controls.std(ddof=1) / 20**0.5
    assert found.high - found.low == pytest.approx(expected, rel=0.12)


def test_prompts_are_paired():
    """Prompts of very different scores that an edit moves alike: unpaired, nothing would be certain."""
    generator = np.random.default_rng(0)
    base = generator.normal(0, 100, 32)
    target = base + 1 + generator.normal(0, 0.1, 32)
    controls = base + generator.normal(0, 0.1, (20, 32))
    found = control_normalised(base, target, controls, seed=0)
    assert 0.9 < found.low < found.high < 1.1


def test_a_sample_of_one_kind_gets_students_interval():
    """Of normal values, that is what the stretched percentile interval must come to."""
    values = np.random.default_rng(4).standard_normal(10)
    values = (values - values.mean()) / values.std(ddof=1)
    drawn = np.random.default_rng(5).normal(0, (9 / 10 / 10) ** 0.5, 200_000)  # what a bootstrap would come to
    low, high = stretched(0.0, drawn, (values,), 0.95)
    expected = student.ppf(0.975, 9) / 10**0.5
    assert (low, high) == pytest.approx((-expected, expected), rel=0.01)
    both = stretched(0.0, drawn, (values, values), 0.95)
    assert both[1] < high, "twice the degrees of freedom"


def test_a_resample_draws_prompts_for_the_target_and_all_controls_together():
    _, target, controls = rows()
    shared = np.tile(target - 1, (5, 1))
    np.testing.assert_allclose(resampled(target, shared, 0, 200), 1.0)
    assert resampled(target, controls, 0, 200).std() > 0
    assert not np.allclose(resampled(target, controls, 0, 200), resampled(target, controls, 1, 200))


@pytest.mark.parametrize(
    ("law", "n", "m", "least"), [("normal", 32, 20, 0.91), ("heavy", 32, 20, 0.90), ("rates", 32, 20, 0.94)]
)
def test_the_interval_holds_the_truth(law: str, n: int, m: int, least: float):
    """200 simulations; `tests/tools/intervention_simulations.py` has the full table."""
    assert coverage(law, n, m, 1.5, 200, 9).ours >= least


# --- rates -----------------------------------------------------------------------------------------------------------


@given(seeds, st.integers(2, 20), st.integers(2, 8), st.sampled_from([0.0, 0.3, 1.0]))
def test_rates_hold_the_interval_of_a_paired_change(seed, n, m, chance):
    base, target, controls = hits(seed, n, m, chance)
    found = control_normalised(base, target, controls, seed=0, n_resamples=100, rates=True)
    low, high = paired_interval(Change.of(controls.mean(axis=0).tolist(), target.tolist()))
    assert -1 <= found.low <= low <= high <= found.high <= 1
    assert found.raw_interval == paired_interval(Change.of(base.tolist(), target.tolist()))


def test_all_alike_rates_have_an_interval_with_width():
    """32 of 32 refusals gone and no control that does anything: a bootstrap says exactly −1."""
    base, target, controls = np.ones(32), np.zeros(32), np.ones((20, 32))
    np.testing.assert_allclose(resampled(target, controls, 0), -1)
    found = control_normalised(base, target, controls, seed=0, rates=True)
    assert (found.beyond, found.low, found.standardised) == (-1, -1, None)
    assert -0.85 < found.high < -0.75, "what a paired change of 32 in 32 allows"
    nothing = control_normalised(base, base, controls, seed=0, rates=True)
    assert nothing.low < -0.1 < 0 < 0.1 < nothing.high


def test_what_is_no_rate_is_refused():
    base, target, controls = rows()
    with pytest.raises(RequestError, match="rates lie in"):
        control_normalised(base, target, controls, seed=0, rates=True)


# --- what has no interval --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["base", "target", "controls"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_gives_no_effect(which: str, value: float):
    made = dict(zip(("base", "target", "controls"), rows(), strict=True))
    made[which][..., 3] = value
    names = {"base": "32 scores without an edit", "target": "32 scores under the target", "controls": "640 scores"}
    with pytest.raises(NothingToMeasure, match=f"{20 if which == 'controls' else 1} of {names[which]}"):
        control_normalised(**made, seed=0)


@pytest.mark.parametrize(("n", "m", "said"), [(1, 20, "1 prompt and 20"), (32, 1, "1 control:"), (0, 0, "0 prompts")])
def test_one_prompt_or_one_control_has_no_spread(n: int, m: int, said: str):
    base, target, controls = rows()
    with pytest.raises(NothingToMeasure, match=said):
        control_normalised(base[:n], target[:n], controls[:m, :n], seed=0)


@pytest.mark.parametrize("rounding", [0.0, 1e-7])
def test_scores_that_are_all_alike_have_no_interval(rounding: float):
    base, _, _ = rows()
    blur = rounding * np.random.default_rng(0).standard_normal((20, 32))
    with pytest.raises(NothingToMeasure, match="all 20 controls have the same effect"):
        control_normalised(base, base + 3, base + blur, seed=0)
    shifted = base + np.arange(20)[:, None] / 10 + blur
    with pytest.raises(NothingToMeasure, match=r"the same \(2.05\) on all 32 prompts"):
        control_normalised(base, base + 3, shifted, seed=0)
    with pytest.raises(NothingToMeasure, match="all 20 controls"):
        control_normalised(np.zeros(32), np.zeros(32), np.zeros((20, 32)), seed=0)


def test_a_plain_change_that_is_all_alike_has_no_interval_of_its_own():
    base, _, controls = rows()
    found = control_normalised(base, base + 3, controls, seed=0)
    assert found.raw == pytest.approx(3)
    assert found.raw_interval is None
    assert found.low < 3.5 < found.high


def test_shapes_that_do_not_fit():
    base, target, controls = rows()
    for wrong in ((base[:-1], target, controls), (base, target, controls[:, 1:]), (base, target, controls[0])):
        with pytest.raises(RequestError, match="scores of the same prompts"):
            control_normalised(*wrong, seed=0)
    for bad in ({"level": 1.0}, {"n_resamples": 99}):
        with pytest.raises(RequestError, match="level"):
            control_normalised(base, target, controls, seed=0, **bad)


# --- doses -----------------------------------------------------------------------------------------------------------

DOSES = np.array([0, 0.5, 1, 2, 4, -0.5, -1, -2, -4])


@given(seeds, st.integers(2, 10), st.booleans())
def test_the_trend_is_the_mean_of_each_prompts_own_rank_correlation(seed, n, ties):
    effects = np.random.default_rng(seed).normal(0, 1, (9, n))
    effects = np.round(effects) if ties else effects
    effects[0] += 5
    found = monotone_dose(DOSES, effects)
    each = [spearmanr(DOSES, effects[:, j]).statistic for j in range(n)]
    assert found.trend == pytest.approx(np.mean(each))
    assert (found.rising, found.falling) == (sum(r > 1e-12 for r in each), sum(r < -1e-12 for r in each))
    assert -1 <= found.low <= found.trend <= found.high <= 1
    order = np.argsort(DOSES)
    assert dataclasses.astuple(monotone_dose(DOSES[order], effects[order])) == dataclasses.astuple(found)
    bent = monotone_dose(DOSES, np.exp(effects) * 10.0 ** np.arange(n))
    assert (bent.trend, bent.p) == (pytest.approx(found.trend), found.p), "ranks alone count"


def test_a_planted_dose_response_is_seen_and_keeps_its_width():
    found = monotone_dose(DOSES, 2 * DOSES[:, None] + np.arange(32))
    assert (found.trend, found.high, found.rising, found.reversals) == (1, 1, 32, 0)
    assert 0.7 < found.low < 0.85
    assert found.p == pytest.approx(2 * 0.5**32)
    down = monotone_dose(DOSES, -(DOSES[:, None] ** 3) * np.ones(32))
    assert (down.trend, down.low, down.falling, down.reversals) == (-1, -1, 32, 0)


def test_no_dose_response_is_none():
    p_values = []
    for seed in range(100):
        found = monotone_dose(DOSES, np.random.default_rng(seed).normal(0, 1, (9, 25)))
        p_values.append(found.p)
        assert found.low < 0 < found.high
    assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.09
    bump = monotone_dose(DOSES, -np.abs(DOSES)[:, None] + np.random.default_rng(0).normal(0, 0.01, (9, 32)))
    assert abs(bump.trend) < 0.2
    assert bump.reversals == 4


def test_a_prompt_that_no_dose_changes_has_no_trend():
    effects = np.repeat(DOSES[:, None], 4, axis=1)
    effects[:, :2] = 7.0
    found = monotone_dose(DOSES, effects)
    assert (found.trend, found.rising, found.falling, found.p) == (0.5, 2, 0, 0.5)


def test_doses_without_a_trend_to_have():
    effects = np.ones((9, 4))
    with pytest.raises(NothingToMeasure, match="no dose changes anything"):
        monotone_dose(DOSES, effects)
    with pytest.raises(NothingToMeasure, match="1 prompt:"):
        monotone_dose(DOSES, effects[:, :1])
    effects[2, 1] = math.nan
    with pytest.raises(NothingToMeasure, match="1 of 4 prompts"):
        monotone_dose(DOSES, effects)
    for doses in (DOSES[:2], np.zeros(9), np.append(DOSES[:8], math.nan)):
        with pytest.raises(RequestError, match="different finite doses"):
            monotone_dose(doses, np.ones((len(doses), 4)))
    with pytest.raises(RequestError, match="effects"):
        monotone_dose(DOSES, np.ones((8, 4)))


def test_where_damage_starts():
    kl = np.array([0, 0.01, 0.2, 3, 9, 0.02, 0.05, 0.3, 4])
    assert first_damaged(DOSES, kl, 0.1) == 1
    assert first_damaged(DOSES, kl, 0.25) == 2, "of 2 and −2 the worse"
    assert first_damaged(DOSES, kl[[0, 1, 2, 7, 4, 5, 6, 3, 8]], 0.25) == -2
    assert first_damaged(DOSES, kl, 9) is None
    assert first_damaged(DOSES, kl, -1) == 0, "without any edit"
    kl[5] = math.nan
    assert first_damaged(DOSES, kl, 9) == -0.5, "what has no number is damaged"
    with pytest.raises(RequestError, match="one damage"):
        first_damaged(DOSES, kl[:3], 1)
    with pytest.raises(RequestError, match="numbers"):
        first_damaged(DOSES, kl, math.nan)
