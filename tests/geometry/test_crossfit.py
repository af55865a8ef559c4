"""Inner products without shared noise: unbiased where the plain ones are not, and the same as halving the prompts."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry import coupling, subspaces
from geoaudit.geometry.crossfit import (
    Sampled,
    band_of_angles,
    contrast,
    cosine,
    cosines_of_angles,
    gram,
    kth_energy,
    stacked,
)
from geoaudit.geometry.directions import BlockMeans
from geoaudit.geometry.held_out import HeldOut
from geoaudit.stats.bootstrap import block_weights

D, B = 24, 16
H, R = (0.5, 0.5, -0.5, -0.5), (0.5, -0.5, 0.5, -0.5)


def cell(generator: np.random.Generator, n: int, mean: np.ndarray, shared: np.ndarray | None = None) -> BlockMeans:
    """n prompts around a mean [P, d] in B blocks, at one layer; `shared` noise of prompts [n, P, d] is added."""
    rows = mean + generator.standard_normal((n, *mean.shape)) + (0 if shared is None else shared[:n])
    count = np.bincount(np.arange(n) % B, minlength=B)
    total = np.zeros((B, *mean.shape))
    np.add.at(total, np.arange(n) % B, rows)
    with np.errstate(invalid="ignore"):
        return BlockMeans(count, (total / count[:, None, None])[:, :, None].astype(np.float32))


def means(h: np.ndarray, r: np.ndarray) -> list[np.ndarray]:
    return [(a * h + b * r) / 2 + 5 for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]


def both(cells: list[BlockMeans], positions: int = 1) -> Sampled:
    return stacked([contrast(cells, c, range(positions), 0) for c in (H, R)])


@pytest.mark.parametrize("twins", [False, True])
def test_products_of_contrasts_of_the_same_cells_are_unbiased_where_the_plain_ones_are_not(twins):
    generator = np.random.default_rng(0)
    h, r = generator.standard_normal((2, 1, D)) * 0.3
    sizes = (48, 20, 20, 90)
    found, plain = [], []
    for _ in range(300):
        shared = generator.standard_normal((90, 1, D)) if twins else None
        one = gram(both([cell(generator, n, mean, shared) for n, mean in zip(sizes, means(h, r), strict=True)]))
        found.append(one.value)
        plain.append(one.plain)
    truth = np.concatenate([h, r]) @ np.concatenate([h, r]).T
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - truth) < 4 * error).all()
    assert (np.abs(np.mean(plain, axis=0) - truth) > 5 * error).all(), "the plain products are off, all of them"


def test_it_is_the_mean_over_all_ways_to_halve_the_blocks():
    generator = np.random.default_rng(1)
    cells = [BlockMeans(np.full(6, 3), generator.standard_normal((6, 1, 1, D)).astype(np.float32)) for _ in range(4)]
    found = gram(both(cells)).value[0, 1]
    products = []
    for half in combinations(range(6), 3):
        rest = [block for block in range(6) if block not in half]
        one, other = (
            [sum(c * each.mean[part, 0, 0].mean(axis=0, dtype=float) for c, each in zip(side, cells, strict=True))
             for side in (H, R)]
            for part in (list(half), rest)
        )  # fmt: skip
        products.append((one[0] @ other[1] + other[0] @ one[1]) / 2)
    assert found == pytest.approx(np.mean(products), rel=1e-6)


def apart(cells: list[BlockMeans]) -> list[BlockMeans]:
    """The same cells, each with blocks of its own: empty ones stand where another cell has its prompts."""
    blocks = [len(one.count) for one in cells]
    made = []
    for i, one in enumerate(cells):
        count = np.zeros(sum(blocks), dtype=np.int64)
        mean = np.full((sum(blocks), *one.mean.shape[1:]), np.nan, dtype=np.float32)
        own = slice(sum(blocks[:i]), sum(blocks[: i + 1]))
        count[own], mean[own] = one.count, one.mean
        made.append(BlockMeans(count, mean))
    return made


def test_it_is_the_held_out_gram_where_blocks_are_of_one_size_and_no_two_cells_share_one():
    generator = np.random.default_rng(3)
    one, other = (
        BlockMeans(np.full(b, n), generator.standard_normal((b, 4, 1, D)).astype(np.float32))
        for b, n in ((7, 3), (5, 8))
    )
    held = HeldOut(one, other, np.ones((4, 1), dtype=bool)).grams(np.ones((1, 7)), np.ones((1, 5)))[0]
    found = gram(contrast(apart([one, other]), (1.0, -1.0), range(4), 0))
    np.testing.assert_allclose(found.value, held, rtol=1e-9, atol=1e-12)
    assert np.abs(found.plain - held).max() > 0.1


def test_what_twins_share_is_taken_out_here_and_in_a_held_out_gram_that_knows_of_them():
    """Twins in one block: their difference holds little noise; taken for strangers, that of both comes off."""
    truth, cross, held, paired = np.zeros((1, D)), [], [], []
    kept = np.ones((1, 1), dtype=bool)
    for seed in range(200):
        generator = np.random.default_rng(seed)
        shared = 3 * generator.standard_normal((48, 1, D))
        one, other = (cell(generator, 48, truth, shared) for _ in range(2))
        cross.append(gram(contrast([one, other], (1.0, -1.0), [0], 0)).value[0, 0])
        held.append(HeldOut(one, other, kept).grams(np.ones((1, B)), np.ones((1, B)))[0, 0, 0])
        paired.append(HeldOut(one, other, kept, twins=True).grams(np.ones((1, B)))[0, 0, 0])
    assert abs(np.mean(cross)) < 4 * np.std(cross) / np.sqrt(200)
    assert np.mean(held) == pytest.approx(-2 * 9 * D / 48, rel=0.1)
    np.testing.assert_allclose(paired, cross, rtol=1e-5, atol=1e-6)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 10))
def test_turning_moving_and_stretching_the_stream_changes_no_cosine_and_no_angle(seed, scale):
    generator = np.random.default_rng(seed)
    fields = generator.standard_normal((2, 4, D))
    cells = [cell(generator, n, mean) for n, mean in zip((40, 24, 30, 50), means(*fields), strict=True)]
    turn = np.linalg.qr(generator.standard_normal((D, D)))[0]
    moved = [BlockMeans(c.count, (scale * (c.mean @ turn) + 3).astype(np.float32)) for c in cells]
    one, other = (gram(both(each, 4)) for each in (cells, moved))
    assert other.value == pytest.approx(scale**2 * one.value, rel=1e-3, abs=1e-3 * scale**2)
    assert cosine(other.value, 0, 4) == pytest.approx(cosine(one.value, 0, 4), abs=1e-3, nan_ok=True)
    angles = [cosines_of_angles(each.value, slice(0, 4), slice(4, 8), 2) for each in (one, other)]
    assert angles[0] == pytest.approx(angles[1], abs=2e-2, nan_ok=True)
    assert other.signal == pytest.approx(one.signal, rel=1e-2, abs=1e-2)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 4))
def test_without_noise_it_is_the_plain_cosine_and_the_plain_principal_angles(seed, k):
    generator = np.random.default_rng(seed)
    fields = generator.standard_normal((2, 5, D))
    vectors = Sampled(np.concatenate(fields), np.zeros((B, 10, D)))
    found = gram(vectors)
    assert found.value == pytest.approx(found.plain)
    assert abs(cosine(found.value, 1, 7)) == pytest.approx(coupling.c_cos(fields[0, 1], fields[1, 2]))
    angles = np.arccos(np.clip(cosines_of_angles(found.value, slice(0, 5), slice(5, 10), k), 0, 1))
    bases = [subspaces.top_subspace(each, k).basis for each in fields]
    assert angles == pytest.approx(subspaces.principal_angles(*bases), abs=1e-6)
    energies = np.linalg.svd(fields[0], compute_uv=False) ** 2
    assert kth_energy(found.value, slice(0, 5), k) == pytest.approx(energies[k - 1])
    assert np.isinf(found.signal).all()


def test_resamples_scatter_around_the_value_as_samples_do_around_the_truth():
    generator = np.random.default_rng(3)
    h, r = generator.standard_normal((2, 1, D))
    values, spreads = [], []
    for _ in range(200):
        one = gram(both([cell(generator, 60, mean) for mean in means(h, r)]))
        drawn = one.resampled(block_weights(B, 200, 0))
        assert one.resampled(np.ones((1, B)))[0] == pytest.approx(one.value)
        values.append(one.value)
        spreads.append(drawn.std(axis=0))
    assert np.mean(spreads, axis=0) == pytest.approx(np.std(values, axis=0), rel=0.2)


def test_a_block_moves_a_product_by_its_product_with_what_the_other_blocks_give():
    generator = np.random.default_rng(2)
    vectors = both(
        [cell(generator, n, mean) for n, mean in zip((40, 20, 25, 90), means(*np.ones((2, 1, D))), strict=True)]
    )
    found = gram(vectors)
    for block in (0, B - 1):
        move = vectors.moves[block]
        others = vectors.value - move
        assert found.moves[block] == pytest.approx(move @ others.T + others @ move.T)


def test_what_is_nothing_but_noise_has_no_cosine_and_no_subspace():
    products = np.diag([1.0, -0.1, 1.0, 1.0])
    assert np.isnan(cosine(products, 0, 1))
    assert not np.isnan(cosine(products, 0, 2))
    assert np.isnan(cosines_of_angles(products, slice(0, 2), slice(2, 4), 2)).all()
    assert np.isfinite(cosines_of_angles(products, slice(0, 2), slice(2, 4), 1)).all()
    assert band_of_angles(products, products[None], slice(0, 2), slice(2, 4), 2) is None
    with pytest.raises(NothingToMeasure, match="no 3-dimensional subspace from 2 vectors"):
        cosines_of_angles(products, slice(0, 2), slice(2, 4), 3)


def test_signal_tells_a_contrast_from_none():
    generator = np.random.default_rng(4)
    h = generator.standard_normal((1, D))
    signals = [
        gram(both([cell(generator, 60, mean) for mean in means(h, 0 * h)])).signal for _ in range(100)
    ]  # fmt: skip
    assert np.quantile(signals, 0.02, axis=0)[0] > 4
    assert np.quantile(signals, 0.95, axis=0)[1] < 2


def test_the_band_of_equal_angles_is_not_narrower_than_their_repulsion():
    generator = np.random.default_rng(5)
    axes = np.linalg.qr(generator.standard_normal((D, D)))[0]
    fields = 3 * axes[:3], 3 * (np.sqrt(0.5) * axes[:3] + np.sqrt(0.5) * axes[3:6])
    held = single = 0
    for _ in range(40):
        one = gram(both([cell(generator, 60, mean) for mean in means(*fields)], 3))
        drawn = one.resampled(block_weights(B, 300, 0))
        rows = slice(0, 3), slice(3, 6)
        band = band_of_angles(one.value, drawn, *rows, 3)
        held += bool((band.low <= np.sqrt(0.5)).all() and (np.sqrt(0.5) <= band.high).all())
        largest = cosines_of_angles(drawn, *rows, 3)[:, 0]
        single += np.quantile(largest, 0.025) <= np.sqrt(0.5)
    assert held >= 37
    assert single <= 20, "resampled single angles do not hold the truth"


def test_cells_that_do_not_fit_are_refused():
    generator = np.random.default_rng(6)
    cells = [cell(generator, 40, np.zeros((1, D))) for _ in range(2)]
    with pytest.raises(RequestError, match="one coefficient a cell"):
        contrast(cells, (1.0,), [0], 0)
    other = BlockMeans(cells[1].count[:8], cells[1].mean[:8])
    with pytest.raises(RequestError, match="same blocks"):
        contrast([cells[0], other], (1.0, -1.0), [0], 0)
    single = BlockMeans(np.eye(B, dtype=int)[0] * 5, cells[1].mean)
    with pytest.raises(NothingToMeasure, match="a cell of 5 prompts"):
        contrast([cells[0], single], (1.0, -1.0), [0], 0)
    assert contrast([cells[0], single], (1.0, 0.0), [0], 0).value.shape == (1, D), "a cell that is not read"
    broken = BlockMeans(cells[1].count, np.full_like(cells[1].mean, np.nan))
    with pytest.raises(NothingToMeasure, match="NaN or infinity"):
        contrast([cells[0], broken], (1.0, -1.0), [0], 0)
