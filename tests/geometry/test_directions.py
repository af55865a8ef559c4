from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.directions import (
    BlockMeans,
    activation_scale,
    cosine,
    differences,
    norms,
    null_rows,
    overall,
    split_half_cosine,
    unit,
)

POSITIONS, LAYERS, WIDTH = 2, 3, 8


def blocks_of(prompts: np.ndarray, sizes: list[int]) -> BlockMeans:
    """Block means of activations [n, P, L, d], cut into blocks of the given sizes."""
    ends = np.cumsum([0, *sizes])
    means = [
        prompts[a:b].mean(axis=0) if b > a else np.full(prompts.shape[1:], np.nan) for a, b in itertools.pairwise(ends)
    ]
    return BlockMeans(np.array(sizes), np.array(means, dtype=np.float32))


def prompts(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, POSITIONS, LAYERS, WIDTH))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=6).filter(lambda s: sum(s) > 0))
def test_the_mean_over_blocks_is_the_mean_over_prompts(sizes: list[int]) -> None:
    data = prompts(sum(sizes), 0)
    np.testing.assert_allclose(overall(blocks_of(data, sizes)), data.mean(axis=0), atol=1e-6)


def test_drawing_a_block_twice_is_having_its_prompts_twice() -> None:
    data = prompts(9, 1)
    means = blocks_of(data, [2, 3, 4])
    twice = np.concatenate([data[:2], data[:2], data[5:]])
    np.testing.assert_allclose(overall(means, np.array([2, 0, 1])), twice.mean(axis=0), atol=1e-6)


def test_many_resamples_at_once_equal_one_at_a_time() -> None:
    means, other = blocks_of(prompts(9, 1), [2, 3, 4]), blocks_of(prompts(5, 2), [2, 3])
    weights, other_weights = np.array([[2, 0, 1], [1, 1, 1]]), np.array([[2, 0], [1, 1]])
    together = differences(means, other, weights, other_weights)
    assert together.shape == (2, POSITIONS, LAYERS, WIDTH)
    for r in range(2):
        np.testing.assert_allclose(together[r], differences(means, other, weights[r], other_weights[r]), atol=1e-12)


def test_a_planted_direction_is_found_and_its_sign_is_harmful_minus_harmless() -> None:
    planted = np.zeros(WIDTH)
    planted[3] = 5.0
    harmful = prompts(200, 3)
    harmful[:, 1, 2] += planted
    found = differences(blocks_of(harmful, [50] * 4), blocks_of(prompts(200, 4), [50] * 4))
    assert cosine(found[1, 2], planted) > 0.99
    assert abs(cosine(found[0, 0], planted)) < 0.9  # nothing was planted there
    np.testing.assert_allclose(norms(found)[1, 2], 5.0, rtol=0.1)


def test_empty_blocks_are_left_out_before_a_bootstrap() -> None:
    means = blocks_of(prompts(5, 1), [2, 0, 3])
    held = means.occupied()
    assert held.count.tolist() == [2, 3]
    np.testing.assert_array_equal(overall(held), overall(means))


def test_the_difference_of_template_tokens_at_layer_0_is_null_and_others_are_not() -> None:
    harmful, harmless = prompts(40, 5), prompts(40, 6)
    embedding = np.random.default_rng(7).standard_normal(WIDTH)
    harmful[:, 0, 0] = harmless[:, 0, 0] = embedding  # the same token whatever the prompt
    one, other = blocks_of(harmful, [13, 27]), blocks_of(harmless, [21, 19])
    null = null_rows(differences(one, other), activation_scale(one, other))
    assert null[0, 0]
    assert null.sum() == 1


def test_a_norm_that_is_not_finite_is_null() -> None:
    vectors = np.ones((1, 3, 4))
    vectors[0, 0, 0] = np.nan
    vectors[0, 1, 0] = np.inf
    assert null_rows(vectors, 1.0).tolist() == [[True, True, False]]
    assert null_rows(vectors[:, 2:], np.nan).tolist() == [[True]]


