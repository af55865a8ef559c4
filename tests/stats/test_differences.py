from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.stats.changes import ChangeLine, decide_changes
from geoaudit.stats.differences import Apart, Drawn, Estimated
from geoaudit.stats.paired import Change

values = st.floats(-5, 5)
arms = st.floats(0, 3)


def apart(value: float, down: float, up: float, other: float, low: float, high: float) -> Apart:
    return Apart(Estimated(value, value - down, value + up), Estimated(other, other - low, other + high))


def test_square_and_add_by_hand() -> None:
    found = apart(10, 3, 1, 4, 2, 4)
    assert found.difference == 6
    assert found.interval() == pytest.approx((6 - 5, 6 + math.sqrt(5)))
    assert found.reversed.interval() == pytest.approx((-6 - math.sqrt(5), -6 + 5))
    wider = found.interval(0.99)
    assert wider[0] == pytest.approx(6 - 5 * 2.5758293 / 1.9599640)


@given(values, arms, arms, values, arms, arms, st.floats(-6, 6))
def test_its_test_and_its_interval_never_disagree(
    value: float, down: float, up: float, other: float, low: float, high: float, margin: float
) -> None:
    found = apart(value, down, up, other, low, high)
    least, most = found.interval()
    assert least <= found.difference <= most
    if abs(least - margin) > 1e-9:
        assert (found.p_above(margin) < 0.025) == (least > margin)


def test_the_interval_of_two_normal_means_covers() -> None:
    """Nominal 95 %, and more where the two err together, as checkpoints on the same prompts do."""
    generator = np.random.default_rng(0)
    for correlation, least, most in ((0.0, 0.94, 0.96), (0.8, 0.99, 1.0)):
        draws = generator.multivariate_normal([2, 1], [[1, correlation], [correlation, 1]], size=4000)
        held = 0
        for one, other in draws:
            low, high = apart(one, 1.96, 1.96, other, 1.96, 1.96).interval()
            held += low <= 1 <= high
        assert least <= held / 4000 <= most


def test_no_number_is_no_estimate() -> None:
    for ends in ((math.nan, 0, 1), (0, -math.inf, 1)):
        with pytest.raises(RequestError):
            Estimated(*ends)


def drawn(new: dict[int, int], old: dict[int, int], value: float, resamples: int = 100) -> Drawn:
    return Drawn.of(value, (new.items(), resamples), (old.items(), resamples))


def test_resamples_of_whole_numbers_are_subtracted_pair_by_pair() -> None:
    found = drawn({3: 60, 9: 40}, {9: 90, 10: 10}, -6)
    assert dict(found.shares) == pytest.approx({-7: 0.06, -6: 0.54, -1: 0.04, 0: 0.36})
    assert found.interval() == (-7, 0)
    assert found.reversed.interval() == (0, 7)
    assert found.p_above(-1) == 1.0  # the estimate does not exceed it
    assert found.reversed.p_above(0) == pytest.approx((0.36 * 100 + 1) / 101)
    assert found.reversed.p_above(-1) == pytest.approx(1 / 101)


def test_resamples_without_an_outcome_count_for_the_hypothesis() -> None:
    half = drawn({3: 50}, {9: 100}, -6)
    assert half.interval() == (-math.inf, math.inf)
    assert half.reversed.p_above(0) == pytest.approx((0.5 * 100 + 1) / 101)
    with pytest.raises(NothingToMeasure):
        Drawn.of(0.0, ([], 0), ([(1, 1)], 1))


@given(
    st.dictionaries(st.integers(0, 5), st.integers(1, 50), min_size=1),
    st.dictionaries(st.integers(0, 5), st.integers(1, 50), min_size=1),
    st.integers(-6, 6),
)
def test_its_interval_holds_the_estimate_and_turns_round(new: dict[int, int], old: dict[int, int], value: int) -> None:
    found = Drawn.of(value, (new.items(), sum(new.values())), (old.items(), sum(old.values())))
    low, high = found.interval()
    assert low <= value <= high
    assert found.reversed.interval() == (-high, -low)
    assert found.reversed.reversed.shares == found.shares
    assert math.fsum(share for _, share in found.shares) == pytest.approx(1.0)


@pytest.mark.parametrize("margin", [-0.1, -0.02, 0.0, 0.03, 0.1])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_the_floor_raises_what_must_be_shown_and_nothing_else(margin: float, noise: float) -> None:
    """Over all falls and rises: with a floor a line fails or passes on a claim only where the change exceeds it."""
    for gained in range(0, 101, 5):
        line = ChangeLine("x", Change(gained, 10, 300), margin, noise=noise)
        bare = decide_changes([ChangeLine("x", Change(gained, 10, 300), margin)])[0]
        found = decide_changes([line])[0]
        if found.outcome == "failed":
            assert bare.outcome == "failed"
            assert found.low > max(margin, noise if margin >= 0 else margin + noise)
        if found.outcome == "passed":
            assert bare.outcome == "passed"
            assert margin >= 0 or found.high <= -noise
        if bare.outcome != found.outcome:
            assert found.outcome == "inconclusive"


def test_a_floor_is_a_number_from_0_on() -> None:
    for noise in (-0.1, math.nan, math.inf):
        with pytest.raises(RequestError):
            ChangeLine("x", Change(1, 1, 10), 0.1, noise=noise)
