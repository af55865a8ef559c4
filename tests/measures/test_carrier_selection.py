"""Which candidate is the carrier, how firmly, and what is said where there is none; on made-up tables of scores."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from subprocess import run

import numpy as np
import pytest

from geoaudit.audit.decide import decide
from geoaudit.carriers.resample import RESAMPLES, SEED
from geoaudit.carriers.select import Selecting
from geoaudit.carriers.table import SearchTable
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry import directions
from geoaudit.measures.carrier import (
    carrier_kl,
    carrier_layer,
    carrier_norm,
    carrier_position,
    carrier_s_comply,
    carrier_s_refuse,
    carrier_score,
)
from geoaudit.measures.carrier_selection import chosen, first_budget, frontier, idle_cosine
from geoaudit.records import Measurement
from tests.carriers.resampling import resample_selection
from tests.measures.carriers import (
    CARRIER,
    GOOD,
    IDLE,
    REFUSAL,
    WEAK,
    N,
    Planted,
    centred,
    made_cells,
    made_evidence,
    made_means,
    made_table,
    measured,
    plain_table,
    searched,
)

RULES = ("cosmic", "arditi", "cosmic-affine")
DEAR = {CARRIER: dataclasses.replace(GOOD, kl=0.30)}
REACH = Planted(kl=0.5)
RIVAL = (-2, 1)


# --- the numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_the_place_and_its_scores(rule):
    evidence = made_evidence()
    place = [measured(function, evidence, rule=rule) for function in (carrier_position, carrier_layer)]
    assert [found.estimate for found in place] == list(CARRIER)
    assert [(found.low, found.high) for found in place] == [(-1, -1), (2, 2)]
    detail = place[0].detail
    assert (detail["rule"], detail["preset"], detail["used"]) == (rule, "geoaudit", "carrier")
    assert detail["operator"] == ("affine" if rule == "cosmic-affine" else "linear")
    assert (detail["scope"], detail["contrast"], detail["frontier_kl"]) == ("every_site", "harmful", 1.0)
    assert detail["selection_shares"] == [{"position": -1, "layer": 2, "share": 1.0}]
    s_refuse, s_comply, kl = (
        measured(function, evidence, rule=rule).estimate
        for function in (carrier_s_refuse, carrier_s_comply, carrier_kl)
    )
    assert detail["raw_total"] == pytest.approx(s_refuse + s_comply - kl, rel=1e-5)
    assert kl == pytest.approx(0.03)
    score = measured(carrier_score, evidence, rule=rule, beta=0.5).estimate
    assert score == pytest.approx(-7 if rule == "arditi" else s_refuse + s_comply - kl / 2, rel=1e-4)
    row = detail["selected"]
    assert row["s_refuse_scaled"] == pytest.approx((s_refuse - detail["c0"]) / (1 - detail["c0"]), rel=1e-4)


def test_c0_is_what_no_edit_scores():
    table = made_table({CARRIER: IDLE})
    detail = measured_none(table)
    idle = next(row for row in detail["candidates"] if (row["position"], row["layer"]) == CARRIER)
    assert idle["s_refuse"] == idle["s_comply"] == pytest.approx(detail["c0"], rel=1e-5)
    assert idle["s_refuse_scaled"] == pytest.approx(0, abs=1e-5)
    assert idle["status"] == "not-inducing"
    assert detail["idle_total"] == pytest.approx(2 * idle_cosine(table), rel=1e-5)
    x, y = np.linalg.cholesky(table.cosmic.harmful_gram + 1e-9 * np.eye(N)), table.cosmic.base_cross
    assert x.shape == y.shape
    expected = y.mean() / math.sqrt(table.cosmic.harmful_gram.mean() * table.cosmic.harmless_gram.mean())
    assert detail["c0"] == pytest.approx(expected, rel=1e-5)


def measured_none(table: SearchTable, **parameters) -> dict:
    """The detail of a search in which everything costs too much."""
    with pytest.raises(NothingToMeasure) as error:
        measured(carrier_layer, made_evidence(table), **{"kl_budget": 0.0, **parameters})
    json.dumps(error.value.detail, allow_nan=False)
    return error.value.detail


@pytest.mark.parametrize("contrast", ["harmful", "refused"])
def test_the_norm_is_resampled_over_blocks_of_the_prompts_that_it_is_a_difference_of(contrast):
    found = measured(carrier_norm, made_evidence(), contrast=contrast)
    assert found.estimate == 3.0
    assert found.low < found.estimate < found.high
    means = made_means()
    sides = (means.harmful, means.harmless)
    if contrast == "refused":
        cells = made_cells(searched().probe)
        other = [cells.cells[name] for name in ("harmful_complied", "harmless_complied")]
        count = np.concatenate([each.count for each in other])
        mean = np.concatenate([each.mean[:, 1:] for each in other])
        one = cells.cells["harmful_refused"]
        sides = directions.BlockMeans(one.count, one.mean[:, 1:]), directions.BlockMeans(count, mean)
    weights = [np.ones((1, side.count.size)) for side in sides]
    expected = directions.norms(directions.differences(*sides, *weights))[0, -1, 2]
    assert expected == pytest.approx(3.0, abs=0.4)
    assert found.detail["split_half_cosine"] > 0.9


def test_more_prompts_are_another_search(monkeypatch):
    """The means that the interval rests on are those of the parameters, with the chat's own setting."""
    from geoaudit.measures.inputs import ChatSetting

    asked = []
    evidence = made_evidence()

    def of(need):
        asked.append(need)
        return evidence.of(need)

    chat = ChatSetting(system="Be kind.")
    measured(carrier_norm, dataclasses.replace(evidence, of=of), chat=chat)
    assert {getattr(need, "chat", chat) for need in asked} == {chat}


