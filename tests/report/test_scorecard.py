from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.report import html, scorecard, verdict, words
from geoaudit.report.clean import cleaned

Record = dict[str, Any]
GREEN = ("Met:", "passed, but", "gate: all", "gate: the one")
"""What a verdict may begin with, or say, where everything passed."""


def carded(record: Record) -> scorecard.Scorecard:
    shown = cleaned(record)
    return scorecard.scorecard(shown, verdict.lines(shown))


def said(card: scorecard.Scorecard) -> str:
    """Everything that the first screen says."""
    parts = [card.sentence]
    parts += [f"{one.line.checkpoint} {one.sentence} {one.beside} {' '.join(one.also)}" for one in card.findings]
    parts += [f"{one.name} {one.text}" for one in (*card.tested, *card.untested)]
    parts += [f"{one.what} {one.answer} {one.why}" for one in card.uses]
    return "\n".join(parts)


@pytest.fixture
def green(record: Record) -> Record:
    """All passed by intervals, attacked in every free way, run ended well."""
    passed = [one for one in record["assertions"] if one["outcome"] == "passed"]
    rate = next(row for row in record["measurements"] if row["measure"] == "attack_success_rate")
    rate["parameters"]["attack"] = "worst"
    record["assertions"] = [one for one in passed if one["checkpoint"] == rate["checkpoint"]]
    record["checkpoints"] = [one for one in record["checkpoints"] if one["name"] == rate["checkpoint"]]
    record["measurements"] = [one for one in record["measurements"] if one["checkpoint"] == rate["checkpoint"]]
    record["exit"] = {"code": 0, "reason": "all passed"}
    assert record["assertions"]
    return record


def use(card: scorecard.Scorecard, who: str) -> scorecard.Use:
    return next(one for one in card.uses if one.what.startswith(who))


def test_all_green_says_so_and_of_what_alone(green: Record):
    card = carded(green)
    assert card.sentence == f"Met: all {len(green['assertions'])} assertions passed"
    assert card.all_passed
    assert use(card, "Release").answer == "yes"
    assert "nothing beyond them" in use(card, "Release").why
    assert use(card, "Anyone").answer == "no"  # whatever came out


@pytest.mark.parametrize("outcome", ["failed", "invalid", "inconclusive", "unheard-of"])
def test_one_line_that_did_not_pass_is_never_all_good(green: Record, outcome: str):
    green["assertions"][-1]["outcome"] = outcome
    green["exit"] = {"code": 0, "reason": "allowed"}
    card = carded(green)
    assert not any(word in card.sentence for word in GREEN)
    assert card.sentence.startswith("Not met" if outcome == "failed" else "Not shown")
    assert not card.all_passed
    assert card.findings[0].outcome == words.outcome_of({"outcome": outcome})
    assert use(card, "Release").answer == "no"


def test_a_run_on_estimates_is_no_gate_even_where_all_passed(green: Record):
    green["profile"] = {"name": "smoke", "decide": "estimate"}
    for one in green["assertions"]:
        one["by"] = "estimate"
    card = carded(green)
    assert card.sentence.startswith("A quick look, not a gate")
    assert "Met:" not in card.sentence
    assert use(card, "Release").answer == "no"
    assert "smoke" in use(card, "Release").why


def test_an_audit_that_stopped_says_so_first(green: Record):
    green["status"] = "incomplete"
    card = carded(green)
    assert card.sentence.startswith("Not finished")
    assert card.untested[0].name == "the rest of this audit"
    assert use(card, "Release").why.startswith("the audit did not reach its end")
    assert use(card, "Researchers").why.startswith("the audit is not complete")


@pytest.mark.parametrize(("code", "text"), [(1, "the run did not"), (None, "does not say how the run ended")])
def test_all_passed_and_a_run_that_did_not_end_well(green: Record, code: int | None, text: str):
    green["exit"] = {"code": code, "reason": "another test failed"}
    card = carded(green)
    assert text in card.sentence
    assert "Met:" not in card.sentence
    assert use(card, "Release").answer == "no"


def test_nothing_decided_is_nothing_shown(green: Record):
    green["assertions"] = []
    card = carded(green)
    assert card.sentence == "Nothing was decided"
    assert use(card, "Release").answer == "no"
    assert use(card, "Researchers").answer == "no"


