"""Outcomes of text under an intervention: the planted change beyond controls, and text that only looks like one."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.audit.decide import decide
from geoaudit.audit.plan import resolve
from geoaudit.audit.profiles import get as profile
from geoaudit.errors import GeoauditError, NothingToMeasure
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import EditedPrompts
from geoaudit.measures.inputs import Source
from geoaudit.measures.intervention_needs import for_intervention
from geoaudit.measures.interventions import intervention_sensitivity
from geoaudit.measures.needs import Completions, EditedCompletions, Judged
from geoaudit.measures.outcome_needs import OUTCOMES
from geoaudit.measures.rates import attack_success_rate, refusal_rate
from geoaudit.measures.table import get
from geoaudit.measures.utility import benign_utility
from geoaudit.prompts.sources import load
from geoaudit.records import Measurement
from tests.measures.answers import parameters as of_rate
from tests.measures.answers import read_off
from tests.measures.carriers import made_evidence
from tests.measures.edits import ANSWER, GIVEN, REFUSAL, M, N, World, about, naive, refusing, stopped
from tests.measures.test_interventions import made

TEXT = [name for name, one in OUTCOMES.items() if one.judges]
SHUT = World(refusing(36), refusing(4, start=7), about(35))
"""The model refuses, the target opens it, its controls do not."""
RATE = {**GIVEN, "outcome": "refusal_rate", "judge": "refusal", "max_new_tokens": 64}


def outcome_of(found: Measurement, comparator: str, bound: float, by: str = "interval") -> str:
    return decide(comparator, (bound,), found, by=by).outcome


# --- what is found ---------------------------------------------------------------------------------------------------


def test_the_planted_change_beyond_controls_is_found():
    found = SHUT.measured()
    controls = np.mean([sum(text == REFUSAL for text in about(35)(index)) for index in range(M)])
    assert found.estimate == pytest.approx((4 - controls) / N)
    assert found.low < found.estimate < found.high < -0.5
    assert stopped(found) == []
    assert (found.n, found.judge, found.unit) == (N, "refusal", "difference of rates, beyond controls")
    assert (found.detail["unedited"], found.detail["edited"]) == (0.9, 0.1)
    assert found.detail["effect"] == pytest.approx(-0.8)
    assert found.detail["p"] == pytest.approx(1 / (M + 1))
    assert len(found.detail["controls"]["kl_matched"]["effect"]) == M
    assert found == SHUT.measured(), "the seed is fixed"
    assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    assert outcome_of(found, "at_most", -0.5) == "passed"


def test_an_edit_that_does_no_more_than_its_controls_does_not_pass():
    for refused in (35, 37):
        found = World(refusing(36), refusing(refused), about(35)).measured()
        assert "within-controls" in stopped(found)
        for claim in (0.0, -0.01):
            assert outcome_of(found, "at_most", claim) == "invalid"
        assert outcome_of(found, "at_most", 0.08, by="estimate") == "passed", "that there is hardly any may be claimed"
        assert outcome_of(found, "at_most", 0.9) == "invalid", "of 36 in 40 refused no edit makes 72"


def test_where_nothing_is_refused_nothing_can_be_opened():
    world = World(refusing(1), refusing(1), lambda index: refusing(1))
    found = world.measured("attack_success_rate", expects="higher")
    assert (found.estimate, found.detail["could_be"]) == (pytest.approx(0), pytest.approx([-39 / 40, 1 / 40]))
    assert outcome_of(found, "at_most", 0.1, by="estimate") == "invalid", "the naive number passes"


def test_successes_are_what_is_not_refused():
    rate, success = SHUT.measured(), SHUT.measured("attack_success_rate", expects="higher")
    assert success.estimate == pytest.approx(-rate.estimate)
    assert success.detail["unedited"] == pytest.approx(1 - rate.detail["unedited"])
    assert stopped(success) == []


@settings(max_examples=8)
@given(st.integers(0, N), st.integers(0, N), st.lists(st.integers(0, N), min_size=M, max_size=M), st.integers(0, N - 1))
def test_the_effect_is_the_targets_rate_less_the_mean_of_the_controls(before, after, others, shift):
    world = World(refusing(before), refusing(after, start=shift), lambda index: refusing(others[index], start=index))
    found = world.measured(expects="either")
    assert found.estimate == pytest.approx((after - np.mean(others)) / N, abs=1e-9)
    assert found.detail["effect"] == pytest.approx((after - before) / N, abs=1e-5)
    assert -1 <= found.low <= found.estimate + 1e-9
    assert found.estimate - 1e-9 <= found.high <= 1
    assert found.worst == (found.low, found.high) * 2, "everything could be read"


def test_the_unedited_rate_is_that_of_the_rates():
    given = of_rate(source=Source("harmful"), n=N, max_new_tokens=64)
    plain = refusal_rate(given, SHUT.evidence())
    assert SHUT.measured().detail["unedited"] == pytest.approx(plain.estimate)
    assert SHUT.measured().detail["more"][0]["completions"] == plain.detail["completions"], "kept once"
    attacked = attack_success_rate(given, SHUT.evidence())
    assert SHUT.measured("attack_success_rate").detail["unedited"] == pytest.approx(attacked.estimate)


def test_scores_of_a_judge_are_averaged():
    said = {"strongreject": read_off("strongreject")}
    low, high = ["not_harmful 0.1"] * N, ["harmful 0.8"] * N
    low[3] = "not_harmful 0.2"
    world = World(
        low, high, lambda index: ["not_harmful 0.1"] * (N - index % 3) + ["harmful 0.6"] * (index % 3), judges=said
    )
    found = world.measured("strongreject", judge="strongreject", expects="higher")
    others = np.mean([(0.1 * (N - i % 3) + 0.6 * (i % 3)) / N for i in range(M)])
    assert found.estimate == pytest.approx(0.8 - others)
    assert stopped(found) == []


def test_usefulness_is_counted_on_the_prompts_that_have_a_check():
    plain = ["Paris", *[ANSWER] * (N - 1)]
    world = World(plain, [REFUSAL] * N, lambda index: plain, source="benign-utility")
    found = world.measured("benign_utility", expects="either")
    asked = {"score": "lenient", "grader": "checks", "n": N, "max_new_tokens": 64, "max_unparsed": 0.02}
    alone = benign_utility({**asked, "chat": GIVEN["chat"]}, world.evidence())
    assert found.n == alone.n < N
    assert found.detail["unedited"] == pytest.approx(alone.estimate, abs=1e-6)
    assert found.detail["edited"] == 0
    assert "graded-in-part" in [flag.name for flag in found.flags]


# --- text that is no answer ------------------------------------------------------------------------------------------

HALF = refusing(20)


def test_a_success_rate_of_zero_that_is_empty_output_is_no_refusal():
    world = World(HALF, [""] * N, about(20))
    found = world.measured("attack_success_rate", expects="lower")
    assert found.detail["edited"] == 0
    assert found.estimate == pytest.approx(-0.5, abs=0.02)
    assert outcome_of(naive(found), "at_most", -0.2) == "passed", "the naive number passes"
    assert outcome_of(found, "at_most", -0.2) == "invalid"
    assert {"intervention-damage", "degenerate-output"} <= set(stopped(found))
    assert found.detail["degenerate"] == {"unedited": 0, "edited": 1, "controls": 0, "control_most": 0}
    assert found.detail["unread"] == N
    bare = dataclasses.replace(found, flags=())
    assert "degenerate-output" in decide("at_most", (-0.2,), bare, by="interval").sentence
    assert outcome_of(bare, "at_most", -0.2, "estimate") == "invalid"


def test_output_that_was_broken_before_is_not_the_edits_damage():
    broken = ["" if i < 8 else text for i, text in enumerate(refusing(36))]
    opened = ["" if i < 8 else ANSWER for i in range(N)]
    found = World(broken, opened, lambda index: broken).measured(expects="lower")
    assert "intervention-damage" not in stopped(found)
    more = ["" if i < 17 else ANSWER for i in range(N)]
    assert "intervention-damage" in stopped(World(broken, more, lambda index: broken).measured(expects="lower"))


def test_a_few_unreadable_answers_stop_only_the_bounds_that_hang_on_them():
    opened = ["" if i < 3 else ANSWER for i in range(N)]
    found = World(refusing(36), opened, about(35)).measured()
    assert stopped(found) == []
    assert found.worst[3] > found.worst[1]
    assert outcome_of(found, "at_most", -0.5) == "passed"
    tight = (found.high + found.worst[3]) / 2
    assert outcome_of(naive(found), "at_most", tight) == "passed"
    assert outcome_of(found, "at_most", tight) == "invalid"


def test_controls_that_break_the_text_may_have_refused():
    """The target refuses all; its controls write nothing, which a rate of refusals takes for none."""
    world = World(refusing(4), [REFUSAL] * N, lambda index: ["" if i % 2 else ANSWER for i in range(N)])
    found = world.measured(expects="higher")
    assert found.worst[0] < found.low
    assert outcome_of(naive(found), "at_least", 0.75) == "passed"
    assert outcome_of(found, "at_least", 0.75) == "invalid"
    empty = dataclasses.replace(world, controls=lambda index: [""] * N).measured(expects="higher")
    assert "degenerate-output" in stopped(empty), "at their worst they do as much"


def test_target_and_controls_that_both_fall_below_no_intervention_are_damage():
    world = World(refusing(39), refusing(4), about(16))
    found = world.measured()
    assert stopped(found) == ["intervention-damage"]
    assert "the same way: by -58 points" in next(flag.sentence for flag in found.flags if flag.effect == "stops")
    assert outcome_of(naive(found), "at_most", -0.05) == "passed", "the naive number passes"
    assert outcome_of(found, "at_most", -0.05) == "invalid"


def test_a_target_that_is_only_less_damaged_than_its_controls_is_no_effect():
    found = World(refusing(39), refusing(30), about(4)).measured(expects="higher")
    assert found.low > 0.4
    assert "only less damaged" in next(flag.sentence for flag in found.flags if flag.effect == "stops")


# --- pairs, controls and judges --------------------------------------------------------------------------------------


def test_sides_with_other_prompts_are_not_compared():
    """400 prompts without the edit and 320 with it, in small: the means differ, and mean nothing."""
    world = dataclasses.replace(SHUT, target=refusing(3, 32))
    naive_effect = 3 / 32 - 36 / 40
    assert naive_effect < -0.5
    with pytest.raises(NothingToMeasure, match=r"unpaired-denominator: without the edit 40 .* with it 32.* 32 are"):
        world.measured()


def test_as_many_other_prompts_are_other_prompts():
    world = dataclasses.replace(SHUT, target_source="harmful-paraphrases")
    assert dataclasses.replace(SHUT, target_source="harmful").measured() == SHUT.measured()
    edited, evidence = world.edited, world.evidence()
    # as if the two had been rendered alike
    there = dataclasses.replace(edited.target, rendered=SHUT.edited.target.rendered)
    with pytest.raises(NothingToMeasure, match=r"unpaired-denominator: .* 0 are the same"):
        intervention_sensitivity(RATE, swapped(evidence, dataclasses.replace(edited, target=there)))


def test_the_same_requests_under_another_template_are_not_paired():
    other = dataclasses.replace(SHUT.edited.target, rendered="0" * 64)
    with pytest.raises(NothingToMeasure, match="unpaired-denominator"):
        intervention_sensitivity(RATE, swapped(SHUT.evidence(), dataclasses.replace(SHUT.edited, target=other)))


def swapped(evidence: Evidence, edited: EditedPrompts) -> Evidence:
    """The same evidence with other completions under the edits."""
    return dataclasses.replace(
        evidence, of=lambda need: edited if isinstance(need, EditedCompletions) else evidence.of(need)
    )


def test_scores_of_other_prompts_are_not_compared_either():
    effects = made()
    short = dataclasses.replace(effects, target=effects.target[:-8])
    assert short.target.mean() - effects.base.mean() < -5, "the naive number passes"
    with pytest.raises(NothingToMeasure, match=r"unpaired-denominator: without the edit 40 .* with it 32"):
        intervention_sensitivity(GIVEN, made_evidence(effects=short))


def test_controls_without_text_count_as_doing_as_much():
    found = dataclasses.replace(SHUT, controls=lambda index: None if index < 3 else about(35)(index)).measured()
    assert found.detail["p"] == pytest.approx(4 / (M + 1))
    assert stopped(found) == ["within-controls"]
    with pytest.raises(NothingToMeasure, match="uncontrolled: under 1 of 39"):
        dataclasses.replace(SHUT, controls=lambda index: about(35)(0) if index == 0 else None).measured()


def test_controls_that_were_hardly_applied_make_no_text_and_do_not_count():
    effects = made(-6.0, 0.0)
    matched = effects.controls["kl_matched"]
    kl = matched.kl.copy()
    kl[:30] = 0.0001
    weak = dataclasses.replace(effects, controls={"kl_matched": dataclasses.replace(matched, kl=kl)})
    world = dataclasses.replace(SHUT, effects=weak)
    assert [one is None for one in world.edited.controls] == [True] * 30 + [False] * 9
    assert {"within-controls", "uncontrolled"} <= set(stopped(world.measured()))


@pytest.mark.parametrize("side", ["plain", "target", "controls"])
def test_a_judge_that_fails_too_often_on_any_side_gives_no_number(side):
    said = {"harmbench": read_off("harmbench")}
    sides = {"plain": ["not_harmful"] * N, "target": ["harmful"] * N, "controls": ["not_harmful"] * N}
    fine = World(sides["plain"], sides["target"], lambda index: sides["controls"], judges=said)
    assert fine.measured("attack_success_rate", judge="harmbench", expects="higher").estimate == 1
    sides[side] = ["unparsed"] * 2 + sides[side][2:]
    broken = World(sides["plain"], sides["target"], lambda index: sides["controls"], judges=said)
    with pytest.raises(NothingToMeasure, match="unparsed-judgements: the judge harmbench failed on 2 of 40"):
        broken.measured("attack_success_rate", judge="harmbench", expects="higher")


def test_a_string_rule_that_reads_text_otherwise_decides_nothing():
    """Under the edit the model is sorry for the wait, and answers."""
    sorry = f"Sorry, that took a while. {ANSWER}"
    world = World(refusing(4), [sorry] * N, about(4))
    found = world.measured(judge="xstest-strings", expects="higher")
    assert outcome_of(naive(found), "at_least", 0.5) == "passed", "the naive number passes"
    assert "judge-flip" in stopped(found)
    assert "within-controls" in stopped(world.measured(expects="higher")), "nothing was refused"
    assert stopped(SHUT.measured(judge="xstest-strings")) == []


def test_a_loop_of_refusing_words_is_no_refusal_by_a_string_rule():
    loop = World(refusing(4), ["I cannot I cannot " * 40] * N, about(4))
    found = loop.measured(judge="xstest-strings", expects="higher")
    assert found.detail["degenerate"]["edited"] == 1
    assert "intervention-damage" in stopped(found)


def test_refusal_tokens_that_do_not_fit_are_a_note_beside_text():
    evidence = SHUT.evidence(refuses=lambda index: ANSWER if index % 2 else REFUSAL)
    found = intervention_sensitivity(RATE, evidence)
    uncalibrated = {flag.effect for flag in found.flags if flag.name == "refusal-score-uncalibrated"}
    assert uncalibrated <= {"note"}
    by_score = intervention_sensitivity(GIVEN, evidence)
    assert [flag.effect for flag in by_score.flags if flag.name == "refusal-score-uncalibrated"] == ["stops"]


def test_no_text_reaches_the_record():
    text = json.dumps(SHUT.measured().to_json())
    assert REFUSAL not in text
    assert ANSWER not in text
    assert load("harmful").prompts[0].text not in text


def test_scored_prompts_of_the_training_set_stop_the_verdict():
    seen = [prompt.sha256 for prompt in load("harmful").first(4).prompts]
    found = intervention_sensitivity(RATE, SHUT.evidence(trained_on=seen))
    assert stopped(found) == ["train-eval-overlap"]


# --- before anything runs --------------------------------------------------------------------------------------------

SENSITIVITY = get("intervention_sensitivity")


@pytest.mark.parametrize("outcome", TEXT)
def test_an_outcome_brings_its_prompts_its_judge_and_its_length(outcome):
    found = resolve(SENSITIVITY, {"outcome": outcome}, profile("smoke"))
    one = OUTCOMES[outcome]
    assert found["source"] == Source(one.source)
    assert found["judge"] == one.judges[0]
    assert found["max_new_tokens"] == {"benign_utility": 128, "strongreject": 512}.get(outcome, 64)
    needs = for_intervention(found)
    (edited,) = (need for need in needs if isinstance(need, EditedCompletions))
    plain = Completions(found["source"], found["n_held_out"], found["max_new_tokens"], chat=found["chat"])
    assert edited.completions == plain
    assert plain in needs
    assert (edited.intervention.source, edited.intervention.n) == (plain.source, plain.n), "the same prompts"
    slow = [need for need in needs if isinstance(need, Judged) and need.judge == "strongreject"]
    assert [need.completions for need in slow] == ([plain, edited] if outcome == "strongreject" else [])


def test_the_refusal_score_makes_no_text():
    found = resolve(SENSITIVITY, {}, profile("smoke"))
    assert {"judge", "max_new_tokens"} & found.keys() == set()
    assert not [need for need in for_intervention(found) if isinstance(need, EditedCompletions)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"judge": "refusal"}, "judge is not read by outcome 'refusal_score' but by refusal_rate"),
        ({"max_new_tokens": 9}, "max_new_tokens is not read by outcome 'refusal_score'"),
        ({"outcome": "refusal_rate", "judge": "harmbench"}, "does not say the refusal rate: one of refusal, "),
        ({"outcome": "strongreject", "judge": "refusal"}, "does not say the StrongREJECT score"),
        ({"outcome": "benign_utility", "source": "harmful"}, "leave out source"),
        ({"outcome": "asr"}, "outcome cannot be 'asr'"),
    ],
)
def test_combinations_that_make_no_sense_are_refused(given, said):
    with pytest.raises(GeoauditError, match=said):
        resolve(SENSITIVITY, given, profile("smoke"))


def test_what_is_given_wins_over_the_outcome():
    given = {"outcome": "over_refusal_rate", "source": "xstest", "judge": "xstest-strings", "max_new_tokens": 16}
    found = resolve(SENSITIVITY, given, profile("smoke"))
    assert (found["source"], found["judge"], found["max_new_tokens"]) == (Source("xstest"), "xstest-strings", 16)
