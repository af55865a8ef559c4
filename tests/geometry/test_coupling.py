from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.coupling import (
    c_cos,
    c_layer,
    hrci_full,
    hrci_repr,
    identified_contrasts,
    isotropic_c_cos,
    isotropic_c_sub,
    layer_gap,
    orthogonalised,
)
from geoaudit.geometry.subspaces import c_sub

quick = settings(deadline=None, derandomize=True, max_examples=60)
seeds = st.integers(0, 10**6)

# arXiv 2606.16349 v3: regime and step, HRCI_repr, HRCI_full; R's layer from arXiv 2604.27019. H is in layer 31.
ANCHORS = [
    ("r2d2 ref", 0.0674, 0.0886, 24),
    ("r2d2 50", 0.0784, 0.0898, 23),
    ("r2d2 100", 0.0662, 0.0877, 24),
    ("r2d2 250", 0.0206, 0.0166, 0),
    ("r2d2 500", 0.0205, 0.0165, 0),
    ("sft ref", 0.0217, 0.0521, 24),
    ("sft 50", 0.0206, 0.0166, 0),
    ("sft 100", 0.0200, 0.0161, 0),
    ("sft 250", 0.0191, 0.0153, 0),
    ("sft 500", 0.0190, 0.0153, 0),
]


def rotation(d: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


def test_the_worked_example_of_the_paper() -> None:
    """R2D2 reference: C_cos 0.0977, C_sub 0.0370, C_layer 0.1738 -> full 0.0886, repr 0.0674."""
    closeness = c_layer(31, 24)
    assert closeness == pytest.approx(0.1738, abs=5e-5)
    assert hrci_repr(0.0977, 0.0370) == pytest.approx(0.0674, abs=6e-5)
    assert hrci_full(0.0977, 0.0370, closeness) == pytest.approx(0.0886, abs=6e-5)


@pytest.mark.parametrize(("anchor", "printed_repr", "printed_full", "layer"), ANCHORS)
def test_the_table_of_anchors_follows_from_the_layers(
    anchor: str, printed_repr: float, printed_full: float, layer: int
) -> None:
    """0.4·c_cos + 0.4·c_sub = 0.8·HRCI_repr, so that HRCI_full follows from HRCI_repr and the two layers."""
    found = hrci_full(printed_repr, printed_repr, c_layer(31, layer))
    assert found == pytest.approx(printed_full, abs=1.1e-4)  # both were printed to four digits
    wrong = hrci_full(printed_repr, printed_repr, c_layer(31, 20))
    assert wrong != pytest.approx(printed_full, abs=1e-3)


def test_the_overlap_of_the_papers_aligned_anchors() -> None:
    """Three principal angles each: Llama-3.1-8B-Instruct 0.0018, Qwen2.5-7B-Instruct 0.0064."""
    for degrees, expected in (((86.1, 88.7, 89.4), 0.0018), ((82.3, 88.1, 89.7), 0.0064)):
        frame = rotation(16, 0)
        angles = np.radians(degrees)[:, None]
        turned = np.cos(angles) * frame[:3] + np.sin(angles) * frame[3:6]
        assert c_sub(frame[:3], turned) == pytest.approx(expected, abs=5e-5)


def test_the_gap_is_a_share_of_the_depth() -> None:
    assert layer_gap(31, 24, 32) == pytest.approx(7 / 31)
    assert layer_gap(0, 31, 32) == 1.0
    assert layer_gap(5, 5, 32) == 0.0


def test_random_directions_at_the_papers_width() -> None:
    assert isotropic_c_cos(4096) == pytest.approx(0.0125, abs=5e-5)
    assert isotropic_c_sub(4096, 3) == pytest.approx(0.0007, abs=5e-5)
    assert hrci_repr(isotropic_c_cos(4096), isotropic_c_sub(4096, 3)) == pytest.approx(0.007, abs=5e-4)
    drawn = np.random.default_rng(0).standard_normal((4000, 2, 24))
    assert np.mean(c_cos(drawn[:, 0], drawn[:, 1])) == pytest.approx(isotropic_c_cos(24), rel=0.05)
    assert isotropic_c_cos(1) == pytest.approx(1.0)
    with pytest.raises(RequestError, match="1 … 4"):
        isotropic_c_sub(4, 5)


# --- c_cos


@quick
@given(seed=seeds, scale=st.floats(1e-3, 1e3))
def test_the_cosine_is_bounded_symmetric_and_blind_to_sign_scale_and_rotation(seed: int, scale: float) -> None:
    h, r = np.random.default_rng(seed).standard_normal((2, 7))
    value = c_cos(h, r)
    assert 0 <= value <= 1
    turn = rotation(7, seed)
    for a, b in [(r, h), (-h, r), (scale * h, r), (h @ turn, r @ turn)]:
        assert c_cos(a, b) == pytest.approx(value)
    assert c_cos(h, scale * h) == pytest.approx(1.0)
    assert c_cos(h, scale * h) <= 1.0


def test_many_resamples_and_layers_at_once() -> None:
    generator = np.random.default_rng(0)
    h, r = generator.standard_normal((5, 3, 8)), generator.standard_normal((3, 8))
    together = c_cos(h, r)
    assert together.shape == (5, 3)
    assert together[2, 1] == pytest.approx(c_cos(h[2, 1], r[1]))


@pytest.mark.parametrize(
    ("h", "r", "message"),
    [
        ([0.0, 0.0], [1.0, 0.0], "null direction"),
        ([1.0, 0.0], [1e-9, 0.0], "null direction"),
        ([1.0, np.nan], [1.0, 0.0], "not finite"),
        ([1.0, 0.0], [1.0, np.inf], "not finite"),
        ([1.0, 0.0, 0.0], [1.0, 0.0], "width 3 and 2"),
    ],
)
def test_what_has_no_direction_has_no_cosine(h: list[float], r: list[float], message: str) -> None:
    for one, other in ((h, r), (r, h)):
        for function in (c_cos, orthogonalised):
            with pytest.raises(NothingToMeasure, match=message.replace("3 and 2", "[23] and [23]")):
                function(np.array(one), np.array(other))


# --- scores made of shares


@quick
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 31), st.integers(0, 31))
def test_the_scores_stay_in_range_and_rise_with_each_part(cos: float, sub: float, h: int, r: int) -> None:
    closeness = c_layer(h, r)
    for value in (hrci_repr(cos, sub), hrci_full(cos, sub, closeness)):
        assert 0 <= value <= 1 + 1e-12
    assert hrci_repr(1, sub) >= hrci_repr(cos, sub)
    assert hrci_full(cos, sub, 1) >= hrci_full(cos, sub, closeness)
    assert c_layer(r, h) == closeness
    assert (closeness == 1) == (h == r)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_a_share_outside_its_range_is_refused(bad: float) -> None:
    for call in (
        lambda: hrci_repr(bad, 0.5),
        lambda: hrci_repr(0.5, bad),
        lambda: hrci_full(0.5, 0.5, bad),
        lambda: hrci_full(bad, 0.5, 0.5),
    ):
        with pytest.raises(RequestError, match=r"\[0, 1\]"):
            call()


