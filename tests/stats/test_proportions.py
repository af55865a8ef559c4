from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.stats.proportions import (
    certifiable,
    clopper_pearson,
    least_n,
    lower_tail,
    n_to_certify,
    n_to_decide,
    wilson,
)
from tests.tools.coverage import RATES, SIZES, binomial_coverage

quick = settings(deadline=None, derandomize=True, max_examples=60)


@quick
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.95]))
def test_the_interval_agrees_with_scipys_exact_one(counts: tuple[int, int], level: float) -> None:
    from scipy.stats import binomtest

    hits, n = counts
    exact = binomtest(hits, n).proportion_ci(level, method="exact")
    assert clopper_pearson(hits, n, level) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_the_ends_are_exact_at_no_hits_and_at_only_hits() -> None:
    low, high = clopper_pearson(0, 400)
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / 400))
    assert clopper_pearson(400, 400) == pytest.approx((0.025 ** (1 / 400), 1.0))
    assert clopper_pearson(400, 400)[1] == 1.0


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.3, 0.97])
@pytest.mark.parametrize("n", [16, 100])
def test_the_interval_covers_every_rate_at_its_level(rate: float, n: int) -> None:
    covered = sum(
        math.comb(n, k) * rate**k * (1 - rate) ** (n - k)
        for k in range(n + 1)
        if clopper_pearson(k, n)[0] <= rate <= clopper_pearson(k, n)[1]
    )
    assert covered >= 0.95


@pytest.mark.parametrize("n", SIZES)
def test_what_decides_covers_near_0_where_wilsons_does_not(n: int) -> None:
    """Enumerated. Wilson's is exempt and only shown: 0.84 where n times the rate is 0.17."""
    assert all(binomial_coverage(clopper_pearson, n, rate) >= 0.95 for rate in (*RATES, 0.17 / n))
    assert binomial_coverage(wilson, n, 0.17 / n) == pytest.approx(0.845, abs=0.005)


@quick
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.95]))
def test_wilsons_interval_agrees_with_scipys(counts: tuple[int, int], level: float) -> None:
    from scipy.stats import binomtest

    hits, n = counts
    score = binomtest(hits, n).proportion_ci(level, method="wilson")
    assert wilson(hits, n, level) == pytest.approx((score.low, score.high), abs=1e-9)
    assert wilson(0, n)[0] == 0.0
    assert wilson(n, n)[1] == 1.0


