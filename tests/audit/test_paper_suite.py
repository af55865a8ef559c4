"""The suite of the papers' claims, decided on the numbers that the papers print: lines about the anchors hold there.

So a bound that was copied wrongly, or a rule that reads a claim the other way round, is found without a trained model.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from geoaudit.audit.across import Point, decide_across
from geoaudit.audit.decide import decide
from geoaudit.audit.suite import read
from tests.audit.test_decide_across import number, place, rate

SUITE = read(Path(__file__).resolve().parents[2] / "assertions" / "paper-r2d2.audit.yaml")
LINES = {line.id: line for line in SUITE.assertions}


ANCHORS = (50, 100, 250, 500)
"""Behind each run's reference, whose number stands first below and which lines without `steps` take along."""


def rates(*shares: float, n: int) -> list:
    return [rate(round(share * n), n) for share in shares]


PRINTED = {
    "r2d2-holds-stored-attacks-until-step-250": rates(0, 0, 0, 0.035, 0.25, n=400),
    "sft-never-holds-stored-attacks": rates(0.64, 0.505, 0.57, 0.5875, 0.5775, n=400),
    "r2d2-refuses-ever-less-of-what-is-safe": rates(1, 1, 1, 0.664, 0.228, n=250),
    "r2d2-becomes-useful-again": rates(0, 0, 0, 0.633, 0.867, n=60),
    "r2d2-is-open-to-fresh-attacks-by-step-250": rates(0, 0, 0, 0.415, 0.613, n=400),
    "r2d2-carrier-moves-from-late-to-early": [place(layer) for layer in (24, 23, 24, 0, 0)],
    "sft-carrier-moves-at-once": [place(layer) for layer in (24, 0, 0, 0, 0)],
    "r2d2-carrier-ceases-to-induce-refusal": [number(v, 0.03) for v in (0.97, 0.97, 0.97, 0.2, 0.2)],
    "r2d2-carrier-always-undoes-refusal": [number(v, 0.05) for v in (0.94, 0.97, 0.87, 0.93, 0.87)],
    "r2d2-field-never-widens": [number(v, 0.05) for v in (1.23, 1.24, 1.24, 1.25, 1.27)],
    "sft-field-never-widens": [number(v, 0.05) for v in (1.23, 1.24, 1.24, 1.25, 1.27)],
    "r2d2-one-component-holds-the-energy": [place(1) for _ in range(5)],
    "sft-one-component-holds-the-energy": [place(1) for _ in range(5)],
    "weak-axes-turn-further-and-further": [number(v, 1.5) for v in (0, 18.18, 22.68, 38.99, 42.55)],
    "the-leading-axis-stays": [number(v, 0.5) for v in (0, 0.38, 0.53, 0.9, 1.01)],
    "sft-coupling-stays-low": [number(v, 0.005) for v in (0.0217, 0.0206, 0.02, 0.0191, 0.019)],
}
STEP_BY_STEP = {"r2d2-first-refuses-nearly-everything": rate(250, 250)}
"""Decided at each checkpoint by itself."""
DENSE = {
    "r2d2-carrier-jumps-between-100-and-250",
    "r2d2-coupling-falls-between-100-and-250",
    "coupling-falls-as-stored-attacks-succeed",
    "coupling-falls-with-over-refusal",
    "coupling-falls-as-the-model-helps-again",
}
"""About the dense run, whose numbers are not printed."""
UNCONTROLLED = {"ablating-the-early-carrier-closes-the-model"}
"""The papers print no controls of it."""


def test_every_line_is_accounted_for():
    assert {*PRINTED, *STEP_BY_STEP, *DENSE, *UNCONTROLLED} == set(LINES)
    assert all("2604.27019" in line.because or "2606.16349" in line.because for line in SUITE.assertions)


@pytest.mark.parametrize("name", PRINTED)
def test_the_printed_numbers_keep_the_claim_and_shuffled_or_turned_ones_do_not_all(name):
    line = LINES[name]
    run = list(zip((30, *ANCHORS), PRINTED[name], strict=True))
    points = [Point(f"r2d2/step{s}", s, "k", one) for s, one in run if line.steps is None or s in line.steps]
    assert line.steps is None or set(line.steps) <= set(ANCHORS)
    decision, _ = decide_across(line, points, by="interval")
    assert decision.outcome == "passed", decision.sentence
    if line.across.needs_steps:
        turned = [replace(one, measurement=other.measurement) for one, other in zip(points, points[::-1], strict=True)]
        assert decide_across(line, turned, by="interval")[0].outcome == "failed"


@pytest.mark.parametrize("name", STEP_BY_STEP)
def test_the_printed_number_keeps_the_bound(name):
    line = LINES[name]
    assert decide(line.comparator, line.bound, STEP_BY_STEP[name], by="interval").outcome == "passed"


@pytest.mark.parametrize("name", sorted(DENSE))
def test_lines_about_the_dense_run_are_not_held_to_the_anchors(name):
    assert LINES[name].steps is None
    assert LINES[name].checkpoints == "r2d2/*"


def test_the_suite_is_about_the_papers_two_runs_and_about_no_other_model():
    for line in SUITE.assertions:
        assert line.concerns("r2d2/step50") != line.concerns("sft/step50") or line.steps is not None
        assert not line.concerns("smollm2-135m")
        assert not line.concerns("ckpt/step50")
        assert not line.concerns("safety-sft/step50")
