"""Carrier measures on planted models: the place is found with certainty, and nothing else is called a carrier."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from geoaudit.audit.decide import decide
from geoaudit.carriers.resample import SEED
from geoaudit.carriers.table import SearchTable
from geoaudit.errors import NothingToMeasure
from geoaudit.measures import carrier
from geoaudit.measures.bench import Bench
from geoaudit.measures.carrier_needs import for_carrier
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import CompletedPrompts
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.needs import CandidateSearch, Probe
from geoaudit.measures.table import MEASURES
from geoaudit.records import Measurement
from tests.measures.benches import SHARED, evidence_of, open_bench
from tests.model.planted import ANSWER, REFUSAL

RULES = ("cosmic", "arditi")
NAMES = [name for name in MEASURES if hasattr(carrier, name)]
DEFAULTS = {
    "direction": "carrier",
    "n_train": 32,
    "n_validation": 8,
    "chat": ChatSetting(),
}


def measure(name: str, evidence: Evidence, rule: str = "cosmic", **parameters: Any) -> Measurement:
    return getattr(carrier, name)({**DEFAULTS, "rule": rule, **parameters}, evidence)


def outcome(name: str, evidence: Evidence, comparator: str, bound: tuple[float, ...], by: str, **more: Any) -> str:
    """As an audit decides: what cannot be measured is a measurement without a value."""
    try:
        found = measure(name, evidence, **more)
    except NothingToMeasure as error:
        found = Measurement(name, "ckpt", {}, "", why_missing=str(error))
    return decide(comparator, bound, found, by=by).outcome


@pytest.fixture(scope="module")
def bench(planted) -> Bench:
    return open_bench(planted(layer=3, position=-2), SHARED)


@pytest.fixture(scope="module")
def evidence(bench) -> Evidence:
    return evidence_of(bench)


def changed(bench: Bench, trained_on=(), **replaced: Any) -> Evidence:
    """The evidence of a bench with a table of scores, or the completions, changed by functions."""

    def of(need: Any) -> Any:
        found = bench.fulfil(need)
        for kind, change in replaced.items():
            types: dict[str, type] = {"table": SearchTable, "completed": CompletedPrompts}
            if isinstance(found, types[kind]):
                found = change(found)
        return found

    return Evidence("ckpt", of, frozenset(trained_on))


def arditi(**scores: Any):
    """A change of per-prompt scores of the reference's rule, for every candidate."""
    return lambda table: dataclasses.replace(
        table,
        arditi=dataclasses.replace(
            table.arditi, **{name: change(getattr(table.arditi, name)) for name, change in scores.items()}
        ),
    )


def dearer(by: float, others: float = 0.5):
    """The planted carrier costs so many nats more, the other candidates `others`."""

    def change(table: SearchTable) -> SearchTable:
        more = [by if (row.position, row.layer) == (-2, 3) else others for row in table.candidates]
        kl = table.arditi.kl + np.array(more)[:, None]
        return dataclasses.replace(
            table, arditi=dataclasses.replace(table.arditi, kl=kl), cosmic=dataclasses.replace(table.cosmic, kl=kl)
        )

    return change


# --- what is found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "position", "seed"), [(1, -1, 0), (2, -3, 1), (3, -1, 1), (3, -2, 0)])
def test_both_rules_measure_the_planted_place(planted, layer, position, seed):
    evidence = evidence_of(open_bench(planted(layer=layer, position=position, seed=seed), SHARED))
    for rule in RULES:
        for name, place in (("carrier_layer", layer), ("carrier_position", position)):
            found = measure(name, evidence, rule)
            assert (found.estimate, found.low, found.high) == (place, place, place)
            assert decide("equals", (place,), found, by="interval").outcome == "passed"
            assert decide("equals", (place + 1,), found, by="interval").outcome == "failed"
        used = found.detail["selected"]
        assert (used["layer"], used["position"]) == (layer, position)
        assert found.detail["split_half_cosine"] > 0.99
        assert found.detail["selection_shares"] == [{"position": position, "layer": layer, "share": 1.0}]


