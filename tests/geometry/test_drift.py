from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.drift import Frame, mean_effect, refuse_unlike, transfer_ratio, transferred

quick = settings(deadline=None, derandomize=True, max_examples=15)
SEED = 7


def planted(
    ref_ref: float, ref_late: float, late_ref: float, late_late: float, n: int = 48, noise: float = 0.5, seed: int = 0
) -> np.ndarray:
    """Effects [2, 2, n] with these means; prompts that respond more do so to every direction."""
    generator = np.random.default_rng(seed)
    prompt = generator.standard_normal(n)
    prompt -= prompt.mean()
    rows = []
    for value in (ref_ref, ref_late, late_ref, late_late):
        own = generator.standard_normal(n)
        rows.append(value + noise * (value / 4 * prompt + 0.3 * (own - own.mean())))
    return np.array(rows).reshape(2, 2, n)


# --- what the classes are


@pytest.mark.parametrize(
    ("means", "kind"),
    [
        ((5.0, 4.8, 4.9, 5.0), "drift-only"),
        ((5.0, 9.0, 1.0, 5.0), "drift-only"),
        ((5.0, 0.2, 0.4, 5.0), "reorganised"),
        ((5.0, -3.0, 0.0, 2.0), "reorganised"),
        ((5.0, 0.2, 4.0, 5.0), "lost"),
        ((5.0, 3.2, 0.2, 5.0), "lost"),
        ((5.0, 0.1, 0.2, 0.0), "lost"),
        ((0.0, 4.8, 4.9, 5.0), "undecided"),
        ((5.0, 4.0, 4.0, 5.0), "undecided"),
        ((5.0, 2.5, 0.3, 5.0), "undecided"),
        ((5.0, 0.1, 2.5, 5.0), "undecided"),
    ],
)
def test_a_planted_class_is_found(means: tuple[float, float, float, float], kind: str) -> None:
    for seed in range(2):
        found = transferred(planted(*means, seed=seed), True, seed=SEED, n=500)
        assert found.kind == kind, found.sentence


def test_what_stands_in_the_matrix() -> None:
    effects = planted(5.0, 4.8, 0.5, 4.0)
    found = transferred(effects, True, seed=SEED)
    assert [[cell.value for cell in row] for row in found.effect] == [
        [pytest.approx(5.0), pytest.approx(4.8)],
        [pytest.approx(0.5), pytest.approx(4.0)],
    ]
    (ref_ref, ref_late), (late_ref, late_late) = found.rho
    assert ref_ref == late_late == (1.0, 1.0, 1.0)
    assert ref_late.value == pytest.approx(1.2), "a row is where the direction comes from; 4.8 of late's own 4.0"
    assert late_ref.value == pytest.approx(0.1)
    assert ref_late == transfer_ratio(effects[0, 1], effects[1, 1], seed=SEED)
    assert late_ref == transfer_ratio(effects[1, 0], effects[0, 0], seed=SEED)
    assert "1.20 [" in found.sentence
    assert "0.10 [" in found.sentence


def test_a_checkpoint_that_has_no_effect_of_its_own_gives_no_ratio_in_its_column() -> None:
    found = transferred(planted(5.0, 0.1, 0.2, 0.0), True, seed=SEED)
    (ref_ref, ref_late), (late_ref, late_late) = found.rho
    assert ref_late is late_late is None
    assert ref_ref is not None
    assert late_ref is not None


def test_the_same_checkpoint_twice_has_only_drifted() -> None:
    effects = np.broadcast_to(planted(5.0, 0, 0, 0)[0, 0], (2, 2, 48))
    found = transferred(effects, True, seed=SEED)
    assert found.kind == "drift-only"
    assert found.rho[0][1] == pytest.approx((1.0, 1.0, 1.0))


# --- what may not come out green


def test_keeping_an_effect_that_any_edit_has_says_nothing() -> None:
    """The naive ratio is 1 with a tight interval: in a model that every edit breaks, directions keep every effect."""
    effects = planted(5.0, 5.0, 5.0, 5.0)
    assert transfer_ratio(effects[0, 1], effects[1, 1], seed=SEED).low > 0.8
    assert transferred(effects, False, seed=SEED).kind == "undecided"
    assert transferred(effects, None, seed=SEED).kind == "undecided"
    assert "no more than its controls" in transferred(effects, False, seed=SEED).sentence
    assert "not compared with controls" in transferred(effects, None, seed=SEED).sentence
    assert transferred(effects, True, seed=SEED).kind == "drift-only"