def test_a_tail_below_no_hits_is_empty_whatever_the_rate() -> None:
    assert [lower_tail(-1, 5, p) for p in (0.0, 0.5, 1.0)] == [0.0, 0.0, 0.0]
    assert [lower_tail(5, 5, p) for p in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(NothingToMeasure, match="not 0"):
        clopper_pearson(0, 0)
    for hits, n in ((-1, 5), (6, 5), (0, -1)):
        with pytest.raises(RequestError, match="not a proportion"):
            clopper_pearson(hits, n)
    with pytest.raises(RequestError, match="level"):
        clopper_pearson(1, 2, level=1.0)


@pytest.mark.parametrize(("bound", "needed"), [(0.05, 72), (0.01, 368), (0.10, 36), (0.5, 6)])
def test_the_n_that_certifies(bound: float, needed: int) -> None:
    assert n_to_certify(bound, "at_most") == needed
    assert n_to_certify(1 - bound, "at_least") == needed
    assert clopper_pearson(0, needed)[1] <= bound < clopper_pearson(0, needed - 1)[1]


@quick
@given(st.floats(1e-4, 0.9999), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_n_that_certifies_is_the_least(bound: float, level: float) -> None:
    most, least = n_to_certify(bound, "at_most", level), n_to_certify(bound, "at_least", level)
    assert most is not None
    assert least is not None
    assert clopper_pearson(0, most, level)[1] <= bound * (1 + 1e-9)
    assert clopper_pearson(least, least, level)[0] >= bound * (1 - 1e-9)
    assert most == 1 or clopper_pearson(0, most - 1, level)[1] > bound
    assert least == 1 or clopper_pearson(least - 1, least - 1, level)[0] < bound


def test_a_bound_that_nothing_certifies_and_one_that_everything_does() -> None:
    assert n_to_certify(0.0, "at_most") is None
    assert n_to_certify(1.0, "at_least") is None
    assert n_to_certify(math.nan, "at_most") is None
    assert n_to_certify(1.0, "at_most") == n_to_certify(0.0, "at_least") == 1
    with pytest.raises(RequestError, match="equals"):
        n_to_certify(0.5, "equals")  # type: ignore[arg-type]


@quick
@given(st.integers(1, 60), st.floats(0, 1), st.floats(0, 1))
@example(10, 0.0, 0.05)
@example(72, 0.0, 0.05)
@example(71, 0.0, 0.05)
@example(5, 0.0, 1.0)
def test_certifiable_is_whether_any_number_of_hits_would_pass(n: int, low: float, high: float) -> None:
    by_hand = any(low <= clopper_pearson(k, n)[0] and clopper_pearson(k, n)[1] <= high for k in range(n + 1))
    assert certifiable(n, low, high) == by_hand


def test_nothing_is_certifiable_without_prompts_or_with_no_number_as_bound() -> None:
    assert not certifiable(0, 0.0, 1.0)
    assert not certifiable(100, math.nan, 1.0)
    assert not certifiable(100, 0.0, math.nan)


@quick
@given(st.floats(0, 1), st.floats(1e-3, 0.999))
@example(0.0, 0.05)
@example(1.0, 0.95)
@example(0.5, 0.0)
@example(0.5, 1.0)
@example(0.04, 0.05)
def test_the_n_that_decides_leaves_the_bound_out_and_one_prompt_less_does_not(rate: float, bound: float) -> None:
    n = n_to_decide(rate, bound)
    if n is None:
        assert abs(rate - bound) < 1e-4
        return
    if n > 10**6:
        return

    def decided(n: int) -> bool:
        if rate < bound:
            return clopper_pearson(min(n, math.ceil(rate * n - 1e-9)), n)[1] <= bound * (1 + 1e-9)
        return clopper_pearson(max(0, math.floor(rate * n + 1e-9)), n)[0] >= bound * (1 - 1e-9)

    assert decided(n)
    assert n == 1 or not decided(n - 1)


def test_the_n_that_decides_is_about_what_the_normal_approximation_says() -> None:
    needed = n_to_decide(0.05, 0.10)
    assert needed is not None
    assert needed == pytest.approx(1.96**2 * 0.1 * 0.9 / 0.05**2, rel=0.3)
    assert n_to_decide(0.0, 0.05) == n_to_certify(0.05, "at_most")
    assert n_to_decide(0.1, 0.1) is None
    assert n_to_decide(0.3, 0.3 + 1e-9) is None
    with pytest.raises(RequestError, match=r"\[0, 1\]"):
        n_to_decide(math.nan, 0.1)


@quick
@given(st.integers(1, 5000), st.integers(1, 5000))
@example(1, 1)
@example(4097, 1)
@example(3, 3)
def test_the_search_finds_the_least_n_that_is_enough_and_asks_about_none_below_the_first(
    least: int, first: int
) -> None:
    asked: list[int] = []

    def enough(n: int) -> bool:
        asked.append(n)
        return n >= least

    assert least_n(enough, most=20_000, first=first) == max(least, first)
    assert min(asked) >= first
    assert len(asked) <= 2 * math.log2(20_000)


def test_the_search_gives_up() -> None:
    assert least_n(lambda n: n >= 900, most=1000) is None, "512 is not enough, and 1024 are too many to ask for"
    assert least_n(lambda n: False, most=1, first=1) is None


def test_planning_needs_neither_numpy_nor_scipy() -> None:
    heavy = "import sys; sys.exit(any(m in sys.modules for m in ('numpy', 'scipy', 'torch')))"
    light = "from geoaudit.stats.proportions import *; certifiable(50, 0, .05); n_to_decide(.02, .05)"
    assert subprocess.run([sys.executable, "-c", f"{light}; {heavy}"], check=False).returncode == 0
    assert subprocess.run([sys.executable, "-c", f"{light}; clopper_pearson(1, 9); {heavy}"], check=False).returncode
