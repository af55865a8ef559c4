"""Doses are the greatest that disturb no more than the target, whatever the shape of the curve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.carriers.doses import LARGEST_DOSE, ROUNDS, matched_doses


@given(
    st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8),
    st.floats(1e-4, 5.0),
    st.floats(0.7, 4.0),
)
def test_no_control_disturbs_more_than_the_target_and_few_much_less(scales, target, power):
    """KL = scale · dose^power: close to quadratic for small doses, but not exactly."""
    scale = np.array(scales)
    calls = []

    def kl_of(doses, which):
        calls.append(doses)
        return scale[which] * doses**power

    dose, kl = matched_doses(kl_of, len(scale), target)
    assert len(calls) <= ROUNDS + 1
    assert (kl <= target).all()
    np.testing.assert_allclose(kl, scale * dose**power)
    assert ((dose >= 0) & (dose <= LARGEST_DOSE)).all()
    if 1.5 <= power <= 3:  # as sharp as curves of KL are
        matched = (dose == LARGEST_DOSE) | (kl >= 0.8 * target)
        assert matched.all()


def test_a_quadratic_curve_is_matched_at_once():
    calls = []

    def kl_of(doses, which):
        calls.append(list(which))
        return np.array([0.5, 2.0, 1e-6])[which] * doses**2

    dose, kl = matched_doses(kl_of, 3, 0.5)
    np.testing.assert_allclose(kl[:2], 0.49, atol=1e-6)
    assert dose[2] == LARGEST_DOSE, "what hardly disturbs is given the greatest dose and no more"
    assert calls == [[0, 1, 2], [0, 1]], "what is matched is not asked again"


def test_a_curve_that_saturates_and_one_that_jumps():
    def kl_of(doses, which):
        curves = (lambda dose: np.tanh(20 * dose) * 3, lambda dose: 0.01 if dose < 1.3 else 8.0)
        return np.array([curves[index](dose) for index, dose in zip(which, doses, strict=True)])

    dose, kl = matched_doses(kl_of, 2, 1.0)
    assert (kl <= 1.0).all()
    assert 0 < dose[0] < 0.1
    assert 0.5 < dose[1] < 1.3


def test_a_dose_that_breaks_the_model_is_too_much():
    def kl_of(doses, which):
        return np.where(doses > 1.0, np.nan, 0.1 * doses)

    dose, kl = matched_doses(kl_of, 1, 5.0)
    assert 0 < dose[0] <= 1.0
    assert np.isfinite(kl).all()


@pytest.mark.parametrize("target", [0.0, -1e-6])
def test_a_target_that_does_nothing_leaves_controls_that_do_nothing(target):
    _, kl = matched_doses(lambda doses, which: doses**2, 2, target)
    assert (kl <= 1e-6).all()
    dose, _ = matched_doses(lambda doses, which: 0 * doses + 1e-8, 2, target)
    assert (dose == LARGEST_DOSE).all(), "what the model cannot feel is given in full"