def test_unit_keeps_the_direction_and_refuses_what_has_none() -> None:
    np.testing.assert_allclose(unit(np.array([3.0, 4.0])), [0.6, 0.8])
    with pytest.raises(NothingToMeasure, match="null direction"):
        unit(np.zeros(4))
    with pytest.raises(NothingToMeasure, match="not finite"):
        unit(np.array([1.0, np.nan]))
    # 1e-3 of a vector is rounding beside an activation of norm 100, and a direction without one to compare with
    small = np.array([1e-3, 0.0])
    with pytest.raises(NothingToMeasure, match="null direction"):
        unit(small, scale=100.0)
    np.testing.assert_allclose(unit(small), [1.0, 0.0])
    with pytest.raises(NothingToMeasure):
        unit(small, scale=np.nan)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.floats(-10, 10), min_size=3, max_size=3), st.floats(0.01, 100))
def test_cosine_is_symmetric_bounded_and_blind_to_scale(values: list[float], factor: float) -> None:
    a, b = np.array(values) + np.array([20, 0, 0]), np.array([1.0, -2.0, 0.5])
    assert -1 <= cosine(a, b) <= 1
    assert cosine(a, b) == pytest.approx(cosine(b, factor * a))
    assert cosine(a, b) == pytest.approx(-cosine(-a, b))


def test_split_halves_agree_on_a_planted_direction_and_not_on_noise() -> None:
    harmful = prompts(160, 8)
    harmful[:, 0, 1, 0] += 3.0
    one, other = blocks_of(harmful, [5] * 32), blocks_of(prompts(160, 9), [5] * 32)
    planted = split_half_cosine(one, other, position=0, layer=1, seed=0)
    noise = split_half_cosine(one, other, position=0, layer=2, seed=0)
    assert planted.shape == (100,)
    assert np.median(planted) > 0.95
    assert np.median(noise) < 0.5
    np.testing.assert_array_equal(planted, split_half_cosine(one, other, 0, 1, seed=0))
    assert not np.array_equal(planted, split_half_cosine(one, other, 0, 1, seed=1))
    np.testing.assert_array_equal(planted, split_half_cosine(one, other, -2, -2, seed=0))  # the same site from the end


def test_split_halves_need_two_blocks_that_hold_prompts() -> None:
    lonely, fine = blocks_of(prompts(4, 1), [4, 0]), blocks_of(prompts(4, 2), [2, 2])
    with pytest.raises(NothingToMeasure, match="two blocks of harmful"):
        split_half_cosine(lonely, fine, 0, 0, seed=0)


@pytest.mark.parametrize(
    ("count", "shape", "error", "message"),
    [
        ([1, 1], (3, 1, 1, 4), RequestError, r"count \[B\]"),
        ([1, -1], (2, 1, 1, 4), RequestError, "cannot hold -1"),
        ([0, 0], (2, 1, 1, 4), NothingToMeasure, "every block is empty"),
    ],
)
def test_block_means_that_do_not_fit_are_refused(
    count: list[int], shape: tuple[int, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        BlockMeans(np.array(count), np.zeros(shape, dtype=np.float32))


def test_weights_and_sites_that_do_not_fit_are_refused() -> None:
    means = blocks_of(prompts(5, 1), [2, 0, 3])
    with pytest.raises(RequestError, match="non-negative"):
        overall(means, np.array([1, 1]))
    with pytest.raises(RequestError, match="non-negative"):
        overall(means, np.array([1, -1, 1]))
    with pytest.raises(NothingToMeasure, match="only empty blocks"):
        overall(means, np.array([0, 5, 0]))
    with pytest.raises(RequestError, match=r"share \[P, L, d\]"):
        differences(means, BlockMeans(means.count, means.mean[:, :1]))


def test_published_gemma_directions(benchmark_data: Path) -> None:
    field = np.load(benchmark_data / "refusal_direction" / "golden_gemma-2b-it_mean_diffs_f32.npy")
    last_but_one = field[-2]
    assert norms(last_but_one)[10] == pytest.approx(10.0644, abs=5e-5)
    assert cosine(last_but_one[10], last_but_one[11]) == pytest.approx(0.7643, abs=5e-5)
    assert cosine(last_but_one[10], last_but_one[13]) == pytest.approx(0.5054, abs=5e-5)
    # Row 0 is the embedding of a template token: rounding noise, refused by every way to use it as a direction.
    with pytest.raises(NothingToMeasure, match="null direction"):
        unit(last_but_one[0])
    with pytest.raises(NothingToMeasure, match="null direction"):
        cosine(last_but_one[0], last_but_one[17])
    null = null_rows(field, 1.0)
    assert null[:, 0].all()
    assert not null[:, 1:].any()