def test_a_carrier_that_took_over_must_beat_its_controls() -> None:
    effects = planted(5.0, 0.2, 0.4, 5.0)
    assert transferred(effects, True, seed=SEED).kind == "reorganised"
    assert transferred(effects, False, seed=SEED).kind == "lost"
    unknown = transferred(effects, None, seed=SEED)
    assert unknown.kind == "undecided"
    assert "not compared with controls" in unknown.sentence


def test_nothing_has_drifted_from_a_reference_without_a_carrier() -> None:
    """The naive ratio in the late checkpoint is 1: what appeared there only later has not drifted."""
    effects = planted(0.0, 5.0, 0.0, 5.0)
    assert transfer_ratio(effects[0, 1], effects[1, 1], seed=SEED).low > 0.8
    assert transferred(effects, True, seed=SEED).kind == "undecided"


def test_a_loud_late_checkpoint_is_not_called_lost() -> None:
    """Its own effect is not above 0 because it was not measured well, not because it is small."""
    generator = np.random.default_rng(0)
    for loudness in (10, 30):
        effects = planted(5.0, 0.1, 0.2, 0.0)
        noise = generator.standard_normal((2, 48))
        effects[:, 1] += loudness * (noise - noise.mean(axis=1, keepdims=True))
        found = transferred(effects, True, seed=SEED)
        assert found.rho[0][1] is None
        assert found.kind == "undecided"


@pytest.mark.parametrize("share", [0.76, 0.84, 0.48, 0.52])
def test_what_lies_on_both_sides_of_a_bound_is_undecided(share: float) -> None:
    effects = planted(5.0, 5.0 * share, 0.2 if share < 0.6 else 4.0, 5.0)
    effects[0, 1] += 2 * np.tile([1, -1], 24)
    found = transferred(effects, True, seed=SEED)
    bound = 0.5 if share < 0.6 else 0.8
    assert found.rho[0][1].low < bound < found.rho[0][1].high
    assert found.kind == "undecided"


@quick
@given(
    seed=st.integers(0, 10**6),
    means=st.tuples(*[st.floats(-2, 6)] * 4),
    noise=st.floats(0.1, 8),
    beats=st.sampled_from([True, False, None]),
)
def test_a_class_is_only_given_where_the_whole_intervals_give_it(
    seed: int, means: tuple[float, float, float, float], noise: float, beats: bool | None
) -> None:
    found = transferred(planted(*means, noise=noise, seed=seed), beats, seed=seed, n=400)
    drift, back = found.rho[0][1], found.rho[1][0]
    if found.kind == "drift-only":
        assert beats
        assert back is not None
        assert drift is not None
        assert drift.low >= 0.8
    if found.kind == "reorganised":
        assert beats
        assert max(drift.high, back.high) < 0.5
    if found.kind == "lost" and drift is not None:
        assert drift.high < 0.8
        assert drift.low >= 0.5 or back.low >= 0.5 or not beats
    if back is None:
        assert found.kind == "undecided"


# --- ratios


def test_effects_that_rise_and_fall_together_make_a_sharp_ratio() -> None:
    """Paired: prompts differ by a factor of ten, the share that is kept does not."""
    own = np.geomspace(0.5, 5, 40)
    ratio = transfer_ratio(0.6 * own, own, seed=SEED)
    assert ratio == pytest.approx((0.6, 0.6, 0.6))
    shuffled = transfer_ratio(0.6 * np.random.default_rng(0).permutation(own), own, seed=SEED)
    assert shuffled.high - shuffled.low > 0.2, "the negative control: without the pairs it is not sharp"


