"""Carriers of two made-up checkpoints: where each sits, how alike they are, and what each does in the other."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from geoaudit.audit.decide import decide
from geoaudit.carriers.select import Selecting
from geoaudit.carriers.table import Carried, SearchTable
from geoaudit.errors import NothingToMeasure
from geoaudit.measures import relocation, transfer
from geoaudit.measures.drift_needs import for_transfer, transfers
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.needs import CandidateSearch, Probe
from geoaudit.records import Measurement
from tests.measures.carriers import (
    GOOD,
    IDLE,
    PARAMETERS,
    WEAK,
    beaten_controls,
    centred,
    made_evidence,
    made_means,
    made_table,
    plain_table,
)
from tests.measures.two import AGAINST, beside

EARLY = (-1, 2)
LATE = (-2, 1)
N = plain_table().base_harmful.size


def moved() -> SearchTable:
    """The carrier at position −2, layer 1."""
    return made_table({EARLY: WEAK, LATE: GOOD})


def measured(function, late: Evidence, early: Evidence, carried=None, **parameters) -> Measurement:
    own = {"axis": "layer"} if function is relocation.carrier_relocation else {}
    own |= {"site": "own"} if function is relocation.direction_cosine else {}
    own |= {"effect": "bypass"} if function is transfer.carrier_transfer else {}
    return function({**PARAMETERS, "against": AGAINST, **own, **parameters}, beside(late, early, carried))


# --- relocation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("axis", "by"), [("layer", -1), ("position", -1)])
def test_a_carrier_that_moved_is_found_to_have_moved(axis, by):
    found = measured(relocation.carrier_relocation, made_evidence(moved()), made_evidence(), axis=axis)
    assert (found.estimate, found.low, found.high) == (by, by, by)
    assert decide("equals", (by,), found, by="interval").outcome == "passed"
    assert decide("equals", (0,), found, by="interval").outcome == "failed"
    there = {name: found.detail[name] for name in ("layer_here", "layer_there", "position_here", "position_there")}
    assert there == {"layer_here": 1, "layer_there": 2, "position_here": -2, "position_there": -1}


def test_a_carrier_that_stayed_has_moved_by_nothing():
    found = measured(relocation.carrier_relocation, made_evidence(), made_evidence())
    assert (found.estimate, found.low, found.high) == (0, 0, 0)
    assert found.detail["distribution"] == {
        "values": [{"value": 0, "count": relocation.RESAMPLES, "score": None}],
        "resamples": relocation.RESAMPLES,
    }


def test_an_argmax_between_two_places_alike_is_not_said_to_have_stayed():
    """Two candidates score the same but for noise: redrawn prompts choose now one, now the other."""
    twin = dataclasses.replace(GOOD, noise=3.0)
    pair = {EARLY: twin, (-1, 3): dataclasses.replace(twin, bypass=twin.bypass - 0.1)}
    arditi = {"rule": "arditi", "preset": "geoaudit"}
    found = measured(
        relocation.carrier_relocation,
        made_evidence(made_table(pair)),
        made_evidence(made_table({EARLY: twin})),
        **arditi,
    )
    assert {row["value"] for row in found.detail["distribution"]["values"]} == {0, 1}
    assert decide("equals", (found.estimate,), found, by="interval").outcome == "inconclusive"


def test_no_carrier_in_one_of_the_two_is_said_of_that_one():
    none = made_table({EARLY: IDLE}, everywhere=IDLE)
    with pytest.raises(NothingToMeasure, match=r"^early: no candidate is admissible"):
        measured(relocation.carrier_relocation, made_evidence(), made_evidence(none))
    with pytest.raises(NothingToMeasure, match=r"^no candidate is admissible"):
        measured(relocation.carrier_relocation, made_evidence(none), made_evidence())


def test_what_stops_a_carrier_stops_its_comparison_and_says_whose_it_is():
    """The naive number is 0: nothing moved. The other's carrier induces no more than its controls."""
    strong = {"examined": lambda table, place: _controls(table, place)}
    found = measured(relocation.carrier_relocation, made_evidence(), made_evidence(**strong))
    assert found.estimate == 0
    stops = [flag for flag in found.flags if flag.effect == "stops"]
    assert [flag.name for flag in stops] == ["uninducible-carrier"]
    assert stops[0].sentence.startswith("of early: ")
    assert decide("equals", (0,), found, by="interval").outcome == "invalid"