# --- nothing admissible ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_an_empty_admissible_set_is_told_in_one_sentence(rule):
    table = made_table(DEAR, everywhere=REACH)
    with pytest.raises(NothingToMeasure) as error:
        measured(carrier_layer, made_evidence(table), rule=rule)
    text = str(error.value)
    assert text.startswith(f"no candidate is admissible by the rule {rule!r} at KL 0.1")
    assert "nearest: position -1, layer 2, KL 0.30 (`direction: nearest` measures it)" in text
    assert "the first carrier appears at a KL budget of 0.30" in text
    assert "ablating it at its own layer alone costs 0.12 nats and brings the refusal score of harmful prompts" in text
    assert "affine ablation costs 0.06 nats" in text
    assert "(without an edit 6.0 nats)" in text
    assert "\n" not in text
    detail = error.value.detail
    assert (detail["used"], detail["selected"]) == (None, None)
    assert detail["first_budget"] == {"kl": 0.3, "position": -1, "layer": 2}
    assert detail["examined"]["scopes"]["single_layer"]["kl"] == pytest.approx(0.12)
    assert detail["frontier"][-1]["layer"] == 2
    json.dumps(detail, allow_nan=False)
    missing = Measurement("carrier_layer", "ckpt", {}, "", why_missing=text, detail=detail)
    assert decide("at_most", (99.0,), missing, by="estimate").outcome == "invalid"
    found = measured(carrier_layer, made_evidence(table), rule=rule, direction="nearest")
    assert (found.estimate, found.detail["used"]) == (2, "nearest")
    assert [(flag.name, flag.effect) for flag in found.flags] == [("not-admissible", "note")]
    assert measured(carrier_layer, made_evidence(table), rule=rule, kl_budget=0.3).flags == ()


def test_the_first_budget_admits_a_carrier_and_no_smaller_one_does():
    """What only hardly moves COSMIC's cosine is nearer, and no carrier at any budget."""
    table = made_table({**DEAR, RIVAL: dataclasses.replace(WEAK, kl=0.2)}, everywhere=REACH)
    with pytest.raises(NothingToMeasure) as error:
        measured(carrier_layer, made_evidence(table))
    first = error.value.detail["first_budget"]
    assert (first["position"], first["layer"]) == CARRIER
    assert error.value.detail["nearest"]["kl"] == pytest.approx(0.2)
    assert "KL 0.20" in str(error.value)
    assert "at a KL budget of 0.30 (position -1, layer 2)" in str(error.value)
    assert measured(carrier_layer, made_evidence(table), kl_budget=first["kl"] + 1e-6).flags == ()
    less = measured(carrier_layer, made_evidence(table), kl_budget=first["kl"] - 1e-3)
    assert "uninducible-carrier" in [flag.name for flag in less.flags]


def test_a_budget_is_rounded_up():
    table = made_table({CARRIER: dataclasses.replace(GOOD, kl=0.3012)}, everywhere=REACH)
    with pytest.raises(NothingToMeasure, match=r"at a KL budget of 0\.31"):
        measured(carrier_layer, made_evidence(table))