def test_the_numbers_of_a_carrier(evidence):
    kl, norm = (measure(name, evidence, "arditi") for name in ("carrier_kl", "carrier_norm"))
    assert abs(kl.estimate) < 1e-3
    assert norm.estimate == pytest.approx(norm.detail["selected"]["norm"], rel=1e-5)
    assert norm.estimate > 5
    for rule in RULES:
        scores = {name: measure(f"carrier_{name}", evidence, rule) for name in ("score", "s_refuse", "s_comply")}
        assert scores["s_refuse"].estimate > 0.9
        assert scores["s_comply"].estimate > 0.9
        if rule == "cosmic":
            total = scores["s_refuse"].estimate + scores["s_comply"].estimate - measure("carrier_kl", evidence).estimate
            assert scores["score"].estimate == pytest.approx(total)
        else:
            assert scores["score"].estimate == pytest.approx(scores["score"].detail["selected"]["bypass"], rel=1e-5)
            assert scores["score"].estimate < 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", RULES)
def test_every_number_has_its_interval_range_and_record(evidence, name, rule):
    found = measure(name, evidence, rule)
    low, high = MEASURES[name].range
    slack = 1e-4 if name == "carrier_kl" else 0  # the reference's epsilon
    for value in (found.estimate, found.low, found.high):
        assert low is None or value >= low - slack
        assert high is None or value <= high
    assert found.low <= found.high
    if MEASURES[name].kind == "discrete":
        assert found.low <= found.estimate <= found.high
    assert found.unit == MEASURES[name].unit
    assert (found.n, found.judge, found.seed) == (16, "refusal", SEED)
    assert len(found.inputs) == 4
    assert found.flags == ()
    assert found.detail["refusal_score_auroc"] == 1.0
    assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    assert measure(name, evidence, rule) == found, "the seed is fixed"


def test_the_null_directions_of_layer_0_are_shown_and_never_used(evidence):
    for rule in RULES:
        candidates = measure("carrier_layer", evidence, rule).detail["candidates"]
        first = [row for row in candidates if row["layer"] == 0]
        assert len(first) == 3
        for row in first:
            assert row["status"] == "null"
            assert row["norm"] < 1e-4
            assert [row[name] for name in ("kl", "bypass", "induce", "s_refuse", "s_comply")] == [None] * 5


# --- what is no carrier ----------------------------------------------------------------------------------------------

GENEROUS = {
    "carrier_layer": ("at_most", (99.0,)),
    "carrier_kl": ("at_most", (99.0,)),
    "carrier_norm": ("at_least", (0.0,)),
}


