"""Means per token over texts: the mean that was planted, an interval that holds it, and what cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.stats.effects import control_normalised
from geoaudit.stats.ratios import per_token

TEXTS = arrays(np.float64, st.integers(2, 12), elements=st.floats(-50, 50, width=32))


@settings(deadline=None, max_examples=50, derandomize=True)
@given(TEXTS, st.randoms(use_true_random=False))
def test_every_token_counts_once(totals, random):
    counts = np.array([random.randint(1, 30) for _ in totals])
    found = per_token(totals, counts, seed=1)
    assert found.mean == pytest.approx(totals.sum() / counts.sum(), abs=1e-9)
    assert found.low <= found.mean + 1e-9
    assert found.high >= found.mean - 1e-9
    assert found.n == totals.size
    scaled = per_token(3 * totals, counts, seed=1)
    assert (scaled.low, scaled.high) == pytest.approx((3 * found.low, 3 * found.high), abs=1e-6)


def test_where_all_texts_are_as_long_it_is_the_interval_of_a_mean():
    generator = np.random.default_rng(0)
    values, others = generator.normal(size=20), generator.normal(size=(5, 20))
    found = per_token(30 * values, np.full(20, 30), seed=(7, 0))
    reference = control_normalised(np.zeros(20), values, others, seed=7).raw_interval
    assert (found.low, found.high) == pytest.approx(reference)


def test_texts_of_one_mean_and_of_many_lengths_leave_no_doubt():
    """Which texts are drawn changes both sums alike."""
    counts = np.array([1, 3, 9, 30, 30, 2])
    found = per_token(0.4 * counts, counts, seed=5)
    assert (found.low, found.high) == pytest.approx((0.4, 0.4))


def test_the_planted_mean_lies_in_nineteen_of_twenty_intervals():
    """Sixteen texts of 5 to 30 tokens, whose means are skewed and go with their lengths."""
    generator = np.random.default_rng(3)
    held, repeats = 0, 200
    lengths = generator.integers(5, 31, size=200_000)
    means = generator.exponential(0.3, size=lengths.size) * (1 + 0.3 * (lengths > 20))
    truth = (means * lengths).sum() / lengths.sum()
    for seed in range(repeats):
        drawn = generator.integers(0, lengths.size, 16)
        found = per_token((means * lengths)[drawn], lengths[drawn], seed=seed)
        held += found.low <= truth <= found.high
    assert held / repeats > 0.88  # of 1000: 0.91, and 0.89 where the interval is not stretched


@pytest.mark.parametrize(
    ("totals", "counts", "level"),
    [([1.0, 2.0], [1], 0.95), ([1.0, 2.0], [1, 0], 0.95), ([[1.0]], [[1]], 0.95), ([1.0, 2.0], [1, 2], 1.0)],
)
def test_what_makes_no_sense_is_refused(totals, counts, level):
    with pytest.raises(RequestError):
        per_token(np.array(totals), np.array(counts), seed=0, level=level)


@pytest.mark.parametrize("totals", [[1.0, np.nan], [1.0, np.inf], [1.0]])
def test_what_is_no_number_or_too_little_has_no_mean(totals):
    with pytest.raises(NothingToMeasure):
        per_token(np.array(totals), np.ones(len(totals)), seed=0)
