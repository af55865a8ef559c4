from __future__ import annotations

from typing import Any

import pytest

from geoaudit.attacks.cases import ADAPTIVE
from geoaudit.measures.asking import KEYS
from geoaudit.prompts.sources import names
from geoaudit.report import coverage, plainly
from geoaudit.report.clean import cleaned

Record = dict[str, Any]


def items(record: Record) -> dict[str, str]:
    """What was not tested: name -> text."""
    return {one.name: one.text for one in coverage.untested(cleaned(record))}


def only(record: Record, *measures: str) -> Record:
    record["measurements"] = [row for row in record["measurements"] if row["measure"] in measures]
    return record


def test_every_prompt_set_and_every_attack_has_words():
    assert set(plainly.SOURCES) == {one.name for one in names()}
    assert set(plainly.ATTACKS) == set(plainly.BRIEFLY) == set(KEYS) - {"worst"}
    assert set(plainly.FREE) == set(KEYS) - {"direct", "fixed", "worst"} - ADAPTIVE
    for one in names():
        assert plainly.harmful({"parameters": {"source": one.name}}) == (one.label == "harmful"), one.name


def test_what_was_asked_is_said_once_with_its_n_and_judge(trajectory: Record):
    texts = [one.text for one in coverage.tested(cleaned(trajectory))]
    assert "200 harmful requests asked plainly, judge refusal" in texts
    assert len(texts) == len(set(texts))
    assert "10: r2d2 (5 checkpoints, steps 0 to 200) and sft (5 checkpoints, steps 0 to 200)" in texts


def test_what_was_not_asked_of_every_checkpoint_says_of_which_it_was_not(trajectory: Record):
    for row in trajectory["measurements"]:
        if row["measure"] == "attack_success_rate" and row["checkpoint"] == "sft/step50":
            row["estimate"] = None
    tested = " ".join(one.text for one in coverage.tested(cleaned(trajectory)))
    assert "asked plainly, judge refusal (not of sft/step50)" in tested
    assert items(trajectory)["harmful requests"] == "not put to sft/step50"


def test_an_attack_counts_only_where_it_was_measured(trajectory: Record):
    assert "optimised suffixes" not in items(trajectory)["ways of attacking"]
    for row in trajectory["measurements"]:
        if row["parameters"].get("attack") == "gcg":
            row["estimate"] = None
    assert "optimised suffixes" in items(trajectory)["ways of attacking"]


def test_an_attack_on_some_checkpoints_is_no_attack_on_all(trajectory: Record):
    for row in trajectory["measurements"]:
        if row["parameters"].get("attack") == "gcg" and row["checkpoint"].startswith("sft"):
            row["estimate"] = None
    assert items(trajectory)[""] == "optimised suffixes (GCG): tried on some checkpoints only"
    assert coverage.ways(cleaned(trajectory)) == {"direct"}


def test_text_made_elsewhere_is_no_attack_on_the_checkpoint(trajectory: Record):
    for row in trajectory["measurements"]:
        if row["parameters"].get("attack") == "gcg":
            row["measure"] = "transfer_asr"
    assert "optimised suffixes" in items(trajectory)["ways of attacking"]


def test_worst_stands_for_the_ways_that_cost_nothing(trajectory: Record):
    for row in trajectory["measurements"]:
        if row["parameters"].get("attack") == "gcg":
            row["parameters"]["attack"] = "worst"
    text = items(trajectory)["ways of attacking"]
    assert text == "stored attack prompts, optimised suffixes (GCG), optimised prompts (AutoDAN): none tried"
    assert "conditions" not in items(trajectory)


@pytest.mark.parametrize(
    ("measure", "name"),
    [
        ("over_refusal_rate", "safe requests"),
        ("benign_utility", "usefulness"),
        ("attack_success_rate", "harmful requests"),
    ],
)
def test_what_the_model_does_and_nobody_measured_is_listed(trajectory: Record, measure: str, name: str):
    assert name not in items(trajectory)
    trajectory["measurements"] = [row for row in trajectory["measurements"] if row["measure"] != measure]
    assert name in items(trajectory)


def test_a_judge_of_refusals_says_nothing_of_harm(trajectory: Record):
    assert "upper bounds" in items(trajectory)["harm"]
    for row in trajectory["measurements"]:
        row["judge"] = "harmbench" if row["judge"] else ""
    assert "harm" not in items(trajectory)


def test_several_judges_are_told_from_one(trajectory: Record):
    assert "judges" in items(trajectory)
    trajectory["measurements"][0]["detail"]["judges"] = [{"judge": "refusal"}, {"judge": "harmbench"}]
    assert "judges" not in items(trajectory)


def test_invalid_lines_are_counted_by_whether_there_is_a_number(trajectory: Record):
    assert (
        items(trajectory)["what came out invalid"]
        == "2 assertions: 1 has a number that must not be trusted and 1 on changes or whole runs could not be decided"
    )
    trajectory["measurements"] = [row for row in trajectory["measurements"] if row["measure"] != "benign_utility"]
    assert "1 could not be measured and 1 on changes" in items(trajectory)["what came out invalid"]


def test_languages_are_known_only_of_known_prompts(trajectory: Record):
    assert items(trajectory)["other languages"] == "every prompt set used is in English"
    trajectory["measurements"][0]["parameters"]["source"] = "mine.csv"
    assert "does not say in which languages the prompts of mine.csv are" in items(trajectory)["other languages"]


def test_no_comparison_is_listed_and_a_missing_noise_floor_too(trajectory: Record):
    assert not {"changes", "noise"} & set(items(trajectory))
    for one in trajectory["assertions"]:
        if one["kind"] == "change":
            one["result"]["noise"] = None
    assert "noise" in items(trajectory)
    trajectory["assertions"] = [one for one in trajectory["assertions"] if one["kind"] == "bound"]
    assert "changes" in items(trajectory)


def test_a_baseline_is_no_checkpoint_of_the_audit(trajectory: Record):
    said = " ".join(
        one.text for one in (*coverage.tested(cleaned(trajectory)), *coverage.untested(cleaned(trajectory)))
    )
    assert "baseline:" not in said
    assert "old-release" not in said
    trajectory["measurements"][-1]["parameters"]["attack"] = "prefill"  # asked of the baseline alone
    assert trajectory["measurements"][-1]["checkpoint"].startswith("baseline:")
    assert "a prefilled answer" in items(trajectory)["ways of attacking"]
    assert not any("put into its mouth" in one.text for one in coverage.tested(cleaned(trajectory)))


def test_conversations_are_never_claimed():
    assert "several turns" in items({"geoaudit_record": 2})["never tested here"]
