"""Causal rank: a planted number of directions is found, controls must be beaten, and the plateau must be seen."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.audit.decide import decide
from geoaudit.carriers.resample import RESAMPLES
from geoaudit.carriers.table import SubspaceEffects
from geoaudit.errors import NothingToMeasure
from geoaudit.measures.causal_rank import beyond_controls, causal_rank, least_k
from geoaudit.prompts.sources import load
from geoaudit.records import Measurement
from geoaudit.stats.bootstrap import block_weights
from tests.measures.carriers import CARRIER, GOOD, IDLE, POSITIONS, made_evidence, made_table, measured

quick = settings(deadline=None, derandomize=True, max_examples=80)
N, M = 40, 20


def effects(
    drops: list[float],
    control: float = 0.5,
    m: int = M,
    n: int = N,
    noise: float = 0.1,
    spread: float = 0.1,
    seed: int = 0,
) -> SubspaceEffects:
    """Ablating the top k lowers a refusal score of 6 by `drops[k − 1]`, controls lower it by about `control`."""
    generator = np.random.default_rng(seed)
    k = len(drops)
    base = 6 + 0.5 * generator.normal(size=n)
    ablated = base - np.array(drops)[:, None] - noise * generator.normal(size=(k, n))
    means = control + spread * generator.normal(size=(k, m, 1))
    return SubspaceEffects(
        layer=2,
        base=base,
        ablated=ablated,
        controls=base - means - noise * generator.normal(size=(k, m, n)),
        kl=np.full(k, 0.2),
        control_kl=np.full((k, m), 0.19),
        control_dose=np.full((k, m), 0.7),
        inputs={"harmful": load("harmful").first(n).sha256},
    )


def ranked(subspaces: SubspaceEffects, evidence=None, **parameters) -> Measurement:
    return measured(
        causal_rank, evidence or made_evidence(subspaces=subspaces), **{"n_held_out": N, "fraction": 0.9, **parameters}
    )


def plateau_at(k: int, most: int = 5) -> list[float]:
    return [10 * min(i, k) / k for i in range(1, most + 1)]


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_the_planted_rank_is_found(rank):
    found = ranked(effects(plateau_at(rank)))
    assert (found.estimate, found.low, found.high, found.flags) == (rank, rank, rank, ())
    assert decide("equals", (float(rank),), found, by="interval").outcome == "passed"
    assert decide("at_most", (rank - 0.5,), found, by="interval").outcome == "failed"
    assert (found.n, found.unit, found.measure) == (N, "directions", "causal_rank")
    assert set(found.inputs) == {"probe", "harmful"}
    assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    by_k = found.detail["causal"]["by_k"]
    assert [row["k"] for row in by_k] == [1, 2, 3, 4, 5]
    assert by_k[rank - 1]["drop"] == pytest.approx(10, abs=0.1)
    assert by_k[rank - 1]["effect"] == pytest.approx(9.5, abs=0.2)
    assert by_k[rank - 1]["p"] == pytest.approx(1 / 21, rel=1e-5)
    assert len(by_k[0]["controls"]) == M
    assert ranked(effects(plateau_at(rank))) == found, "the seed is fixed"


def test_the_share_of_the_plateau_is_a_parameter():
    drops = [0.5 + 7, 0.5 + 8.5, 0.5 + 10, 0.5 + 10, 0.5 + 10]
    assert [ranked(effects(drops), fraction=share).estimate for share in (0.6, 0.8, 0.95)] == [1, 2, 3]


def test_effects_are_those_beyond_controls():
    """Controls of more dimensions do more by themselves: what the target does beyond them stops growing at 2."""
    subspaces = effects([4, 8, 9, 10, 11])
    growing = np.array([0.0, 0.0, 1.0, 2.0, 3.0])[:, None, None]
    found = ranked(dataclasses.replace(subspaces, controls=subspaces.controls - growing))
    assert found.estimate == 2
    assert ranked(subspaces).estimate == 4, "against controls that do not grow"


def test_a_subspace_that_controls_match_is_stopped():
    """On average it does more; two of its twenty controls do as much: p = 3/21."""
    subspaces = effects(plateau_at(1))
    controls = subspaces.controls.copy()
    controls[:, :2] -= 12
    matched = ranked(dataclasses.replace(subspaces, controls=controls))
    assert matched.estimate == 1
    for by in ("interval", "estimate"):
        assert decide("at_most", (2.0,), dataclasses.replace(matched, flags=()), by=by).outcome == "passed"
        assert decide("at_most", (2.0,), matched, by=by).outcome == "invalid"
    (flag,) = matched.flags
    assert (flag.name, flag.effect) == ("within-controls", "stops")
    assert "2 of 20 KL-matched controls do as much (p = 0.14)" in flag.sentence


def test_it_is_the_least_k_that_must_beat_its_controls():
    subspaces = effects(plateau_at(1))
    for matched, stopped in ((0, True), (4, False)):
        controls = subspaces.controls.copy()
        controls[matched, :2] -= 12
        found = ranked(dataclasses.replace(subspaces, controls=controls), fraction=0.8)
        assert found.estimate == 1
        assert [flag.name for flag in found.flags] == (["within-controls"] if stopped else [])


@pytest.mark.parametrize(("m", "stopped"), [(1, True), (18, True), (19, False)])
def test_too_few_controls_show_nothing(m, stopped):
    found = ranked(effects(plateau_at(2), m=m))
    assert found.estimate == 2
    assert [flag.name for flag in found.flags] == (["within-controls"] if stopped else [])
    if stopped:
        assert f"{m} KL-matched controls of the top-2 subspace are too few to beat: 19" in found.flags[0].sentence


def test_an_effect_that_still_rises_at_the_largest_k_has_no_plateau():
    """With one of two positions tried the top-1 is all that was seen; with both, there is nothing larger."""
    found = ranked(effects([10.0]))
    assert found.estimate == 1
    assert decide("equals", (1.0,), dataclasses.replace(found, flags=()), by="interval").outcome == "passed"
    assert decide("equals", (1.0,), found, by="interval").outcome == "invalid"
    assert [(flag.name, flag.effect) for flag in found.flags] == [("plateau-not-seen", "stops")]
    assert ranked(effects([5.0, 10.0])).flags == (), f"all {POSITIONS} directions there are"


def test_no_effect_beyond_controls_is_no_rank():
    with pytest.raises(NothingToMeasure, match=r"no top-k subspace at layer 2 \(k up to 5\) lowers") as error:
        ranked(effects([0.2] * 5))
    assert len(error.value.detail["causal"]["by_k"]) == 5
    json.dumps(error.value.detail, allow_nan=False)


@pytest.mark.parametrize("broken", ["base", "ablated", "controls"])
def test_scores_that_are_not_finite_are_no_rank(broken):
    subspaces = effects(plateau_at(2))
    values = getattr(subspaces, broken).copy()
    values[..., 0] = math.nan
    with pytest.raises(NothingToMeasure, match="not finite"):
        ranked(dataclasses.replace(subspaces, **{broken: values}))


def test_a_carrier_that_is_none_has_no_causal_rank():
    dull = made_evidence(
        made_table({CARRIER: dataclasses.replace(GOOD, induce=-2.0)}), subspaces=effects(plateau_at(2))
    )
    assert [flag.name for flag in ranked(effects([1]), dull).flags] == ["uninducible-carrier"]
    none = made_evidence(made_table({CARRIER: IDLE}, everywhere=IDLE), subspaces=effects(plateau_at(2)))
    with pytest.raises(NothingToMeasure, match="no candidate is admissible"):
        ranked(effects([1]), none)


def test_prompts_that_were_trained_on_stop_the_verdict():
    seen = load("harmful").prompts[3].sha256
    subspaces = effects(plateau_at(2))
    found = ranked(subspaces, made_evidence(subspaces=subspaces, trained_on=[seen]))
    assert [(flag.name, flag.effect) for flag in found.flags] == [("train-eval-overlap", "stops")]
    assert found.flags[0].sentence.startswith(f"1 of {N} scored prompts")
    late = load("harmful").prompts[N].sha256
    assert ranked(subspaces, made_evidence(subspaces=subspaces, trained_on=[late])).flags == ()


def test_a_rank_that_hangs_on_the_prompts_is_bimodal():
    """On most prompts one direction does it all, on a few it takes three: two is never the answer."""
    subspaces = effects([0.0] * 5, noise=0.0)
    one, three = plateau_at(1), [0.0, 0.0, 10.0, 10.0, 10.0]
    drops = np.array([[one[k] if i < 37 else three[k] for i in range(N)] for k in range(5)])
    found = ranked(dataclasses.replace(subspaces, ablated=subspaces.base - drops))
    counts = {row["value"]: row["count"] for row in found.detail["distribution"]["values"]}
    assert found.estimate == 1
    assert sum(counts.values()) == RESAMPLES
    assert (found.low, found.high) == (1, 3)
    assert set(counts) == {1, 3}
    assert min(counts.values()) > RESAMPLES / 20
    assert decide("equals", (1.0,), found, by="interval").outcome == "inconclusive"
    assert decide("at_most", (3.0,), found, by="interval").outcome == "passed"
    assert decide("equals", (2.0,), found, by="interval").outcome == "failed"


# --- the arithmetic --------------------------------------------------------------------------------------------------


def test_the_effect_agrees_with_a_plain_loop():
    subspaces = effects([3.0, 5.0], m=4, n=6)
    prompts, controls = block_weights(6, 5, 1), block_weights(4, 5, 2)
    fast = beyond_controls(subspaces, prompts, controls)
    for r in range(5):
        for k in range(2):
            score = [
                np.average(subspaces.controls[k, j], weights=prompts[r])
                for j in range(4)
                for _ in range(controls[r, j])
            ]
            target = np.average(subspaces.ablated[k], weights=prompts[r])
            assert fast[r, k] == pytest.approx(np.mean(score) - target)
    whole = beyond_controls(subspaces, np.ones((1, 6)), None)
    assert whole == pytest.approx(beyond_controls(subspaces, np.ones((1, 6)), np.ones((1, 4))))
    drop = subspaces.base.mean() - subspaces.ablated.mean(axis=1)
    control = subspaces.base.mean() - subspaces.controls.mean(axis=(1, 2))
    assert whole[0] == pytest.approx(drop - control)


@quick
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.floats(0.5, 1))
def test_the_least_k_is_the_first_that_reaches_its_share(values, fraction):
    k = least_k(np.array(values), fraction)
    if max(values) <= 0:
        assert k is None
    else:
        assert values[k - 1] >= fraction * max(values)
        assert all(value < fraction * max(values) for value in values[: k - 1])


@quick
@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=8), st.floats(0.5, 1), st.floats(0.01, 100))
def test_the_unit_of_the_effect_does_not_matter(values, fraction, scale):
    exact = np.round(np.array(values), 3)
    assert least_k(exact, 1.0) == least_k(exact * 2.0**5, 1.0)
    assert least_k(exact, fraction) <= least_k(exact, 1.0)
    assert least_k(exact * scale, 0.5) <= int(np.argmax(exact)) + 1


# --- on a planted model ----------------------------------------------------------------------------------------------


def test_one_planted_direction_has_causal_rank_one(planted):
    from tests.measures.benches import SHARED, evidence_of, open_bench

    evidence = evidence_of(open_bench(planted(layer=3, position=-2), SHARED))
    found = measured(causal_rank, evidence, n_held_out=16, n_validation=8, fraction=0.9)
    assert (found.estimate, found.low, found.high, found.flags) == (1, 1, 1, ())
    assert found.detail["causal"]["layer"] == 3
    assert found.detail["causal"]["by_k"][0]["drop"] > 1


def test_subspaces_that_were_hardly_applied_are_not_beaten() -> None:
    whole = effects(plateau_at(1))
    assert not any(flag.name == "within-controls" for flag in ranked(whole).flags), "the naive rank"
    none = np.zeros_like(whole.control_dose)
    idle = dataclasses.replace(whole, control_dose=none, control_kl=none)
    assert [flag.effect for flag in ranked(idle).flags if flag.name == "within-controls"] == ["stops"]
