from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.carriers.resample import (
    ArditiScores,
    CosmicScores,
    base_cosine,
    cosine_of_means,
    scored_rows,
    weighted_scores,
)
from geoaudit.carriers.select import Row, select
from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.stats.bootstrap import block_weights, discrete_interval
from tests.carriers.resampling import resample_selection

HARMFUL, HARMLESS, WIDTH, LAYERS = 20, 24, 12, 10
quick = settings(deadline=None, derandomize=True, max_examples=30)


def candidates(n: int) -> list[Row]:
    return [Row(position=-1, layer=layer) for layer in range(n)]


def arditi(bypass: list[float], spread: float, seed: int = 0) -> ArditiScores:
    """Candidates of the given mean bypass; all induce, and their KL is within the budget."""
    generator = np.random.default_rng(seed)
    n = len(bypass)
    return ArditiScores(
        bypass=np.array(bypass)[:, None] + spread * generator.standard_normal((n, HARMFUL)),
        induce=2 + 0.1 * generator.standard_normal((n, HARMLESS)),
        kl=0.05 + 0.001 * generator.standard_normal((n, HARMLESS)),
    )


def cosmic(reach: list[float], seed: int = 0) -> tuple[CosmicScores, dict[str, np.ndarray]]:
    """Candidates whose edit carries each class this share of the way to the other, and the vectors behind them."""
    generator = np.random.default_rng(seed)
    apart = np.zeros(WIDTH)
    apart[0] = 4.0
    harmful = generator.standard_normal((HARMFUL, WIDTH)) + apart + 1
    harmless = generator.standard_normal((HARMLESS, WIDTH)) - apart + 1
    step = 2 * apart * np.array(reach)[:, None, None]
    ablated, added = harmful - step, harmless + step
    kl = np.full((len(reach), HARMLESS), 0.01)
    return CosmicScores(
        comply_cross=ablated @ harmless.T,
        comply_gram=ablated @ ablated.swapaxes(1, 2),
        refuse_cross=added @ harmful.T,
        refuse_gram=added @ added.swapaxes(1, 2),
        harmful_gram=harmful @ harmful.T,
        harmless_gram=harmless @ harmless.T,
        base_cross=harmful @ harmless.T,
        kl=kl,
    ), {"harmful": harmful, "harmless": harmless, "ablated": ablated, "added": added}


def direct(x: np.ndarray, y: np.ndarray, w: np.ndarray, u: np.ndarray) -> float:
    """Cosine of the means of vectors written out as often as they were drawn."""
    a, b = np.repeat(x, w, axis=0).mean(axis=0), np.repeat(y, u, axis=0).mean(axis=0)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@quick
