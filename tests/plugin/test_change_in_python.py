"""`audit.measure(...).change("baseline")`: as strict as a change line of a suite, and open about what it is not."""

from __future__ import annotations

import pytest

from tests.plugin.project import XDIST, Project, output
from tests.plugin.test_audit_fixture import python

BASELINE = "--geoaudit-baseline=ckpt/step100"
RATE = 'audit.attack_success_rate("harmful", SMALL)'


@XDIST
def test_a_change_is_decided_against_the_baseline(project: Project, args: tuple[str, ...]) -> None:
    python(project, f'assert {RATE}.change("baseline") <= 0.3')
    run = project.run_apart if args else project.run
    result = run(BASELINE, *args, model=("same=ckpt/step100", "ckpt/step50"))
    result.assert_outcomes(passed=1, failed=1)
    name = "test_it: change of attack_success_rate"
    assert project.outcomes() == {f"{name} same": "passed", f"{name} ckpt/step50": "failed"}
    result.stdout.fnmatch_lines(
        [
            "E  *assert <change of attack_success_rate against the baseline +1 [[]+0.*, n=16> <= 0.3*",
            "E  *+1 against the baseline (0 to 1, * lies wholly beyond the margin at most +0.3, *; decided by itself*",
            "E  *attack_success_rate = 1 *n = 16, judge refusal*",
        ]
        if not args
        else ["E  *decided by itself*"]
    )
    found = {one["checkpoint"]: one for one in project.record()["assertions"]}["ckpt/step50"]
    assert (found["kind"], found["comparator"], found["bound"]) == ("change", "change_at_most", 0.3)
    assert found["result"]["lines"] == 1
    assert len(found["others"]) == 1


@pytest.mark.parametrize(
    ("comparison", "checkpoint", "outcome"),
    [
        (".change() >= -0.3", "ckpt/step50", "passed"),
        (".change() > 0.3", "ckpt/step50", "passed"),
        ("not RATE.change() > 0.3", "ckpt/step100", "passed"),
        (".change() <= 0.05", "ckpt/step100", "inconclusive"),
        ("not RATE.change() > 0.05", "ckpt/step100", "inconclusive"),
        ("-0.3 <= RATE.change() <= 0.3", "ckpt/step100", "passed"),
    ],
)
def test_whichever_way_it_is_asked(project: Project, comparison: str, checkpoint: str, outcome: str) -> None:
    text = comparison.replace("RATE", RATE) if "RATE" in comparison else RATE + comparison
    python(project, f"assert {text}")
    result = project.run(BASELINE, model=f"here={checkpoint}")
    assert result.ret == (outcome != "passed"), output(result)
    assert set(project.outcomes().values()) == {outcome}


def test_without_a_baseline_it_is_invalid_and_says_what_makes_one(project: Project) -> None:
    python(project, f"assert {RATE}.change() <= 0.3")
    result = project.run()
    assert result.ret == 1
    assert set(project.outcomes().values()) == {"invalid"}
    assert "no baseline was named" in output(result)
    assert "--geoaudit-baseline=" in output(result)


def test_against_the_reference_which_is_compared_with_nothing(project: Project) -> None:
    python(project, f'assert {RATE}.change("reference") <= 0.3')
    result = project.run("-rs", model=("ckpt/step50", "ckpt/step100"))
    result.assert_outcomes(passed=1, skipped=1)
    assert "ckpt/step50 is itself the reference" in output(result)
    assert project.outcomes() == {"test_it: change of attack_success_rate ckpt/step100": "passed"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'{RATE}.change("main") <= 0.3', "a change is against 'baseline' or 'reference', got 'main'"),
        (f"{RATE}.change() <= 5", "a change of attack_success_rate lies in [-1, 1]"),
        (f"{RATE}.change() <= None", "a bound is a finite number, got None"),
        (f"{RATE}.change() == 0", "a change has an interval and equals nothing"),
        (f"{RATE}.change()", "a change is neither true nor false"),
    ],
)
def test_a_slip_is_an_error_and_no_verdict(project: Project, text: str, words: str) -> None:
    python(project, f"assert {text}")
    result = project.run(BASELINE)
    result.assert_outcomes(failed=1)
    assert words in output(result)
    assert not (project.path / "reports").exists()
