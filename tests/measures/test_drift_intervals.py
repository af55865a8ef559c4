"""Intervals of drift: they hold planted angles where those of the plain values do not, and claim nothing of noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.turning import Turning
from geoaudit.measures.drift_intervals import Freed
from tests.tools.drift_coverage import NAMES, SETTINGS, Setting, covered

SHARES = np.array([0.6, 0.3, 0.1])


def found(angles: tuple[float, ...], spread: float = 0.001, signal: float = 10.0, n: int = 400) -> Turning:
    generator = np.random.default_rng(0)
    k = len(angles)
    moved = spread * generator.standard_normal((n, k, k))
    energies = np.stack([np.diag(SHARES)] * 2)
    return Turning(np.cos(np.radians(angles)), energies, moved, np.zeros((n, 2, k, k)), signal)


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (2.0, 30.0, 70.0)])
def test_without_spread_an_interval_has_no_width(angles):
    freed = Freed.of(found(angles, spread=0.0))
    np.testing.assert_allclose(np.transpose([freed.ends(at) for at in range(3)]), [angles, angles], atol=1e-4)
    weighted, sines = SHARES @ angles, np.sqrt(np.mean(np.sin(np.radians(angles)) ** 2))
    assert (freed.weighted, *freed.weighted_ends()) == pytest.approx((weighted,) * 3, abs=1e-4)
    assert (freed.distance, *freed.distance_ends()) == pytest.approx((sines,) * 3, abs=1e-4)


def test_angles_that_are_told_apart_keep_the_width_of_their_own_entry():
    """An entry of s.d. 0.001 moves an angle of 30° by 0.115°, one of 70° by 0.061°; the region goes out to about 3."""
    freed = Freed.of(found((5.0, 30.0, 70.0)))
    for at, (angle, error) in enumerate(((30.0, 0.115), (70.0, 0.061)), 1):
        low, high = freed.ends(at)
        assert angle - 4.5 * error < low < angle - 2 * error
        assert angle + 2 * error < high < angle + 4.5 * error


def test_angles_that_are_not_told_apart_reach_to_their_mean():
    """Estimated apart by noise, the least of them may be as large as their mean, and the largest as small."""
    freed = Freed.of(found((28.0, 30.0, 32.0), spread=0.02))
    mean = np.degrees(np.arccos(np.cos(np.radians([28, 30, 32])).mean()))
    assert freed.ends(0)[1] > mean + 0.5
    assert freed.ends(2)[0] < mean - 0.5
    alone = Freed.of(found((28.0, 50.0, 80.0), spread=0.001))
    assert alone.ends(0)[1] < 29
    assert alone.ends(2)[0] > 79


def test_what_resamples_only_push_apart_is_not_held_apart():
    """Symmetric noise between axes moves the outer cosines outwards, whatever its sign; their mean stays."""
    given = found((28.0, 30.0, 32.0), spread=0.0)
    generator = np.random.default_rng(2)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        given.moved[:, one, other] = given.moved[:, other, one] = 0.03 * generator.standard_normal(400)
    given.moved[:] += 0.006 * generator.standard_normal((400, 3, 1)) * np.eye(3)
    freed = Freed.of(given)
    mean = np.degrees(np.arccos(np.cos(np.radians([28, 30, 32])).mean()))
    assert freed.region[:, 0].max() < mean < freed.region[:, 2].min(), "resampled angles alone would not reach it"
    assert freed.ends(0)[1] >= mean
    assert freed.ends(2)[0] <= mean


def test_energy_stays_with_its_axis_where_angles_change_places():
    """The weak axis may be the nearest of all in a resample; the strong one's weight does not go with the place."""
    given = found((60.0, 70.0, 80.0), spread=0.0)
    given.moved[:, 2, 2] = 0.4 * np.random.default_rng(1).standard_normal(400)
    freed = Freed.of(replace(given, energies=np.stack([np.diag([0.9, 0.08, 0.02])] * 2)))
    assert freed.ends(0)[0] < 50
    low, high = freed.weighted_ends()
    assert 0.98 * 60 - 0.5 < low < freed.weighted < high < 63


def test_what_moves_furthest_is_left_out():
    """One resample in fifty is wild: the region is that of the other ones."""
    given = found((5.0, 30.0, 70.0))
    wild = given.moved.copy()
    wild[::50] *= 300
    ends = [Freed.of(replace(given, moved=each)).ends(2) for each in (wild, given.moved)]
    assert ends[0] == pytest.approx(ends[1], abs=0.15)


def test_a_dimension_of_noise_has_no_interval():
    with pytest.raises(NothingToMeasure, match=r"dimension 3 .* noise \(1.9 standard errors"):
        Freed.of(found((1.0, 2.0, 3.0), signal=1.9))
    with pytest.raises(NothingToMeasure, match="nan standard errors"):
        Freed.of(found((1.0, 2.0, 3.0), signal=np.nan))
    given = found((1.0, 2.0, 3.0))
    for dead, there in ((4, True), (5, False)):
        given.moved[:dead] = np.nan
        if there:
            assert np.isfinite(Freed.of(given).ends(2)).all()
        else:
            with pytest.raises(NothingToMeasure, match="fewer dimensions"):
                Freed.of(given)


@pytest.mark.parametrize(("setting", "angles"), [(1, (0.0, 0.0, 0.0)), (3, (30.0, 30.0, 30.0))])
def test_intervals_hold_planted_angles(setting, angles):
    """A quick part of tests/tools/drift_coverage.py, whose full table has 200 a cell.

    A nominal 95 % interval holds the truth in 12 or fewer of 16 simulations with probability 0.7 %. The reflected
    interval of the plain value, which this one replaced, holds a distance of 0 in none.
    """
    rows = covered(SETTINGS[setting], angles, 16)
    for name in NAMES:
        assert rows[name].n == 16, name
        assert rows[name].covered * 16 >= 13, (name, rows[name])
    if angles == (0.0, 0.0, 0.0):
        assert max(rows[name].before for name in ("weighted angle", "distance")) < 0.2
        assert rows["weighted angle"].plain > 3 * rows["weighted angle"].free


def test_a_subspace_of_noise_claims_nothing():
    """Negative control: the third axis is planted at a thousandth of the energy."""
    weak = Setting((0.7, 0.299, 0.001), 0.1, 0.5, 0.0)
    assert covered(weak, (0.0, 0.0, 0.0), 6, compare=False)["angle 3"].n <= 2