def test_what_does_not_induce_is_said():
    none = made_table({CARRIER: IDLE}, everywhere=IDLE)
    with pytest.raises(NothingToMeasure, match="no candidate induces refusal within 1 nats of KL") as error:
        measured(carrier_layer, made_evidence(none), kl_budget=-0.0)
    assert error.value.detail["first_budget"] is None
    assert error.value.detail["examined"] is None
    weak = made_table({CARRIER: WEAK})
    with pytest.raises(NothingToMeasure, match="within 1 nats none makes refusing the likelier answer"):
        measured(carrier_layer, made_evidence(weak), kl_budget=0.01)


def test_the_frontier_is_the_pareto_front_up_to_its_limit():
    rows = {
        (-2, 1): Planted(kl=0.2, toward=0.5),
        (-2, 2): Planted(kl=0.3, toward=0.4),  # dearer and weaker
        (-2, 3): Planted(kl=0.7, toward=0.95),
        (-1, 1): Planted(kl=1.2, toward=1.0),  # beyond the limit
        (-1, 3): Planted(kl=0.3, toward=0.4, excluded="screened"),
    }
    table = made_table(rows)
    front = measured(carrier_layer, made_evidence(table)).detail["frontier"]
    assert [(row["position"], row["layer"]) for row in front] == [(-1, 2), (-2, 3)]
    dear = made_table(rows | {CARRIER: dataclasses.replace(GOOD, kl=0.4)})
    found = chosen(dear, Selecting("cosmic"))
    front = frontier(found, Selecting("cosmic"), 1.0)
    assert [(row["position"], row["layer"]) for row in front] == [(-2, 1), (-1, 2), (-2, 3)]
    assert [row["kl"] for row in front] == sorted(row["kl"] for row in front)
    assert [row["effect"] for row in front] == sorted(row["effect"] for row in front)
    assert len(frontier(found, Selecting("cosmic"), 0.5)) == 2
    by_induce = frontier(chosen(dear, Selecting("arditi")), Selecting("arditi"), 1.0)
    assert by_induce[-1]["effect"] == pytest.approx(GOOD.induce)


def test_late_layers_are_no_part_of_the_frontier_or_of_a_budget():
    table = made_table(
        {CARRIER: dataclasses.replace(GOOD, kl=0.3), (-1, 3): dataclasses.replace(GOOD, toward=1, kl=0.2)}
    )
    whole, half = Selecting("cosmic"), Selecting("cosmic", max_layer_fraction=0.5)
    for how, place in ((whole, (-1, 3)), (half, CARRIER)):
        found = chosen(table, how)
        last = frontier(found, how, 1.0)[-1]
        first = first_budget(found, how, table)
        assert (last["position"], last["layer"]) == (first["position"], first["layer"]) == place


@pytest.mark.parametrize("rule", RULES)
def test_how_near_the_choice_was_to_another_is_kept(rule):
    """Half precision moves a KL of 0.099 over the budget, and a close second to the first place."""
    close = {RIVAL: dataclasses.replace(GOOD, away=0.88, bypass=-6.9, kl=0.03), (-2, 3): Planted(kl=0.099)}
    margin = measured(carrier_layer, made_evidence(made_table(close)), rule=rule).detail["margin"]
    assert margin["closest"] == {"position": -2, "layer": 3, "kl": 0.099, "over": pytest.approx(-0.001)}
    assert (margin["runner_up"]["position"], margin["runner_up"]["layer"]) == RIVAL
    assert 0 < margin["runner_up"]["behind"] <= 0.1 + 1e-9
    alone = measured_none(made_table(DEAR, everywhere=REACH), rule=rule, kl_budget=0.1)["margin"]
    assert alone["runner_up"] is None
    assert alone["closest"]["over"] == pytest.approx(0.2)


# --- how firmly ------------------------------------------------------------------------------------------------------


def shaky(gap: float, sway: float) -> SearchTable:
    """Two layers whose bypass differs by `gap` nats on average and moves by `sway` with the prompts, oppositely."""
    table = made_table({RIVAL: GOOD})
    bypass = table.arditi.bypass.copy()
    at = [(row.position, row.layer) for row in table.candidates].index
    noise = sway * centred(np.random.default_rng(1), N)
    bypass[at(CARRIER)], bypass[at(RIVAL)] = -7 + noise, -7 + gap - noise
    return dataclasses.replace(table, arditi=dataclasses.replace(table.arditi, bypass=bypass))


def verdict(found: Measurement, comparator: str, *bound: float) -> str:
    return decide(comparator, bound, found, by="interval").outcome


