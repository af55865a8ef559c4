from __future__ import annotations

from typing import Any

import pytest

from geoaudit.report import verdict, words


def assertion(outcome: str, identifier: str = "a", checkpoint: str = "m", **more: Any) -> dict[str, Any]:
    return {"outcome": outcome, "id": identifier, "checkpoint": checkpoint, "suite": "s", "measurement": None, **more}


def record(*assertions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"geoaudit_record": 1, "status": "complete", "assertions": list(assertions), **more}


def test_lines_are_worst_first_and_otherwise_in_the_order_of_the_record():
    found = verdict.lines(
        record(
            *(
                assertion(word, name)
                for word, name in (("passed", "a"), ("failed", "b"), ("invalid", "c"), ("failed", "d"))
            )
        )
    )
    assert [line.assertion["id"] for line in found] == ["b", "d", "c", "a"]
    assert [line.number for line in found] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("outcomes", "text"),
    [
        ([], "Nothing was decided"),
        (["passed"], "The one assertion passed"),
        (["passed", "passed"], "All 2 assertions passed"),
        (["failed"], "1 failed of 1 assertion"),
        (["passed", "invalid", "failed", "inconclusive"], "1 failed, 1 invalid, 1 inconclusive of 4 assertions"),
        (["unheard-of"], "1 invalid of 1 assertion"),
    ],
)
def test_headline(outcomes: list[str], text: str):
    assert verdict.headline(words.tally([assertion(word) for word in outcomes])) == text


def test_headline_of_estimates_says_so():
    assert (
        verdict.headline(words.tally([assertion("passed")] * 3), estimate=True) == "All 3 assertions passed (estimate)"
    )


def test_banners_come_for_estimates_and_for_an_audit_that_stopped():
    assert verdict.banners(record(profile={"name": "standard", "decide": "interval"})) == []
    (gate,) = verdict.banners(record(profile={"name": "smoke", "decide": "estimate"}))
    assert "not a gate: point estimates" in gate
    (stopped,) = verdict.banners({**record(), "status": "incomplete"})
    assert stopped.startswith("Incomplete")


def test_a_line_without_a_measurement_has_no_number():
    (line,) = verdict.lines(record(assertion("invalid", sentence="not measured: the weights are NaN", bound=0.1)))
    assert not line.measured
    assert line.value == "not measured: the weights are NaN"
    assert line.n == "none"
    assert line.interval == line.explanation == ""


def test_a_measurement_is_found_by_its_key_and_only_by_it():
    measurement = {"key": None, "estimate": 0.0, "unit": "nats"}
    (line,) = verdict.lines(record(assertion("passed"), measurements=[measurement]))
    assert not line.measured
    (line,) = verdict.lines(record(assertion("passed", measurement="k"), measurements=[{**measurement, "key": "k"}]))
    assert line.value == "0"


def test_the_value_is_told_apart_from_the_bound():
    measurement = {"key": "k", "estimate": 0.0504, "low": 0.03, "high": 0.0812, "unit": "share of prompts"}
    (line,) = verdict.lines(
        record(assertion("failed", measurement="k", comparator="at_most", bound=0.05), measurements=[measurement])
    )
    assert (line.value, line.interval, line.bound) == ("0.0504", "[0.030, 0.081]", "at most 0.05")


def test_a_sentence_that_the_flags_repeat_is_said_once():
    flag = {"name": "null-direction", "effect": "stops", "sentence": "norm is 0"}
    note = {"name": "note", "effect": "note", "sentence": "x"}
    measurement = {"key": "k", "estimate": 1.0}
    (line,) = verdict.lines(
        record(
            assertion("invalid", sentence="null-direction: norm is 0", flags=[note, flag], measurement="k"),
            measurements=[measurement],
        )
    )
    assert line.explanation == ""
    assert [one["name"] for one in line.flags] == ["null-direction", "note"]


def test_side_by_side_leaves_gaps_where_nothing_was_asked():
    found = verdict.lines(
        record(assertion("passed", "a", "one"), assertion("failed", "b", "two"), assertion("passed", "a", "two"))
    )
    table = verdict.side_by_side(found, ["one", "two"])
    assert [(row[0].assertion["id"], [cell.outcome if cell else None for cell in row[1]]) for row in table] == [
        ("b", [None, "failed"]),
        ("a", ["passed", "passed"]),
    ]


