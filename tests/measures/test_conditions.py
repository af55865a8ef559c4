"""Refusal depth and the gap between two wordings: planted curves are read, and what cannot be read is no number."""

from __future__ import annotations

import pytest

from geoaudit.audit.decide import decide
from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.measures import conditions
from geoaudit.measures.asking import DEPTHS, for_gap
from geoaudit.measures.inputs import Source
from geoaudit.records import Measurement
from geoaudit.stats.paired import Pairs, mcnemar
from tests.measures.answers import evidence, parameters, read_off

SAID = {"refusal": read_off("refusal")}


def depth(
    rates: dict[int, float], n: int = 100, share: float = 0.5, broken: dict[int, int] | None = None
) -> Measurement:
    """The depth of a model that refuses these shares at these prefills; `broken` rows of a depth are degenerate."""

    def answer(need, prompt, number):
        index, k = int(prompt.id.rpartition("/")[2]), need.attack.k
        if index >= n - (broken or {}).get(k, 0):
            return "degenerate"
        return "full_refusal" if index < round(n * rates[k]) else "full_compliance"

    given = parameters(share=share)
    del given["attack"], given["paraphrases"]
    return conditions.refusal_depth(given, evidence(answer, said=SAID, n=n))


@pytest.mark.parametrize(
    ("curve", "found"),
    [
        ((0.9, 0.1, 0.1, 0.1, 0.1, 0.1), 0),
        ((0.9, 0.8, 0.1, 0.1, 0.1, 0.1), 1),
        ((0.9, 0.9, 0.9, 0.8, 0.1, 0.1), 3),
        ((1.0, 1.0, 1.0, 1.0, 1.0, 1.0), 10),
        ((0.9, 0.1, 0.9, 0.9, 0.9, 0.9), 0),
    ],
)
def test_a_planted_depth_is_found(curve, found):
    measured = depth(dict(zip(DEPTHS, curve, strict=True)))
    assert measured.estimate == found
    assert measured.low <= found <= measured.high
    assert [row["estimate"] for row in measured.detail["depth"]] == pytest.approx(curve)
    assert [row["k"] for row in measured.detail["depth"]] == list(DEPTHS)


def test_a_model_that_does_not_refuse_has_no_depth_and_not_depth_0():
    with pytest.raises(NothingToMeasure, match="refuses 40% of the plain requests") as raised:
        depth(dict.fromkeys(DEPTHS, 0.4))
    assert len(raised.value.detail["depth"]) == len(DEPTHS)


def test_a_depth_near_the_threshold_has_an_interval_that_says_so():
    near = depth(dict(zip(DEPTHS, (0.95, 0.95, 0.52, 0.1, 0.1, 0.1), strict=True)), n=50)
    assert (near.estimate, near.low, near.high) == (2, 1, 2)
    assert decide("at_least", (2,), near, by="interval").outcome == "inconclusive"
    hardly = depth(dict(zip(DEPTHS, (0.52, 0.1, 0.1, 0.1, 0.1, 0.1), strict=True)), n=50)
    assert (hardly.low, hardly.high) == (None, None), "many resamples have no depth at all"
    assert decide("at_least", (0,), hardly, by="interval").outcome == "invalid"


def test_nonsense_behind_a_prefill_is_no_refusal_and_no_depth():
    curve = dict(zip(DEPTHS, (0.9, 0.9, 0.3, 0.3, 0.3, 0.3), strict=True))
    assert decide("at_most", (1,), depth(curve), by="estimate").outcome == "passed"
    broken = depth(curve, broken={2: 40})
    assert broken.estimate == 1
    assert decide("at_most", (1,), broken, by="estimate").outcome == "invalid"


def gap(lost: int, gained: int, n: int = 100, unread: int = 0) -> Measurement:
    """The gap of a model that refuses 60 prompts; `lost` of them not in other words, `gained` others only then."""

    def answer(need, prompt, number):
        index, twin = int(prompt.id.rpartition("/")[2]), need.source.name.endswith("-paraphrases")
        if twin and index >= n - unread:
            return "unparsed"
        refused = index < 60
        if twin and (index < lost or 60 <= index < 60 + gained):
            refused = not refused
        return "full_refusal" if refused else "full_compliance"

    given = parameters(source=Source("harmful"), max_unparsed=0.5)
    del given["attack"], given["paraphrases"]
    return conditions.paraphrase_gap(given, evidence(answer, said=SAID, n=n))


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (20, 0), (0, 15), (12, 8), (5, 5)])
def test_a_planted_gap_is_found_with_the_test_of_its_pairs(lost, gained):
    found = gap(lost, gained)
    assert found.estimate == pytest.approx(abs(gained - lost) / 100)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    measured = found.detail["paraphrases"]
    assert (measured["lost"], measured["gained"]) == (lost, gained)
    assert measured["p"] == mcnemar(Pairs(40 - gained, gained, lost, 60 - lost)).exact


def test_pairs_that_nobody_can_read_are_left_out_and_counted():
    found = gap(10, 0, unread=10)
    assert (found.n, found.detail["paraphrases"]["left_out"]) == (90, 10)
    assert found.detail["paraphrases"]["lost"] == 10


def test_a_source_without_a_twin_has_no_gap():
    with pytest.raises(RequestError, match="'benign-utility' has no differently worded twin; those that have one: "):
        for_gap(parameters(source=Source("benign-utility")))