def test_an_argmax_with_two_modes_is_decided_by_its_share_and_not_by_its_middle():
    found = measured(carrier_layer, made_evidence(shaky(0.1, 3.0)), rule="arditi")
    spread = found.detail["distribution"]
    counts = {row["value"]: row["count"] for row in spread["values"] if row["count"]}
    assert set(counts) == {1, 2}
    assert min(counts.values()) > RESAMPLES / 5
    assert sum(counts.values()) == spread["resamples"] == RESAMPLES
    assert (found.estimate, found.low, found.high) == (2, 1, 2)
    assert verdict(found, "equals", 2) == "inconclusive"
    assert verdict(found, "between", 1, 2) == "passed"
    assert verdict(found, "at_least", 2) == "inconclusive"
    assert verdict(found, "at_least", 3) == "failed"
    assert decide("equals", (2.0,), found, by="estimate").outcome == "passed", "estimates decide as ever"


def test_a_range_that_most_resamples_hit_passes_although_the_interval_straddles_it():
    found = measured(carrier_layer, made_evidence(shaky(0.9, 2.0)), rule="arditi")
    rare = next(row["count"] for row in found.detail["distribution"]["values"] if row["value"] == 1)
    assert 0.025 * RESAMPLES < rare < 0.05 * RESAMPLES
    assert (found.low, found.high) == (1, 2)
    assert verdict(found, "equals", 2) == "passed"
    sentence = decide("equals", (2.0,), found, by="interval").sentence
    assert f"{1 - rare / RESAMPLES:.1%} of 500 resamples satisfy the bound equal to 2" in sentence


def test_the_nearest_is_compared_by_its_kl():
    table = made_table({**DEAR, RIVAL: dataclasses.replace(GOOD, kl=0.35)}, everywhere=REACH)
    spread = measured(carrier_layer, made_evidence(table), direction="nearest").detail["distribution"]
    assert (spread["winner"], spread["better"]) == (pytest.approx(0.3), "lower")
    assert {row["value"]: row["score"] for row in spread["values"]} == {
        1: pytest.approx(0.35),
        2: pytest.approx(0.3),
        3: pytest.approx(0.5),
    }


@pytest.mark.parametrize("rule", RULES)
def test_each_value_is_shown_with_the_best_admissible_score_there(rule):
    table = made_table({RIVAL: dataclasses.replace(GOOD, bypass=-6, away=0.7, kl=0.04)})
    found = measured(carrier_layer, made_evidence(table), rule=rule)
    scores = {row["value"]: row["score"] for row in found.detail["distribution"]["values"]}
    assert scores[2] == found.detail["distribution"]["winner"]
    assert scores[2] == pytest.approx(measured(carrier_score, made_evidence(table), rule=rule).estimate, rel=1e-5)
    better = found.detail["distribution"]["better"]
    assert better == ("lower" if rule == "arditi" else "higher")
    assert (scores[1] > scores[2]) == (better == "lower")
    if rule == "arditi":
        assert set(scores) == {1, 2}, "others do not induce"
        assert scores[1] == pytest.approx(-6)
    positions = measured(carrier_position, made_evidence(table), rule=rule).detail["distribution"]["values"]
    assert {row["value"] for row in positions if row["count"]} == {-1}
    assert "distribution" not in measured(carrier_kl, made_evidence(table), rule=rule).detail


def test_the_winner_alone_has_no_interval_of_its_place():
    found = measured(carrier_layer, made_evidence(), search="winner")
    assert (found.estimate, found.low, found.detail["selection_shares"]) == (2, None, [])
    assert "distribution" not in found.detail
    assert verdict(found, "equals", 2) == "invalid"
    assert decide("equals", (2.0,), found, by="estimate").outcome == "passed"
    assert measured(carrier_kl, made_evidence(), search="winner").low is not None
    with pytest.raises(NothingToMeasure, match="`search: frontier` shows what lies beyond"):
        measured(carrier_layer, made_evidence(made_table(DEAR, everywhere=REACH)), search="winner")


def test_a_search_that_left_scores_out_beyond_the_budget_chooses_all_the_same():
    """Beyond the budget bypass and S_comply are not measured: KL alone rules a candidate out."""
    full = made_table({RIVAL: dataclasses.replace(GOOD, kl=0.2)})
    bypass, cross, gram = full.arditi.bypass.copy(), full.cosmic.comply_cross.copy(), full.cosmic.comply_gram.copy()
    index = [(row.position, row.layer) for row in full.candidates].index(RIVAL)
    for scores in (bypass, cross, gram):
        scores[index] = np.nan
    lean = dataclasses.replace(
        full,
        arditi=dataclasses.replace(full.arditi, bypass=bypass),
        cosmic=dataclasses.replace(full.cosmic, comply_cross=cross, comply_gram=gram),
    )
    for rule in RULES:
        one, other = (measured(carrier_layer, made_evidence(table), rule=rule) for table in (full, lean))
        assert (one.estimate, one.low, one.high, one.flags) == (other.estimate, other.low, other.high, other.flags)
        status = {(row["position"], row["layer"]): row["status"] for row in other.detail["candidates"]}
        assert status[RIVAL] == "kl"
        near = measured(carrier_layer, made_evidence(lean), rule=rule, kl_budget=0.01, direction="nearest")
        assert near.estimate == (2 if rule == "arditi" else 1) or near.detail["used"] == "nearest"