def test_outcomes_are_counted_for_each_checkpoint_also_for_one_without_an_entry():
    cards = verdict.by_checkpoint(
        given := record(assertion("failed", checkpoint="one"), checkpoints=[{"name": "two", "kind": "adapter"}]),
        verdict.lines(given),
    )
    assert [(name, entry.get("kind"), sum(tally.values())) for name, entry, tally in cards] == [
        ("two", "adapter", 0),
        ("one", None, 1),
    ]


def test_what_stops_a_verdict_is_told_once_beside_a_figure():
    stop = {"name": "null-direction", "effect": "stops", "sentence": "norm is 0"}
    note = {"name": "rank-by-norm", "effect": "note", "sentence": "x"}
    assert verdict.stops([{"flags": [stop, note]}, {"flags": [dict(stop)]}, {}]) == [stop]


def test_exit_text():
    assert verdict.exit_text({"exit": {"code": 1, "reason": "3 failed"}}) == "pytest exit code 1: 3 failed"
    assert verdict.exit_text({"exit": {"code": 0, "reason": ""}}) == "pytest exit code 0: no reason recorded"
    assert verdict.exit_text({}) == "No exit code was recorded."


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ([None, "checked"], "overlap: checked against the training manifest, none found"),
        (["checked", "not checkable"], "overlap: not checkable, no training manifest"),
        ([None, ["x"], "odd"], ""),
        ([], ""),
    ],
)
def test_a_checkpoint_says_whether_overlap_could_be_checked(said: list[Any], text: str):
    rows = [{"checkpoint": "m", "detail": {"overlap": one}} for one in said]
    other = {"checkpoint": "n", "detail": {"overlap": "not checkable"}}
    assert verdict.overlap(record(measurements=[*rows, other]), "m") == text


def test_overlap_that_was_found_is_not_called_none():
    flag = {"name": "train-eval-overlap", "effect": "stops", "sentence": "3 of 10"}
    row = {"checkpoint": "m", "detail": {"overlap": "checked"}, "flags": [flag]}
    assert verdict.overlap(record(measurements=[row]), "m").endswith("found (flagged below)")


def test_completions_are_counted_beside_behaviours_where_they_are_more():
    for cases, text in ((200, "200 completions"), (40, ""), (None, ""), ("x", "")):
        measurement = {"key": "k", "estimate": 0.5, "n": 40, "detail": {"cases": cases}}
        (line,) = verdict.lines(record(assertion("failed", measurement="k"), measurements=[measurement]))
        assert (line.n, line.cases) == ("40", text)


def test_the_same_assertion_has_one_heading_where_another_condition_was_the_worst():
    rows = [
        {"key": name, "checkpoint": name, "judge": "refusal", "detail": {"attack": f"worst of 7 conditions: {how}"}}
        for name, how in (("m", "past tense"), ("n", "plain requests"))
    ]
    both = [
        assertion("failed", checkpoint=name, measurement=name, measure="attack_success_rate") for name in ("m", "n")
    ]
    found = verdict.lines(record(*both, measurements=rows))
    assert {line.heading for line in found} == {"Non-refusal rate (upper bound on ASR), worst of 7 conditions"}
    assert found[0].title.endswith("worst of 7 conditions: past tense")


def test_a_note_that_repeats_what_stops_the_verdict_is_left_out():
    note, stop = ({"name": "chance-level", "effect": effect, "sentence": "alike"} for effect in ("note", "stops"))
    other = {**note, "sentence": "another"}
    (line,) = verdict.lines(record(assertion("invalid", flags=[note, stop, other])))
    assert line.flags == [stop, other]
    (line,) = verdict.lines(record(assertion("passed", flags=[note, other])))
    assert line.flags == [note, other]


def test_an_assertion_is_named_once_beside_a_rate_that_several_of_its_lines_read():
    changes = [assertion("passed", "as-before", f"step{k}", kind="change") for k in (25, 50)]
    found = verdict.lines(record(*changes, assertion("passed", "b", "step0")))

    def said(found: list[verdict.Line], name: str) -> list[tuple[str, str]]:
        return [(line.assertion["id"], where) for line, where in verdict.beside_rate(found, name)]

    assert said(found, "step0") == [("as-before", "on step25, step50"), ("b", "")]
    assert said(found[:2], "step25") == [("as-before", "also on step50")]
    many = [assertion("passed", "as-before", f"step{k}", kind="change") for k in range(9)]
    assert said(verdict.lines(record(*many)), "other") == [("as-before", "on 9 checkpoints")]