@quick
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100))
def test_a_ratio_has_no_unit_and_its_interval_holds_it(seed: int, scale: float) -> None:
    effects = planted(4.0, 2.0, 1.0, 3.0, seed=seed)
    ratio = transfer_ratio(effects[0, 1], effects[1, 1], seed=seed, n=400)
    assert ratio.low <= ratio.value <= ratio.high
    assert transfer_ratio(scale * effects[0, 1], scale * effects[1, 1], seed=seed, n=400) == pytest.approx(ratio)
    assert transfer_ratio(-effects[0, 1], effects[1, 1], seed=seed, n=400).value == pytest.approx(-ratio.value)


@pytest.mark.parametrize("own", [0.0, -4.0])
def test_there_is_no_share_of_nothing(own: float) -> None:
    """The naive quotient of two noises can be anything, 1 as well."""
    effects = planted(5.0, own, 0.0, own, noise=2.0)
    with pytest.raises(NothingToMeasure, match="not shown to be above 0"):
        transfer_ratio(effects[0, 1], effects[1, 1], seed=SEED)
    with pytest.raises(NothingToMeasure, match="not shown to be above 0"):
        transfer_ratio(np.zeros(20), np.zeros(20), seed=SEED)


def test_effects_that_are_no_effects_are_refused() -> None:
    fine = planted(5, 5, 5, 5)[0, 0]
    with pytest.raises(RequestError, match="the same prompts"):
        transfer_ratio(fine[:-1], fine, seed=SEED)
    with pytest.raises(NothingToMeasure, match="7 prompts"):
        mean_effect(fine[:7], seed=SEED)
    with pytest.raises(NothingToMeasure, match="not finite"):
        mean_effect(np.where(np.arange(48) == 3, np.nan, fine), seed=SEED)
    with pytest.raises(RequestError, match="one number a prompt"):
        mean_effect(np.ones((2, 20)), seed=SEED)
    with pytest.raises(RequestError, match="level"):
        mean_effect(fine, seed=SEED, level=1.0)
    with pytest.raises(RequestError, match=r"\[2, 2, prompts\]"):
        transferred(np.ones((2, 20)), True, seed=SEED)
    with pytest.raises(RequestError, match="at least 100"):
        transferred(planted(5, 5, 5, 5), True, seed=SEED, n=50)


def test_the_interval_of_a_mean_is_as_wide_as_students() -> None:
    from scipy import stats

    values = 2 + stats.norm.ppf((np.arange(16) + 0.5) / 16)
    found = mean_effect(values, seed=0, n=40_000)
    expected = stats.t.interval(0.95, 15, loc=values.mean(), scale=values.std(ddof=1) / 4)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.06)
    plain = np.quantile(np.random.default_rng(0).choice(values, (4000, 16)).mean(axis=1), [0.025, 0.975])
    assert found.high - found.low > 1.05 * (plain[1] - plain[0])


def test_intervals_cover_the_planted_ratio() -> None:
    """Two hundred samples of 32 prompts: 190 ± 6 intervals hold the truth if the level is 95 %."""
    held, certified = 0, 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        own = generator.gamma(2.0, 1.5, size=32)
        carried = 0.8 * own + generator.standard_normal(32)
        ratio = transfer_ratio(carried, own, seed=seed, n=400)
        held += ratio.low <= 0.8 <= ratio.high
        certified += ratio.low > 0.8
    assert held >= 182
    assert certified <= 12, "a truth on the bound passes as drift-only in 2.5 % of samples"


# --- guards


def test_checkpoints_whose_sites_mean_something_else_are_not_compared() -> None:
    here = Frame(width=576, n_layers=30, tokens=("<|im_end|>", "\n"), tokenizer="a", template="t")
    refuse_unlike(here, replace(here))
    for change, message in (
        ({"width": 960}, "576 and 960 wide"),
        ({"n_layers": 32}, "30 and 32 layers"),
        ({"tokenizer": "b"}, "tokenizers differ"),
        ({"template": "u"}, "chat templates differ"),
        ({"tokens": ("\n",)}, "chat templates differ"),
    ):
        with pytest.raises(NothingToMeasure, match=message):
            refuse_unlike(here, replace(here, **change))
    with pytest.raises(NothingToMeasure, match=r"wide; .*tokenizers"):
        refuse_unlike(here, replace(here, width=1, tokenizer="b"))
