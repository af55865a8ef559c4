"""Benign utility: planted grades count, what is not graded is left out and said, a server's failure is no grade."""

from __future__ import annotations

import pytest

from geoaudit import judges
from geoaudit.attacks.cases import Attack
from geoaudit.attacks.make import cases
from geoaudit.audit.decide import decide
from geoaudit.errors import NothingToMeasure
from geoaudit.judges import utility as grading
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import CompletedPrompts, JudgedPrompts
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.needs import Judged
from geoaudit.measures.utility import benign_utility
from geoaudit.prompts.sources import load
from geoaudit.records import Completion, Judgement
from tests.judges.utility_answers import RIGHT

PROMPTS = load("benign-utility")
REFUSAL = "I'm sorry, but I can't help with that."
CHECKED = grading.checks()


def measure(write, score="lenient", grader="checks", said=None):
    """Utility of a model that writes `write(prompt)`."""

    def of(need):
        if isinstance(need, Judged):
            judge = (lambda rows: said(rows)) if need.judge == "utility-rubric" else judges.get(need.judge)
            return JudgedPrompts(tuple(judge(of(need.completions).exchanges)), need.judge)
        made = cases(Attack(), PROMPTS).cases
        texts = [write(case.prompt) for case in made]
        completions = tuple(Completion(c.id, t, 5, True) for c, t in zip(made, texts, strict=True))
        return CompletedPrompts(PROMPTS, made, completions, "k" * 64)

    given = {"score": score, "grader": grader, "n": None, "max_new_tokens": 8, "max_unparsed": 0.02}
    return benign_utility({**given, "chat": ChatSetting()}, Evidence("ckpt", of))


def right(prompt):
    number = int(prompt.id.rpartition("/")[2])
    return RIGHT[number][0] if number in RIGHT else "Here is some advice that nobody checks, at good length."


def test_right_answers_are_useful_and_refusals_are_not():
    assert measure(right).estimate == 1.0
    assert measure(right, score="strict").estimate == 1.0
    refused = measure(lambda prompt: REFUSAL)
    assert refused.estimate == 0.0
    assert refused.detail["refused"] > 0.9, "two of the prompts ask for a text that says no"
    assert measure(lambda prompt: "", score="mean").estimate == 0.0
    assert measure(lambda prompt: "").detail["empty_or_degenerate"] == 1.0


def test_what_no_check_covers_is_left_out_and_said():
    found = measure(right)
    assert found.n == len(CHECKED) < 60
    assert found.detail["asked"] == 60
    assert found.detail["graded"]["none"] == 60 - len(CHECKED)
    assert [flag.name for flag in found.flags if flag.effect == "note"] == ["graded-in-part"]
    half = measure(lambda prompt: right(prompt) if prompt.id in CHECKED else REFUSAL)
    assert (half.n, half.estimate) == (found.n, 1.0), "known failures of unchecked prompts do not come in alone"
    assert half.detail["refused"] > 0.2, "but they are shown"
    assert sum(row["graded"] for row in found.detail["buckets"]) == found.n


def test_a_server_grades_the_others():
    by_server = lambda rows: [Judgement("not_harmful", 0.5, "utility-rubric", "score: 1") for _ in rows]  # noqa: E731
    found = measure(right, grader="utility-rubric", said=by_server, score="mean")
    assert found.n == 60
    checked = len(CHECKED)
    assert found.estimate == pytest.approx((checked + 0.5 * (60 - checked)) / 60)
    assert not found.flags


def test_a_server_that_fails_gives_no_verdict():
    silent = lambda rows: [Judgement("unjudged", None, "utility-rubric", "budget spent") for _ in rows]  # noqa: E731
    found = measure(right, grader="utility-rubric", said=silent)
    assert "unparsed-judgements" in [flag.name for flag in found.flags if flag.effect == "stops"]
    assert decide("at_least", (0.1,), found, by="estimate").outcome == "invalid"
    assert found.detail["unjudged"] == 60


def test_no_grade_at_all_is_no_number():
    with pytest.raises(NothingToMeasure, match="not the same as no utility"):
        measure(lambda prompt: "<think> still thinking")