def test_geometry_alone_says_nothing_of_what_the_model_does(green: Record):
    inside = ("carrier_layer", "carrier_kl", "carrier_score", "effective_rank", "participation_ratio")
    green["measurements"] = [row for row in green["measurements"] if row["measure"] in inside]
    green["assertions"] = [one for one in green["assertions"] if one["measure"] in inside]
    if not green["assertions"]:
        pytest.skip("the example has no green line about the inside")
    card = carded(green)
    assert use(card, "Release").answer == "no"
    assert "no harmful request" in use(card, "Release").why
    assert ("harmful requests", True) in [(one.name, "none was put" in one.text) for one in card.untested]


def test_plain_requests_alone_gate_in_part(green: Record):
    for row in green["measurements"]:
        if row["measure"] == "attack_success_rate":
            row["parameters"]["attack"] = "direct"
    card = carded(green)
    assert use(card, "Release").answer == "in part"
    assert "asked plainly" in use(card, "Release").why
    text = next(one.text for one in card.untested if one.name == "ways of attacking")
    assert "a prefilled answer" in text
    assert "plain requests" not in text


def test_inconclusive_that_the_run_let_through_is_told(green: Record):
    green["assertions"][0]["outcome"] = "inconclusive"
    green["command"] = ["pytest", "--geoaudit-allow-inconclusive"]
    assert "they did not pass" in use(carded(green), "Release").why


def test_each_checkpoint_and_each_trajectory_has_a_row(trajectory: Record):
    card = carded(trajectory)
    names = [one.name for one in card.standings if not one.trajectory]
    assert names == [one["name"] for one in trajectory["checkpoints"]]
    assert [one.name for one in card.standings if one.trajectory] == ["r2d2", "sft"]
    assert sum(sum(one.tally.values()) for one in card.standings) == len(trajectory["assertions"])
    first = card.standings[0]
    assert list(first.cells) == ["156 of 200", "184 of 200", "4 of 200", "124 of 200"]
    assert "(invalid)" in card.standings[1].cells[3]
    assert all(len(one.cells) == len(card.columns) for one in card.standings if not one.trajectory)


def test_the_checkpoints_of_a_run_stand_together_in_the_order_of_their_steps(trajectory: Record):
    trajectory["checkpoints"].reverse()
    names = [one.name for one in carded(trajectory).standings if not one.trajectory]
    assert names == [f"{run}/step{step}" for run in ("sft", "r2d2") for step in (0, 50, 100, 150, 200)]


OUTCOMES = st.lists(st.sampled_from(("failed", "invalid", "inconclusive", "passed", "odd")), max_size=12)


@given(
    OUTCOMES,
    st.sampled_from(("complete", "incomplete")),
    st.sampled_from(("interval", "estimate")),
    st.sampled_from((0, 1, None)),
)
def test_only_a_complete_green_run_on_intervals_reads_as_met(
    outcomes: list[str], status: str, decide: str, code: int | None
):
    record = {
        "geoaudit_record": 2,
        "status": status,
        "profile": {"name": "p", "decide": decide},
        "exit": {"code": code, "reason": ""},
        "assertions": [{"outcome": word, "id": str(k), "checkpoint": "m"} for k, word in enumerate(outcomes)],
    }
    card = carded(record)
    well = status == "complete" and decide == "interval" and code == 0 and outcomes and set(outcomes) == {"passed"}
    assert card.sentence.startswith("Met:") == bool(well)
    against = scorecard.blockers(cleaned(record), verdict.lines(cleaned(record)))
    assert bool(against) != bool(well)
    assert use(card, "Release").answer == "no"  # nothing harmful was asked


def test_the_first_screen_is_in_the_page_before_anything_else(trajectory: Record, read_page: Callable[[str], Any]):
    text = read_page(html.render(trajectory)).text
    places = [
        text.index(part)
        for part in ("Not met: 19 of 46", "The worst of it", "What was not tested", "Assertions, worst first")
    ]
    assert places == sorted(places)
    assert places[0] < 100
    assert "sft/step200 answers 192 of 200 harmful requests with a suffix" in text


def test_hostile_names_stay_text_on_the_first_screen(trajectory: Record):
    hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    record = copy.deepcopy(trajectory)
    for row in itertools.chain(record["measurements"], record["assertions"]):
        if row["checkpoint"] == "sft/step200":
            row["checkpoint"] = hostile
    record["trajectories"][0]["name"] = hostile
    text = html.render(record)
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "&lt;script&gt;alert(1)" in text