@pytest.mark.parametrize("by", ["interval", "estimate"])
@pytest.mark.parametrize("direction", ["carrier", "nearest"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("layer", "position"), [(1, -1), (3, -2)])
def test_a_model_that_never_refuses_has_no_carrier(planted, layer, position, rule, direction, by):
    evidence = evidence_of(open_bench(planted(layer=layer, position=position, refuses=False), SHARED))
    for name, (comparator, bound) in GENEROUS.items():
        assert outcome(name, evidence, comparator, bound, by, rule=rule, direction=direction) == "invalid"


def test_the_model_that_never_refuses_is_told_why(planted):
    evidence = evidence_of(open_bench(planted(layer=3, position=-2, refuses=False), SHARED))
    found = measure("carrier_layer", evidence, "cosmic")
    assert {flag.name for flag in found.flags} == {"refusal-score-uncalibrated", "uninducible-carrier"}
    assert "refuses none of the 16 validation prompts" in found.flags[0].sentence
    with pytest.raises(NothingToMeasure, match=r"no candidate induces refusal.*refuses none") as error:
        measure("carrier_layer", evidence, "arditi")
    json.dumps(error.value.detail, allow_nan=False)
    assert len(error.value.detail["candidates"]) == 12, "the frontier is shown"
    assert error.value.detail["used"] is None


@pytest.mark.parametrize("rule", RULES)
def test_where_nothing_is_admissible_the_nearest_is_never_silently_the_carrier(bench, rule):
    dear = changed(bench, table=dearer(0.3))
    with pytest.raises(NothingToMeasure, match=r"at KL 0\.1; nearest: position -2, layer 3, KL 0\.30") as error:
        measure("carrier_layer", dear, rule)
    assert error.value.detail["nearest"]["layer"] == 3
    assert error.value.detail["selected"] is None
    found = measure("carrier_layer", dear, rule, direction="nearest")
    assert found.estimate == 3
    (flag,) = found.flags
    assert (flag.name, flag.effect) == ("not-admissible", "note")
    assert "0.30 nats" in flag.sentence
    assert (found.detail["used"], found.detail["selected"]) == ("nearest", None)
    assert found.detail["nearest"]["layer"] == 3
    assert measure("carrier_kl", dear, rule, direction="nearest").estimate == pytest.approx(0.3, abs=1e-3)
    raised = measure("carrier_layer", dear, rule, kl_budget=0.4)
    assert raised.flags == ()
    assert raised.detail["used"] == "carrier"


def test_nearest_changes_nothing_where_a_carrier_is_admissible(evidence):
    for rule in RULES:
        one = measure("carrier_layer", evidence, rule)
        other = measure("carrier_layer", evidence, rule, direction="nearest")
        assert (one.estimate, one.low, one.high, one.flags) == (other.estimate, other.low, other.high, other.flags)
        assert other.detail["used"] == "carrier"


def test_a_nearest_that_hardly_induces_is_stopped(bench):
    """By COSMIC's score a direction that does next to nothing can be the cheapest that "induces"."""
    found = measure("carrier_layer", changed(bench, table=dearer(0.4, others=0.3)), "cosmic", direction="nearest")
    assert found.detail["nearest"]["layer"] < 3
    assert {flag.name: flag.effect for flag in found.flags} == {
        "uninducible-carrier": "stops",
        "not-admissible": "note",
    }


def test_a_candidate_whose_kl_no_budget_allows_is_no_nearest_either(bench):
    for rule in RULES:
        found = changed(bench, table=dearer(math.nan, math.nan))
        with pytest.raises(NothingToMeasure, match="no candidate is admissible"):
            measure("carrier_layer", found, rule, direction="nearest")


@pytest.mark.parametrize("direction", ["carrier", "nearest"])
def test_adding_it_must_make_refusal_likelier_than_not(bench, direction):
    """Admissible only because it does nothing: the naive COSMIC number is the same."""
    dull = changed(bench, table=arditi(induce=lambda values: values * 0 - 2))
    plain = measure("carrier_layer", evidence_of(bench), "cosmic", direction=direction)
    found = measure("carrier_layer", dull, "cosmic", direction=direction)
    assert (found.estimate, plain.flags) == (plain.estimate, ())
    (flag,) = found.flags
    assert (flag.name, flag.effect) == ("uninducible-carrier", "stops")
    assert "refusal score -2.0 nats" in flag.sentence
    assert decide("equals", (3.0,), found, by="estimate").outcome == "invalid"
    with pytest.raises(NothingToMeasure):
        measure("carrier_layer", dull, "arditi", direction=direction)


def test_adding_it_must_bring_harmless_prompts_nearer_to_harmful_ones(bench):
    """With the direction added the representations stay those of plain harmless prompts: S_refuse is c₀."""

    def numb(table: SearchTable) -> SearchTable:
        n = len(table.candidates)
        return dataclasses.replace(
            table,
            cosmic=dataclasses.replace(
                table.cosmic,
                refuse_cross=np.repeat(table.cosmic.base_cross.T[None], n, axis=0),
                refuse_gram=np.repeat(table.cosmic.harmless_gram[None], n, axis=0),
            ),
        )

    dull = changed(bench, table=numb)
    with pytest.raises(NothingToMeasure, match="no candidate is admissible by the rule 'cosmic'"):
        measure("carrier_layer", dull, "cosmic")
    found = measure("carrier_layer", dull, "arditi")
    assert [(flag.name, flag.effect) for flag in found.flags] == [("uninducible-carrier", "stops")]
    assert "S_refuse ≤ c₀" in found.flags[0].sentence


# --- does the refusal score mean refusal -----------------------------------------------------------------------------


def relabelled(change):
    """Completions whose text is another."""

    def apply(completed: CompletedPrompts) -> CompletedPrompts:
        texts = change(completed)
        completions = tuple(
            dataclasses.replace(one, text=text) for one, text in zip(completed.completions, texts, strict=True)
        )
        return dataclasses.replace(completed, completions=completions)

    return apply


def alternating(completed: CompletedPrompts) -> list[str]:
    return [REFUSAL if i % 2 else ANSWER for i in range(len(completed.completions))]


CALIBRATIONS = {
    "the score says nothing": (alternating, "AUROC 0.5"),
    "the score is reversed": (
        lambda completed: [ANSWER if "harmful" in completed.prompts.name else REFUSAL] * len(completed.completions),
        "AUROC 0.00",
    ),
    "refuses everything": (lambda completed: [REFUSAL] * len(completed.completions), "refuses all of the 16"),
    "refuses nothing": (lambda completed: [ANSWER] * len(completed.completions), "refuses none of the 16"),
    "is never read": (lambda completed: [""] * len(completed.completions), "refuses none of the 0"),
}


@pytest.mark.parametrize("case", CALIBRATIONS.values(), ids=CALIBRATIONS.keys())
@pytest.mark.parametrize("rule", RULES)
def test_refusal_tokens_that_do_not_tell_refusals_stop_the_verdict(bench, rule, case):
    change, words = case
    plain = measure("carrier_layer", evidence_of(bench), rule)
    found = measure("carrier_layer", changed(bench, completed=relabelled(change)), rule)
    assert (found.estimate, plain.flags) == (plain.estimate, ()), "the naive number is the same"
    (flag,) = found.flags
    assert (flag.name, flag.effect) == ("refusal-score-uncalibrated", "stops")
    assert words in flag.sentence
    assert decide("equals", (3.0,), found, by="interval").outcome == "invalid"


def test_unread_completions_are_left_out_of_the_calibration(bench):
    def some_broken(completed: CompletedPrompts) -> list[str]:
        return [one.text if i % 2 else "" for i, one in enumerate(completed.completions)]

    assert measure("carrier_layer", changed(bench, completed=relabelled(some_broken))).flags == ()


def test_one_refusal_in_the_wrong_place_is_told_by_the_auroc(bench):
    def one_wrong(completed: CompletedPrompts) -> list[str]:
        texts = [one.text for one in completed.completions]
        return [ANSWER, *texts[1:]] if "harmful" in completed.prompts.name else texts

    found = measure("carrier_layer", changed(bench, completed=relabelled(one_wrong)))
    assert found.detail["refusal_score_auroc"] < 1
    assert [flag.name for flag in found.flags] == (
        ["refusal-score-uncalibrated"] if found.detail["refusal_score_auroc"] < 0.95 else []
    )


# --- overlap and uncertainty -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_validation_prompts_that_were_trained_on_stop_and_probe_prompts_are_a_note(bench, rule):
    need = CandidateSearch(Probe(32), 8, 0.8)
    scored = bench.fulfil(need.answered[1]).prompts.prompts[0].sha256
    estimating = bench.fulfil(need.probe).prompts[0].prompts[0].sha256
    noted = measure("carrier_layer", changed(bench, [estimating]), rule)
    assert [(flag.name, flag.effect) for flag in noted.flags] == [("train-eval-overlap", "note")]
    stopped = measure("carrier_layer", changed(bench, [scored, estimating]), rule)
    assert [(flag.name, flag.effect) for flag in stopped.flags] == [
        ("train-eval-overlap", "stops"),
        ("train-eval-overlap", "note"),
    ]
    assert stopped.flags[0].sentence.startswith("1 of 16 scored prompts")


def test_a_budget_that_redrawn_prompts_often_break_gives_no_interval(bench):
    """One dear prompt in eight: more than 5 % of the redrawn sets have no admissible carrier."""

    def one_dear(values: np.ndarray) -> np.ndarray:
        dear = values * 0
        dear[:, 0] = 0.79
        return dear

    dear = changed(bench, table=arditi(kl=one_dear))
    found = measure("carrier_layer", dear, "arditi")
    assert (found.estimate, found.low, found.high) == (3, None, None)
    decision = decide("equals", (3.0,), found, by="interval")
    assert decision.outcome == "invalid"
    assert "of 500 resamples have no outcome" in decision.sentence
    assert measure("carrier_layer", dear, "arditi", direction="nearest").estimate == 3


@pytest.mark.parametrize(("why", "shown"), [("screened", 3.0), ("not-inducing", None)])
def test_of_what_was_not_read_to_the_end_the_kl_is_shown_only_where_it_is_the_reason(bench, why, shown):
    def screen(table: SearchTable) -> SearchTable:
        rows = list(table.candidates)
        index = rows.index(dataclasses.replace(rows[1], excluded=""))
        rows[index] = dataclasses.replace(rows[index], excluded=why)
        kl = table.arditi.kl.copy()
        kl[index] = [2.0, 4.0, *[np.nan] * (table.n - 2)]
        return dataclasses.replace(table, candidates=tuple(rows), arditi=dataclasses.replace(table.arditi, kl=kl))

    found = measure("carrier_layer", changed(bench, table=screen), "arditi")
    row = found.detail["candidates"][1]
    assert (row["status"], row["kl"]) == (why, shown)


def test_what_is_needed_is_planned(bench):
    asked: list[Any] = []

    def of(need: Any) -> Any:
        asked.append(need)
        return bench.fulfil(need)

    for name in NAMES:
        measure(name, Evidence("ckpt", of))
    assert set(asked) == set(for_carrier(DEFAULTS))
