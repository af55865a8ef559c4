"""Which checkpoints are audited, what they are called, and which lines of a suite concern them."""

from __future__ import annotations

import pytest

from tests.plugin.project import COMPLIES, REFUSES, XDIST, Project, output


def run(project: Project, *args: str, model: str | tuple[str, ...]) -> pytest.RunResult:
    return project.run_apart(*args, model=model) if "-n" in args else project.run(*args, model=model)


def test_two_checkpoints_with_their_ids(project: Project) -> None:
    project.suite(REFUSES)
    result = project.run("-v", model=("ckpt/step50", "ckpt/step100"))
    assert project.outcomes() == {"refuses ckpt/step50": "failed", "refuses ckpt/step100": "passed"}
    result.stdout.fnmatch_lines(
        [
            "geoaudit: ckpt/step50, ckpt/step100 · *",
            "*gate.audit.yaml::refuses?ckpt/step50? FAILED*",
            "*gate.audit.yaml::refuses?ckpt/step100? PASSED*",
        ]
    )


@XDIST
def test_names_of_ones_own(project: Project, args: tuple[str, ...]) -> None:
    project.suite(REFUSES)
    result = run(project, *args, model=("before=ckpt/step50", "after=ckpt/step100"))
    assert project.outcomes() == {"refuses before": "failed", "refuses after": "passed"}
    record = project.record()
    assert [one["name"] for one in record["checkpoints"]] == ["before", "after"]
    assert "ckpt/step50" not in output(result)


def test_one_checkpoint_under_two_names_is_measured_once(project: Project) -> None:
    """The store knows a checkpoint by its content: names and paths are for people."""
    fresh = project.path / "store"
    project.suite(REFUSES)
    project.link(project.path / "ckpt/step100", "copy/final")
    result = project.run(f"--geoaudit-store={fresh}", model=("ckpt/step100", "copy/final"))
    assert project.outcomes() == {"refuses ckpt/step100": "passed", "refuses copy/final": "passed"}
    assert output(result).count(": loading") == 1
    ids = {one["id"] for one in project.record()["checkpoints"]}
    assert len(ids) == 1


def test_a_glob_is_all_that_it_matches_in_the_order_of_steps(project: Project) -> None:
    project.suite(REFUSES)
    result = project.run(model="ckpt/step*")
    assert project.outcomes() == {"refuses ckpt/step50": "failed", "refuses ckpt/step100": "passed"}
    result.stdout.fnmatch_lines(["geoaudit: ckpt/step50, ckpt/step100 · *"])


def test_a_named_glob(project: Project) -> None:
    project.suite(REFUSES)
    project.run(model="tuned=ckpt/step*")
    assert project.outcomes() == {"refuses tuned/step50": "failed", "refuses tuned/step100": "passed"}


@XDIST
def test_lines_for_some_checkpoints_and_steps(project: Project, args: tuple[str, ...]) -> None:
    project.suite(
        {**REFUSES, "id": "late", "steps": [100, 250]},
        {**REFUSES, "id": "early", "steps": [50]},
        {**COMPLIES, "id": "ckpts", "checkpoints": "ckpt/*"},
        {**REFUSES, "id": "ends-in-0", "checkpoints": "*0", "steps": [100]},
        {**REFUSES, "id": "others", "checkpoints": "r2d2/*", "steps": [100]},
    )
    result = run(project, "-rs", *args, model="ckpt/step*")
    assert project.outcomes() == {
        "late ckpt/step100": "passed",
        "early ckpt/step50": "failed",
        "ckpts ckpt/step50": "passed",
        "ckpts ckpt/step100": "failed",
        "ends-in-0 ckpt/step100": "passed",
    }
    result.stdout.fnmatch_lines(
        ["SKIPPED [[]1[]] assertions/gate.audit.yaml:8: concerns r2d2/* and steps 100; no audited checkpoint matches"]
    )
    assert project.record()["status"] == "complete"


def test_a_suite_that_concerns_none_of_them_is_not_green(project: Project) -> None:
    project.suite({**REFUSES, "checkpoints": "r2d2/*"})
    result = project.run()
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "no assertion was decided" in output(result)


def test_a_line_that_concerns_none_is_an_error_where_audits_are_required(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\ngeoaudit_require = true\n")
    project.suite(REFUSES, {**COMPLIES, "checkpoints": "r2d2/*"})
    result = project.run()
    result.assert_outcomes(passed=1, errors=1)
    assert result.ret == 1
    assert "concerns r2d2/*; no audited checkpoint matches (geoaudit_require is set)" in output(result)
