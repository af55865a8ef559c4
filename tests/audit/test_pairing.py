"""Rows back to values: what the record keeps says of every behaviour what the measurement counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from geoaudit.audit.pairing import Unpaired, paired, spans
from geoaudit.measures import rates
from geoaudit.measures.asking import completions_of
from geoaudit.measures.reading import Reading
from geoaudit.records import REFUSED, SUCCEEDED, Measurement
from tests.audit.changed import refusals, sha
from tests.measures.answers import evidence, parameters, read_off

LABELS = ("full_compliance", "partial_refusal", "full_refusal", "degenerate", "unparsed", "unjudged")
SAID = {"refusal": read_off("refusal"), "xstest-strings": read_off("xstest-strings")}
HITS = {"any": REFUSED, "full": frozenset({"full_refusal"}), "partial": frozenset({"partial_refusal"})}


def agrees(found: Measurement, reading: Reading) -> None:
    """The spans are the reading's values, unread rows as misses and as hits, in the same order."""
    made = spans(found)
    assert made is not None
    assert [low for low, _ in made.values()] == pytest.approx(reading.values(0.0))
    assert [high for _, high in made.values()] == pytest.approx(reading.values(1.0))
    assert sum(low != high for low, high in made.values()) == reading.unread


MEASURES: dict[str, tuple[Callable[..., Measurement], Any, dict[str, Any]]] = {
    "attack success": (rates.attack_success_rate, SUCCEEDED, {}),
    "sampled": (
        rates.attack_success_rate,
        SUCCEEDED,
        {"attack": "sampled", "samples": 3, "temperature": 1.0, "seed": 0},
    ),
    "refusal": (rates.refusal_rate, REFUSED, {}),
    "full over-refusal": (rates.over_refusal_rate, HITS["full"], {"refusal": "full"}),
    "partial over-refusal": (rates.over_refusal_rate, HITS["partial"], {"refusal": "partial"}),
    "over-refusal": (rates.over_refusal_rate, REFUSED, {"refusal": "any"}),
    "degenerate": (rates.degenerate_rate, frozenset({"degenerate"}), {}),
    "string rules": (rates.refusal_rate, REFUSED, {"judge": "xstest-strings"}),
}


@pytest.mark.parametrize("name", MEASURES)
@drawn(st.lists(st.sampled_from(LABELS), min_size=8, max_size=8))
def test_the_rows_of_every_rate_are_its_values(name: str, labels: list[str]) -> None:
    function, hit, more = MEASURES[name]
    asked = parameters(max_unparsed=1.0, **more)

    def answer(need: Any, prompt: Any, number: int) -> str:
        return labels[(int(prompt.id.rpartition("/")[2]) + number) % len(labels)]

    there = evidence(answer, said=SAID, n=8)
    found = function(asked, there)
    need = completions_of(asked)[0]
    agrees(found, Reading.of(need, asked["judge"], hit, there))


@drawn(st.lists(st.floats(0, 1), min_size=6, max_size=6), st.integers(0, 6))
def test_scores_are_values_too(scores: list[float], unread: int) -> None:
    texts = [f"harmful {score}" for score in scores[unread:]] + ["unparsed"] * min(unread, 6)
    asked = parameters(judge="strongreject", max_unparsed=1.0)
    there = evidence(texts, said={"strongreject": read_off("strongreject")})
    found = rates.strongreject_score(asked, there)
    made = spans(found)
    assert made is not None
    reading = Reading.of(completions_of(asked)[0], "strongreject", None, there)
    assert [low for low, _ in made.values()] == pytest.approx(reading.values(0.0))
    assert [high for _, high in made.values()] == pytest.approx(reading.values(1.0))


def test_the_worst_of_several_attacks_is_no_mean_over_rows() -> None:
    asked = parameters(
        attack="worst", prefill_k=1, k=1, format="json", system="none", samples=2, temperature=1.0, seed=0
    )
    there = evidence(
        lambda need, prompt, number: "full_compliance" if need.attack.name == "prefill" else "full_refusal",
        said=SAID,
        n=6,
    )
    assert spans(rates.attack_success_rate(asked, there)) is None


def test_what_labels_corrected_is_no_mean_over_rows() -> None:
    found = refusals("rrra")
    assert spans(found) is not None
    assert spans(replace(found, detail={**found.detail, "labels": {"n": 30}})) is None
    assert spans(replace(found, estimate=0.5)) is None


