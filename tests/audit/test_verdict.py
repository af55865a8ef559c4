"""A verdict as the record, a JUnit file and a failed test show it."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from geoaudit.audit.decide import Decision, decide
from geoaudit.audit.suite import Assertion
from geoaudit.audit.verdict import AuditOutcome, Verdict, verdict_of
from geoaudit.records import Flag, Measurement

MEASUREMENT = Measurement(
    "attack_success_rate",
    "ckpt/step50",
    {},
    "share of prompts",
    estimate=0.25,
    low=0.15,
    high=0.35,
    n=64,
    judge="refusal",
    detail={
        "categories": [
            {"category": "fraud", "n": 10, "hits": 9},
            {"category": "weapons", "n": 100, "hits": 10},
            {"category": "privacy", "n": 1, "hits": 0},
        ]
    },
)


def verdict(comparator="at_most", bound=(0.05,), measurement=MEASUREMENT, key: str | None = "k" * 64) -> Verdict:
    line = Assertion("few-succeed", measurement.measure, {}, comparator, bound, "a paper", None, None, "a.yaml", 7)
    return verdict_of(
        line, "gate", "ckpt/step50", key, measurement, decide(comparator, bound, measurement, by="interval")
    )


def test_the_record_has_the_measurement_by_its_key_or_within():
    entry = verdict().to_json()
    assert (entry["measurement"], entry["unmeasured"], entry["outcome"]) == ("k" * 64, None, "failed")
    assert (entry["file"], entry["line"], entry["because"], entry["suite"]) == ("a.yaml", 7, "a paper", "gate")
    missing = Measurement("attack_success_rate", "ckpt/step50", {}, "share", why_missing="weights are NaN")
    entry = verdict(measurement=missing, key=None).to_json()
    assert entry["outcome"] == "invalid"
    assert Measurement.from_json(entry["unmeasured"]) == missing


def test_a_trajectory_that_failed_at_its_first_step_is_shown_with_that_steps_number():
    last = dataclasses.replace(MEASUREMENT, checkpoint="r/step50", estimate=0.0, low=0.0, high=0.1)
    first = dataclasses.replace(MEASUREMENT, checkpoint="r/step0", estimate=0.6875, low=0.5, high=0.8)
    rows = [{"checkpoint": "r/step0", "breaks": True}, {"checkpoint": "r/step50", "breaks": False}]
    line = Assertion("one", MEASUREMENT.measure, {}, "never_above", (0.5,), "a paper", None, None, "a.yaml", 7)
    failed = Decision("failed", "interval", "it is above")
    found = verdict_of(
        line, "gate", "r", "k", last, failed, kind="across", result={"points": rows}, others=[("j", first)]
    )
    assert "attack_success_rate on r/step0 = 0.6875 " in found.text()
    assert dict(found.properties())["geoaudit_estimate"] == 0.6875
    passed = dataclasses.replace(found, decision=Decision("passed", "interval", "it is not"))
    assert "attack_success_rate on r/step50 = 0 " in passed.text()


@pytest.mark.parametrize(
    ("comparator", "bound", "shown"),
    [("at_most", (0.05,), 0.05), ("between", (0.1, 0.2), [0.1, 0.2]), ("equals", (1.0,), 1)],
)
def test_bounds_in_the_record(comparator, bound, shown):
    assert verdict(comparator, bound).to_json()["bound"] == shown


def test_the_entry_is_json():
    flagged = dataclasses.replace(MEASUREMENT, flags=(Flag("judge-flip", "stops", "the other judge disagrees"),))
    entry = verdict(measurement=flagged).to_json()
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    assert entry["flags"] == [{"name": "judge-flip", "effect": "stops", "sentence": "the other judge disagrees"}]


def test_a_junit_file_shows_what_there_is_and_no_more():
    shown = dict(verdict().properties())
    assert shown["geoaudit_outcome"] == "failed"
    assert (shown["geoaudit_estimate"], shown["geoaudit_low"], shown["geoaudit_high"]) == (0.25, 0.15, 0.35)
    assert (shown["geoaudit_n"], shown["geoaudit_judge"]) == (64, "refusal")
    assert shown["geoaudit_bound"] == "at_most 0.05"
    assert "geoaudit_flags" not in shown


def test_a_value_of_zero_is_not_dropped_as_missing():
    zero = dataclasses.replace(MEASUREMENT, estimate=0.0, low=0.0, high=0.0)
    shown = dict(verdict(measurement=zero).properties())
    assert (shown["geoaudit_estimate"], shown["geoaudit_low"]) == (0.0, 0.0)
    missing = Measurement("attack_success_rate", "c", {}, "share", why_missing="no")
    assert "geoaudit_estimate" not in dict(verdict(measurement=missing).properties())


def test_the_text_of_a_failure():
    text = verdict().text()
    assert text.startswith("failed: few-succeed on ckpt/step50\n")
    for words in (
        "attack_success_rate = 0.25 (share of prompts), 95 % interval [0.15, 0.35], n = 64, judge refusal",
        "judge refusal (what is not refused: an upper bound)",
        "most in category 'fraud': 9 of 10",
        "because: a paper",
    ):
        assert words in text


def test_the_worst_category_is_told_only_where_hits_are_bad():
    assert "most in category" not in verdict("at_least", (0.5,)).text()
    none = dataclasses.replace(MEASUREMENT, detail={"categories": [{"category": "a", "n": 1, "hits": 0}]})
    assert "most in category" not in verdict(measurement=none).text()


@pytest.mark.parametrize(("low", "high"), [(None, None), (0.1, None), (None, 0.1)])
def test_half_an_interval_is_none(low, high):
    text = verdict(measurement=dataclasses.replace(MEASUREMENT, low=low, high=high)).text()
    assert text.startswith("invalid: ")
    assert "no interval" in text


def test_notes_are_shown_and_a_missing_value_has_no_number():
    noted = dataclasses.replace(MEASUREMENT, flags=(Flag("single-condition", "note", "one template"),))
    assert "single-condition: one template" in verdict(measurement=noted).text()
    missing = Measurement("attack_success_rate", "c", {}, "share", why_missing="weights are NaN")
    text = verdict(measurement=missing).text()
    assert "not measured: weights are NaN" in text
    assert "=" not in text.replace("because", "")
    assert verdict(measurement=dataclasses.replace(MEASUREMENT, estimate=math.nan)).outcome == "invalid"


def test_the_exception_says_the_same():
    error = AuditOutcome(verdict())
    assert str(error) == verdict().text()
    assert error.verdict.outcome == "failed"
    assert error.verdict.by == "interval"
