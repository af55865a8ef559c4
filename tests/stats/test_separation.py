from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure
from geoaudit.stats.separation import auroc

scores = st.lists(st.integers(-3, 3), min_size=1, max_size=12).map(lambda v: np.array(v, dtype=float))
quick = settings(deadline=None, derandomize=True, max_examples=60)


@quick
@given(scores, scores)
def test_it_is_the_share_of_pairs_won_with_ties_as_halves(positive: np.ndarray, negative: np.ndarray) -> None:
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auroc(positive, negative) == pytest.approx(np.mean(pairs))


@quick
@given(scores, scores, st.integers(0, 99))
def test_it_is_blind_to_order_and_to_rising_maps_and_turns_round(p: np.ndarray, n: np.ndarray, seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(p)
    assert auroc(np.exp(shuffled) * 7, np.exp(n) * 7) == pytest.approx(auroc(p, n))
    assert auroc(n, p) == pytest.approx(1 - auroc(p, n))


def test_known_values() -> None:
    assert auroc(np.array([3.0, 2.0]), np.array([1.0, 0.0])) == 1.0
    assert auroc(np.array([0.0]), np.array([1.0, 2.0])) == 0.0
    assert auroc(np.ones(5), np.ones(9)) == 0.5
    assert auroc(np.array([np.inf, 0.0]), np.array([-np.inf])) == 1.0


@pytest.mark.parametrize("positive", [[], [1.0, np.nan]])
def test_an_empty_group_or_a_nan_has_no_separation(positive: list[float]) -> None:
    with pytest.raises(NothingToMeasure):
        auroc(np.array(positive), np.array([1.0]))
    with pytest.raises(NothingToMeasure):
        auroc(np.array([1.0]), np.array(positive))
