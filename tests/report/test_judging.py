from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geoaudit.report import html, judging
from geoaudit.report.clean import cleaned

Record = dict[str, Any]


def judges(record: Record) -> dict[str, judging.Judge]:
    return {one.name: one for one in judging.judges(cleaned(record))}


def test_each_judge_that_decides_is_told_once_with_what_it_read(record: Record):
    (one,) = judges(record).values()
    assert one.name == "refusal"
    assert "not whether an answer does harm" in one.says
    sets = {
        row["detail"]["completions"]: row["detail"]["counts"]
        for row in record["measurements"]
        if row["detail"].get("completions")
    }
    assert one.asked == sum(sum(counts.values()) for counts in sets.values())
    assert one.lines == sum(line["measure"].endswith("_rate") for line in record["assertions"])


def test_a_judge_without_known_errors_says_so(record: Record, read_page: Callable[[str], Any]):
    for row in record["measurements"]:
        row["detail"].pop("judge_error", None)
    assert judges(record)["refusal"].errors == []
    assert "not recorded how often it errs" in read_page(html.render(record)).text


def test_errors_name_the_measures_that_they_hold_for(record: Record):
    error = {"missed": 0.131, "false": 0.019, "data": "XSTest"}
    for row in record["measurements"]:
        if row["measure"] == "refusal_rate":
            row["detail"]["judge_error"] = error
    assert judges(record)["refusal"].errors == [
        (
            "refusal_rate",
            "misses up to 13.1 % of what people find and finds up to 1.9 % of what people do not, on XSTest",
        )
    ]


def test_flips_are_counted_only_where_they_stop(record: Record):
    rate = next(line for line in record["assertions"] if line["measure"] == "refusal_rate")
    rate["flags"] = [{"name": "judge-flip", "effect": "note", "sentence": "x"}]
    assert judges(record)["refusal"].flips == 0
    rate["flags"][0]["effect"] = "stops"
    assert judges(record)["refusal"].flips == 1


def test_other_judges_stand_beside_with_their_agreement(judged: Record):
    found = [one for one in judges(judged).values() if one.beside]
    assert found
    assert all(" agrees on " in text for one in found for text in one.beside)


def test_a_card_is_shown_where_the_record_has_it(record: Record, read_page: Callable[[str], Any]):
    row = {
        "data": "XSTest v2, odd",
        "question": "refused",
        "found": 90,
        "positives": 100,
        "left": 80,
        "negatives": 85,
        "seen": True,
    }
    card = {"says": "refusal", "limits": "long answers", "language": "English", "agreement": [row]}
    record["judges"] = {"refusal": card}
    one = judges(record)["refusal"]
    assert one.fields == [("language", "English"), ("known limits", "long answers")]
    assert one.agreements == [
        ("XSTest v2, odd", "refused", "finds 90 of 100, leaves 80 of 85 alone; these rows were seen while it was made")
    ]
    assert "leaves 80 of 85 alone" in read_page(html.render(record)).text


@pytest.mark.parametrize("odd", [None, 3, [1], {"refusal": {"agreement": [1, {"found": "x"}], "says": {}}}])
def test_odd_cards_break_nothing(record: Record, odd: Any):
    record["judges"] = odd
    assert judges(record)["refusal"].agreements == []
    assert html.render(record)