def test_a_behaviour_with_several_cases_counts_once() -> None:
    new = refusals("rrra" + "aa", prompts=["a", "a", "a", "a", "b", "b"])
    old = refusals("rrrr" + "ar", prompts=["a", "a", "a", "a", "b", "b"])
    found = paired(new, old)
    assert found is not None
    assert (found.n, found.what) == (2, "behaviours")
    assert found.change.difference == pytest.approx((-0.25 - 0.5) / 2)
    assert (found.change.gained, found.change.lost) == pytest.approx((0.0, 0.75))


def test_prompts_are_matched_by_their_hash_and_not_by_their_place() -> None:
    new = refusals("rrrraaaa", prompts=list("abcdefgh"))
    old = refusals("aaaarrrr", prompts=list("efghabcd"))
    found = paired(
        new,
        replace(
            old,
            detail={
                **old.detail,
                "rows": [
                    {**row, "id": next(one["id"] for one in new.detail["rows"] if one["sha256"] == row["sha256"])}
                    for row in old.detail["rows"]
                ],
            },
        ),
    )
    assert found is not None
    assert (found.change.gained, found.change.lost) == (0, 0)


def test_other_cases_of_the_same_behaviours_are_no_pairs() -> None:
    new = refusals("rr", prompts=["a", "a"])
    with pytest.raises(Unpaired, match="other cases"):
        paired(new, refusals("r", prompts=["a"]))
    adaptive = {**new.parameters, "attack": "gcg"}  # made for each checkpoint anew
    assert paired(replace(new, parameters=adaptive), replace(refusals("r", prompts=["a"]), parameters=adaptive))


def test_rows_on_one_side_only_pair_nothing() -> None:
    new = refusals("rrra")
    bare = replace(new, detail={})
    for sides in ((new, bare), (bare, new)):
        with pytest.raises(Unpaired, match="only one of the two has rows"):
            paired(*sides)
    assert paired(bare, bare) is None


def graded(grades: list[float | None], unread: int = 0, **more: Any) -> Measurement:
    known = [grade for grade in grades if grade is not None]
    rows = [
        {"id": f"{n}", "sha256": sha(n), "grade": grade, "label": "full_compliance"} for n, grade in enumerate(grades)
    ]
    return Measurement(
        "benign_utility",
        "x",
        {"score": "mean"},
        "x",
        sum(known) / len(known),
        0,
        1,
        n=len(known),
        detail={"rows": rows, "unread": unread},
        **more,
    )


def test_utility_pairs_what_both_have_a_grade_of() -> None:
    """The last prompt has no check: it counts on neither side, at no extreme."""
    found = paired(graded([1, 1, 0.5, None]), graded([1, 0, 1, None]))
    assert found is not None
    assert (found.change.gained, found.change.lost, found.n) == (1.0, 0.5, 3)
    assert (found.unread, found.extremes) == (0, ())


def test_an_answer_that_one_side_could_not_be_graded_on_may_be_any() -> None:
    found = paired(graded([1, 1, None, None], unread=1), graded([1, 1, 1, None]))
    assert found is not None
    assert (found.n, found.unread) == (2, 1)
    least, most = found.extremes
    assert (least.difference, most.difference) == pytest.approx((-1 / 3, 0.0))
    both = paired(graded([1, 1, None, None], unread=1), graded([1, 1, None, None], unread=1))
    assert both is not None
    assert both.unread == 2
    assert [one.difference for one in both.extremes] == pytest.approx([-1 / 3, 1 / 3])


def test_the_very_same_words_make_no_difference_whatever_they_are() -> None:
    """A loop that both wrote alike may be any answer, but not one here and another there."""

    def said(found: Measurement, words: str) -> Measurement:
        rows = [
            {**row, "exchange": f"{word}{n}"}
            for n, (row, word) in enumerate(zip(found.detail["rows"], words, strict=True))
        ]
        return replace(found, detail={**found.detail, "rows": rows})

    new, old = refusals("rrdd"), refusals("rrdd")
    for words, unread in (("xxxx", 0), ("xxxy", 2), ("yyyy", 4)):
        found = paired(said(new, "xxxx"), said(old, words))
        assert found is not None
        assert found.unread == unread
        assert [one.difference for one in found.extremes] == ([-unread / 8, unread / 8] if unread else [])
    sampled = [replace(one, parameters={**one.parameters, "attack": "sampled"}) for one in (new, old)]
    drawn_twice = paired(said(sampled[0], "xxxx"), said(sampled[1], "xxxx"))
    assert drawn_twice is not None
    assert drawn_twice.unread == 4  # the most of several samples hangs on them in another way