def _controls(table, place):
    return beaten_controls(table, place, best=0.99)


def test_a_filter_is_taken_off_so_that_both_are_scored_on_one_list():
    seen = []
    plain = made_evidence()

    def of(need):
        if isinstance(need, CandidateSearch):
            seen.append(need.filtered)
        return plain.of(need)

    spied = dataclasses.replace(plain, of=of)
    measured(relocation.carrier_relocation, spied, spied, preset="arditi")
    assert seen
    assert not any(seen)


def test_scores_on_different_prompts_are_not_compared():
    other = dataclasses.replace(plain_table(), inputs={"probe": "1" * 64})
    with pytest.raises(NothingToMeasure, match="scored on different prompts"):
        measured(relocation.carrier_relocation, made_evidence(other), made_evidence())


def test_the_change_of_a_score_is_paired():
    weaker = made_table({EARLY: dataclasses.replace(GOOD, away=0.7)})
    found = measured(relocation.carrier_score_drift, made_evidence(weaker), made_evidence())
    scores = found.detail["score_here"], found.detail["score_there"]
    assert found.estimate == pytest.approx(scores[0] - scores[1], abs=1e-4)
    assert found.high < 0
    same = measured(relocation.carrier_score_drift, made_evidence(), made_evidence())
    assert (same.estimate, same.low, same.high) == (0, 0, 0), "on the same redrawn prompts"


# --- directions ------------------------------------------------------------------------------------------------------


def turned(degrees: float) -> Evidence:
    """The same carrier, its direction turned towards an axis that no prompt differs along."""
    plain, means = made_evidence(), made_means(32)
    angle = np.radians(degrees)
    mean = means.harmful.mean.copy()
    mean[:, :, 1:, 0] += 3 * (np.cos(angle) - 1)
    mean[:, :, 1:, 1] += 3 * np.sin(angle)
    other = dataclasses.replace(means, harmful=dataclasses.replace(means.harmful, mean=mean))
    return dataclasses.replace(plain, of=lambda need: other if isinstance(need, Probe) else plain.of(need))


@pytest.mark.parametrize("degrees", [0, 15, 30])
def test_the_cosine_of_two_directions(degrees):
    found = measured(relocation.direction_cosine, turned(degrees), made_evidence())
    assert found.estimate == pytest.approx(np.cos(np.radians(degrees)), abs=0.03), "0.2 of noise in eight blocks"
    assert found.low - 1e-9 <= np.cos(np.radians(degrees)) <= found.high + 1e-9
    assert found.detail["by_layer"][0] == {"layer": 0, "cosine": None}, "null at layer 0"
    assert len(found.detail["by_layer"]) == 6
    assert "chance-level" not in [flag.name for flag in found.flags]


def test_directions_that_have_nothing_in_common_are_at_chance_level():
    found = measured(relocation.direction_cosine, turned(90), made_evidence())
    assert abs(found.estimate) < 0.1
    assert "chance-level" in [flag.name for flag in found.flags]
    assert found.detail["chance"]["stops"] == ["at_least", "between", "equals"]
    assert decide("at_least", (-1.0,), found, by="interval").outcome == "invalid", "the naive number passes"
    assert decide("at_most", (0.9,), found, by="interval").outcome == "passed"


def test_both_directions_may_be_read_at_the_others_site():
    own, other = (
        measured(relocation.direction_cosine, made_evidence(moved()), made_evidence(), site=site)
        for site in ("own", "other")
    )
    assert other.estimate == pytest.approx(1)
    assert own.estimate < 1 - 1e-4


# --- transfer --------------------------------------------------------------------------------------------------------