def test_layers_that_do_not_exist_have_no_gap() -> None:
    for h, r in ((32, 0), (0, 32), (-1, 3)):
        with pytest.raises(RequestError, match="layers 0 … 31"):
            layer_gap(h, r, 32)
    with pytest.raises(NothingToMeasure, match="no gap"):
        layer_gap(0, 0, 1)
    for tau in (0, -1, math.nan):
        with pytest.raises(RequestError, match="τ"):
            c_layer(0, 1, tau)


# --- identified contrasts


def planted_cells(
    harm: np.ndarray, refusal: np.ndarray, both: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    common = np.full_like(harm, 3.0)
    extra = np.zeros_like(harm) if both is None else both
    return common + harm + refusal + extra, common + harm, common + refusal, common


@quick
@given(seeds)
def test_each_contrast_finds_its_own_planted_effect(seed: int) -> None:
    harm, refusal = np.random.default_rng(seed).standard_normal((2, 6))
    found = identified_contrasts(*planted_cells(harm, refusal))
    np.testing.assert_allclose(found.harmful, harm, atol=1e-12)
    np.testing.assert_allclose(found.refused, refusal, atol=1e-12)


def test_an_interaction_is_shared_out_alike() -> None:
    harm, refusal, both = np.random.default_rng(1).standard_normal((3, 6))
    found = identified_contrasts(*planted_cells(harm, refusal, both))
    np.testing.assert_allclose(found.harmful, harm + both / 2)
    np.testing.assert_allclose(found.refused, refusal + both / 2)


def test_pooled_contrasts_couple_what_is_not_coupled() -> None:
    """The naive number: with 90 % of the harmful and 10 % of the harmless prompts refused, pooling mixes H into R."""
    harm, refusal = np.eye(6)[0], np.eye(6)[1]
    hr, hc, sr, sc = planted_cells(harm, refusal)
    pooled = (0.9 * hr + 0.1 * sr) - (0.1 * hc + 0.9 * sc)
    identified = identified_contrasts(hr, hc, sr, sc)
    assert c_cos(harm, pooled) > 0.6
    assert c_cos(identified.harmful, identified.refused) == pytest.approx(0, abs=1e-12)


def test_an_empty_cell_or_cells_that_do_not_fit_identify_nothing() -> None:
    cells = [np.ones(4)] * 4
    with pytest.raises(RequestError, match="share one shape"):
        identified_contrasts(*cells[:3], np.ones(5))
    for index in range(4):
        broken = [cell * np.nan if i == index else cell for i, cell in enumerate(cells)]
        with pytest.raises(NothingToMeasure, match="not finite"):
            identified_contrasts(*broken)


# --- orthogonalised


@quick
@given(seed=seeds, log=st.integers(-5, 3))
def test_nothing_of_the_other_is_left_and_nothing_else_is_lost(seed: int, log: int) -> None:
    generator = np.random.default_rng(seed)
    r = generator.standard_normal(8)
    h = r + 10.0**log * generator.standard_normal(8)
    left = orthogonalised(h, r)
    assert abs(left.direction @ r) <= 1e-14 * np.linalg.norm(r)
    assert np.linalg.norm(left.direction) == pytest.approx(1)
    assert left.direction @ h > 0
    assert left.norm**2 + c_cos(h, r) ** 2 == pytest.approx(1)
    again = orthogonalised(left.direction, r)
    np.testing.assert_allclose(again.direction, left.direction, atol=1e-12)
    assert again.norm == pytest.approx(1)


def test_parallel_directions_leave_nothing() -> None:
    r = np.random.default_rng(0).standard_normal(8)
    noise = np.random.default_rng(1).standard_normal(8)
    for h in (r, -3 * r, r + 1e-9 * noise, (r * np.pi).astype(np.float32)):
        with pytest.raises(NothingToMeasure, match="parallel"):
            orthogonalised(h, r)
    assert orthogonalised(r + 1e-3 * noise, r).norm < 1e-2
    with pytest.raises(RequestError, match="one vector"):
        orthogonalised(np.ones((2, 8)), r)