@given(st.integers(0, 10**6))
def test_cosines_from_dot_products_equal_those_of_the_vectors(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.standard_normal((3, 6, 5)) + 1, generator.standard_normal((8, 5))
    w, u = block_weights(6, 4, (seed, 0)), block_weights(8, 4, (seed, 1))
    found = cosine_of_means(x @ y.T, x @ x.swapaxes(1, 2), y @ y.T, w, u)
    assert found.shape == (3, 4)
    for c in range(3):
        np.testing.assert_allclose(found[c], [direct(x[c], y, w[r], u[r]) for r in range(4)], atol=1e-9)
    np.testing.assert_allclose(cosine_of_means(x[0] @ y.T, x[0] @ x[0].T, y @ y.T, 7 * w, u), found[0])


def test_a_mean_of_zero_or_a_nan_has_no_cosine() -> None:
    x, y = np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    once, first = np.array([[1, 1]]), np.array([[1, 0]])
    assert np.isnan(cosine_of_means(x @ y.T, x @ x.T, y @ y.T, once, once)).all()
    assert cosine_of_means(x @ y.T, x @ x.T, y @ y.T, first, first) == pytest.approx([1.0])
    broken = np.full((2, 2), np.nan)
    assert np.isnan(cosine_of_means(broken, x @ x.T, y @ y.T, first, first)).all()


def test_every_cosmic_score_of_a_resample_is_that_of_the_redrawn_vectors() -> None:
    scores, vectors = cosmic([0.2, 0.9])
    w, u = block_weights(HARMFUL, 3, (5, 0)), block_weights(HARMLESS, 3, (5, 1))
    drawn = weighted_scores(scores, w, u)
    c0 = base_cosine(scores, w, u)
    for r in range(3):
        assert c0[r] == pytest.approx(direct(vectors["harmful"], vectors["harmless"], w[r], u[r]))
        for c in range(2):
            comply = direct(vectors["ablated"][c], vectors["harmless"], w[r], u[r])
            refuse = direct(vectors["added"][c], vectors["harmful"], u[r], w[r])
            assert drawn["s_comply"][c, r] == pytest.approx(comply)
            assert drawn["s_refuse"][c, r] == pytest.approx(refuse)


def test_rows_from_all_prompts_are_plain_means() -> None:
    scores = arditi([-3.0, -5.0], spread=1.0)
    table = scored_rows(candidates(2), scores)
    assert [row.layer for row in table] == [0, 1]
    assert [row.bypass for row in table] == pytest.approx(scores.bypass.mean(axis=1))
    assert [row.induce for row in table] == pytest.approx(scores.induce.mean(axis=1))
    assert [row.kl for row in table] == pytest.approx(scores.kl.mean(axis=1))
    assert table[0].s_refuse is None


@pytest.mark.parametrize("rule", ["arditi", "cosmic"])
def test_a_planted_winner_is_chosen_in_every_resample(rule: str) -> None:
    scores = arditi([-3.0, -9.0, -3.5], spread=1.0) if rule == "arditi" else cosmic([0.2, 1.0, 0.3])[0]
    chosen = resample_selection(candidates(3), scores, n_layers=LAYERS, n_resamples=200, seed=0).selected
    assert (chosen.layer == 1).all()
    assert (chosen.position == -1).all()
    assert discrete_interval(chosen.layer) == (1, 1, 1.0)
    estimate = select(scored_rows(candidates(3), scores), rule, n_layers=LAYERS)  # type: ignore[arg-type]
    assert estimate.score is not None
    assert chosen.score.std() > 0
    assert chosen.score.mean() == pytest.approx(estimate.score, abs=3 * chosen.score.std())


def test_two_candidates_that_are_nearly_equal_share_the_choice() -> None:
    generator = np.random.default_rng(1)
    bypass = -5 + 2 * generator.standard_normal((2, HARMFUL))
    bypass += (-5 - bypass.mean(axis=1))[:, None]  # means equal exactly, prompts not
    scores = ArditiScores(bypass, np.ones((2, HARMLESS)), np.full((2, HARMLESS), 0.01))
    chosen = resample_selection(candidates(2), scores, n_layers=LAYERS, n_resamples=400, seed=0).selected
    assert 0.3 < (chosen.layer == 0).mean() < 0.7
    interval = discrete_interval(chosen.layer)
    assert (interval.low, interval.high) == (0, 1)
    assert interval.modal_share < 0.7


def test_harmful_and_harmless_prompts_are_redrawn_independently() -> None:
    n = HARMFUL
    same = np.random.default_rng(2).standard_normal((1, n))
    scores = ArditiScores(bypass=same - 5, induce=same + 5, kl=np.full((1, n), 0.01))
    w, u = block_weights(n, 300, (0, 0)), block_weights(n, 300, (0, 1))
    drawn = weighted_scores(scores, w, u)
    chosen = resample_selection(candidates(1), scores, n_layers=LAYERS, n_resamples=300, seed=0).selected
    np.testing.assert_array_equal(chosen.score, drawn["bypass"][0])
    assert abs(np.corrcoef(drawn["bypass"][0], drawn["induce"][0])[0, 1]) < 0.2


def test_each_resample_is_the_rule_on_its_own_table() -> None:
    generator = np.random.default_rng(3)
    scores = ArditiScores(
        generator.standard_normal((6, HARMFUL)),
        generator.standard_normal((6, HARMLESS)) + 0.1,
        generator.exponential(0.13, (6, HARMLESS)),
    )
    found = resample_selection(candidates(6), scores, n_layers=LAYERS, n_resamples=60, seed=4)
    drawn = weighted_scores(scores, block_weights(HARMFUL, 60, (4, 0)), block_weights(HARMLESS, 60, (4, 1)))
    for r in range(60):
        table = [{"position": -1, "layer": c} | {k: v[c, r] for k, v in drawn.items()} for c in range(6)]
        alone = select(table, n_layers=LAYERS)
        for chosen, row in ((found.selected, alone.selected), (found.nearest, alone.nearest)):
            np.testing.assert_equal(chosen.layer[r], np.nan if row is None else row.layer)
    kinds = np.isfinite([found.selected.layer, found.nearest.layer])
    assert kinds.any(axis=1).all()  # both kinds occur
    assert not kinds.all(axis=0).any()  # never in the same resample


def test_what_was_not_measured_is_never_chosen() -> None:
    scores = arditi([-3.0, -9.0, -8.0, -7.0], spread=0.1)
    scores.kl[1, -1] = np.nan  # one prompt is missing, even in resamples that do not draw it
    rows = candidates(4)
    rows[2] = Row(position=-1, layer=2, excluded="null")
    chosen = resample_selection(rows, scores, n_layers=LAYERS, n_resamples=150, seed=0).selected
    assert (chosen.layer == 3).all()
    nothing = resample_selection(rows[:2], arditi([np.nan, np.nan], 1.0), n_layers=LAYERS, n_resamples=150, seed=0)
    assert np.isnan(nothing.selected.layer).all()
    assert np.isnan(nothing.nearest.layer).all()
    with pytest.raises(NothingToMeasure):
        discrete_interval(nothing.selected.layer)


def test_the_same_seed_redraws_the_same_prompts() -> None:
    scores = arditi([-5.0, -5.1], spread=1.0)
    first, again, other = (
        resample_selection(candidates(2), scores, n_layers=LAYERS, n_resamples=120, seed=seed).selected.score
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_edit_that_does_nothing_wins_only_where_inducing_is_not_asked_for() -> None:
    scores, _ = cosmic([0.0])
    papers = resample_selection(candidates(1), scores, n_layers=LAYERS, n_resamples=120, seed=0)
    assert (papers.selected.layer == 0).all()
    asked = resample_selection(candidates(1), scores, n_layers=LAYERS, n_resamples=120, seed=0, need_inducing=True)
    assert np.isnan(asked.selected.layer).mean() == 1.0
    real, _ = cosmic([0.8])
    kept = resample_selection(candidates(1), real, n_layers=LAYERS, n_resamples=120, seed=0, need_inducing=True)
    assert (kept.selected.layer == 0).all()


def test_scores_that_do_not_fit_are_refused() -> None:
    scores = arditi([-3.0, -5.0], spread=1.0)
    with pytest.raises(RequestError, match="3 candidates, but scores of 2"):
        resample_selection(candidates(3), scores, n_layers=LAYERS, n_resamples=120, seed=0)
    lonely = ArditiScores(scores.bypass[:, :1], scores.induce, scores.kl)
    with pytest.raises(NothingToMeasure, match="two blocks"):
        resample_selection(candidates(2), lonely, n_layers=LAYERS, n_resamples=120, seed=0)