def carried(share: float, table: SearchTable, place=EARLY, spread: float = 0.5) -> Carried:
    """What a direction does that has this share of the effect of the table's own at `place`."""
    index = [(row.position, row.layer) for row in table.candidates].index(place)
    generator = np.random.default_rng(int(100 * abs(share)))
    own = table.base_harmful - table.arditi.bypass[index]
    adds = table.arditi.induce[index] - table.base_harmless
    return Carried(
        position=place[0],
        layer=place[1],
        base_harmful=table.base_harmful,
        base_harmless=table.base_harmless,
        ablated=table.base_harmful - share * own + spread * centred(generator, N),
        added=table.base_harmless + share * adds + spread * centred(generator, N),
        kl=np.full(N, 0.03),
    )


def transferred(inwards: float, outwards: float, late: Evidence | None = None, **parameters) -> Measurement:
    """`inwards`: what the early direction keeps in the late checkpoint."""
    both = {"early": carried(inwards, moved(), LATE), "late": carried(outwards, plain_table())}
    return measured(transfer.carrier_transfer, late or made_evidence(moved()), made_evidence(), both, **parameters)


@pytest.mark.parametrize("effect", ["bypass", "induce"])
@pytest.mark.parametrize(
    ("inwards", "outwards", "kind"),
    [(1.0, 1.0, "drift-only"), (0.95, 0.3, "drift-only"), (0.1, 0.2, "reorganised"), (0.1, 0.9, "lost")],
)
def test_what_became_of_a_carrier(inwards, outwards, kind, effect):
    found = transferred(inwards, outwards, effect=effect)
    assert found.detail["class"] == kind, found.detail["sentence"]
    assert found.estimate == pytest.approx(inwards, abs=0.05)
    assert found.low <= inwards <= found.high
    matrix = found.detail["matrix"]
    assert matrix["checkpoints"] == ["early", "late"]
    assert matrix["rho"][0][1] == pytest.approx(found.estimate, rel=1e-5)
    assert matrix["rho"][1][0] == pytest.approx(outwards, abs=0.05)
    assert (matrix["rho"][0][0], matrix["rho"][1][1]) == (1, 1)
    assert matrix["effect"][0][1] == pytest.approx(inwards * matrix["effect"][1][1], abs=0.5)
    assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_a_late_carrier_that_does_not_beat_its_controls_has_replaced_nothing():
    """The naive reading of two small shares is *reorganised*."""
    found = transferred(0.1, 0.2, made_evidence(moved(), examined=_controls))
    assert found.detail["class"] == "lost"
    assert decide("at_most", (0.5,), found, by="interval").outcome == "invalid", "uninducible-carrier"


def test_a_late_carrier_without_any_effect_has_no_shares():
    idle = dataclasses.replace(GOOD, bypass=6.0, noise=1.0)
    late = made_evidence(made_table({EARLY: WEAK, LATE: idle}))
    both = {"early": carried(0.0, moved(), LATE), "late": carried(0.0, plain_table())}
    with pytest.raises(NothingToMeasure, match="own direction is not shown to do anything") as caught:
        measured(transfer.carrier_transfer, late, made_evidence(), both)
    assert caught.value.detail["class"] == "lost"
    assert caught.value.detail["matrix"]["rho"][0][1] is None


def test_an_effect_that_was_not_measured_is_said():
    table = moved()
    index = [(row.position, row.layer) for row in table.candidates].index(LATE)
    bypass = table.arditi.bypass.copy()
    bypass[index] = np.nan
    blind = dataclasses.replace(table, arditi=dataclasses.replace(table.arditi, bypass=bypass))
    with pytest.raises(NothingToMeasure, match="bypass score of late's carrier was not measured"):
        transferred(0.1, 0.1, made_evidence(blind))


def test_each_direction_is_tried_under_the_same_search_and_rule():
    parameters = {**PARAMETERS, "against": AGAINST, "preset": "arditi"}
    inwards, outwards = transfers(parameters)
    assert (inwards.source, outwards.source) == ("early", "late")
    assert inwards.search == outwards.search
    assert not inwards.search.filtered
    assert isinstance(inwards.selecting, Selecting)
    assert inwards.selecting.rule == "arditi"
    needs = for_transfer(parameters)
    assert inwards in needs
    assert outwards in [need.need for need in needs if hasattr(need, "checkpoint")]