def test_a_score_that_was_not_measured_is_missing_and_not_zero():
    table = made_table({CARRIER: dataclasses.replace(GOOD, kl=0.3)}, everywhere=REACH)
    bypass = np.full_like(table.arditi.bypass, np.nan)
    lean = dataclasses.replace(table, arditi=dataclasses.replace(table.arditi, bypass=bypass))
    evidence = made_evidence(lean)
    assert measured(carrier_layer, evidence, rule="arditi", direction="nearest").estimate == 2
    with pytest.raises(NothingToMeasure, match="no finite carrier_score: beyond the KL budget"):
        measured(carrier_score, evidence, rule="arditi", direction="nearest")


def test_unequal_numbers_of_prompts_are_resampled_each_by_its_own():
    found = measured(carrier_score, made_evidence(made_table(h=21, s=N, kept=[True] * 21 + [False] * 3 + [True] * N)))
    assert found.n == 45
    assert found.low < found.high


def test_choosing_again_agrees_with_the_plain_resampling():
    """Each resample has its own c₀: with that of all prompts, what hardly induces would come and go."""
    table = made_table({CARRIER: dataclasses.replace(GOOD, toward=0.005), RIVAL: dataclasses.replace(GOOD, kl=0.2)})
    for rule, scores in (("cosmic", table.cosmic), ("arditi", table.arditi)):
        for budget in (0.1, 0.015):
            found = chosen(table, Selecting(rule, kl_budget=budget))
            plain = resample_selection(
                table.candidates,
                scores,
                n_layers=table.n_layers,
                n_resamples=RESAMPLES,
                seed=SEED,
                kl_budget=budget,
                need_inducing=True,
            )
            for places, others in ((found.selected, plain.selected), (found.nearest, plain.nearest)):
                assert np.array_equal(places, np.stack([others.position, others.layer]), equal_nan=True)


def test_what_hardly_induces_does_so_for_all_prompts_alike():
    weak = {CARRIER: dataclasses.replace(GOOD, toward=0.005)}
    table = made_table(weak, everywhere=dataclasses.replace(IDLE, kl=0.5))
    found = chosen(table, Selecting("cosmic"))
    assert (found.selected[1] == 2).all()


def test_choosing_again_is_cached_and_the_same():
    one, other = (chosen(plain_table(), Selecting("cosmic")) for _ in range(2))
    assert one is other
    again = chosen(dataclasses.replace(plain_table()), Selecting("cosmic"))
    assert np.array_equal(again.selected, one.selected, equal_nan=True)


def test_the_record_holds_no_nan_and_names_the_whole_resolved_set():
    from geoaudit.audit import profiles
    from geoaudit.audit.plan import resolve
    from geoaudit.measures.table import get

    parameters = resolve(get("carrier_layer"), {"preset": "arditi", "n_validation": N}, profiles.get("smoke"))
    found = carrier_layer({**parameters}, made_evidence())
    shown = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert Measurement.from_json(shown) == found
    assert (
        shown["parameters"].items() >= {"preset": "arditi", "rule": "arditi", "filtered": True, "n_train": 128}.items()
    )
    assert set(shown["parameters"]) | {"chat"} == set(get("carrier_layer").parameters)
    assert REFUSAL not in json.dumps(shown)


def test_deciding_again_needs_neither_torch_nor_numpy():
    found = measured(carrier_layer, made_evidence(shaky(0.1, 3.0)), rule="arditi")
    code = (
        "import json, sys\n"
        "from geoaudit.audit.decide import decide\n"
        "from geoaudit.records import Measurement\n"
        "found = Measurement.from_json(json.load(sys.stdin))\n"
        "print(decide('between', (1.0, 2.0), found, by='interval').outcome)\n"
        "assert not {'torch', 'numpy', 'scipy'} & set(sys.modules)\n"
    )
    done = run(
        [sys.executable, "-c", code], input=json.dumps(found.to_json()), capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("passed", "")
