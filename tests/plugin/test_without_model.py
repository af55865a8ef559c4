"""A suite or a test that wants a checkpoint, and none is named: skipped and said, or an error where audits must run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugin.project import COMPLIES, REFUSES, XDIST, Project, output

WHY = "no checkpoint to audit: name one with --geoaudit-model"
PYTHON = """
def test_refuses(audit):
    assert audit.refusal_rate("harmful") >= 0.5
"""


@pytest.fixture
def both_kinds(project: Project) -> Project:
    project.suite(REFUSES, COMPLIES)
    project.write("assertions/test_refusal.py", PYTHON)
    return project


@XDIST
def test_skips_with_the_reason_at_the_line_of_the_suite(both_kinds: Project, args: tuple[str, ...]) -> None:
    run = both_kinds.run_apart if args else both_kinds.run
    result = run("-rs", *args, "assertions", model=None)
    result.assert_outcomes(skipped=3)
    assert result.ret == 0
    for line in (4, 5):
        result.stdout.fnmatch_lines([f"SKIPPED [[]1[]] assertions/gate.audit.yaml:{line}: {WHY}"])
    result.stdout.fnmatch_lines([f"SKIPPED [[]1[]] *: {WHY}"])
    assert "geoaudit:" not in output(result)
    assert not (both_kinds.path / "reports").exists()


def test_is_an_error_where_audits_are_required(both_kinds: Project) -> None:
    both_kinds.write("pytest.ini", "[pytest]\ngeoaudit_require = true\n")
    result = both_kinds.run("assertions", model=None)
    result.assert_outcomes(errors=3)
    assert result.ret == 1
    assert output(result).count(f"{WHY} (geoaudit_require is set)") >= 3
    assert "Traceback" not in output(result)


def test_checking_a_suite_needs_no_checkpoint(project: Project) -> None:
    suite = project.suite(REFUSES)
    result = project.run("--collect-only", "-q", suite, model=None)
    result.stdout.fnmatch_lines(["assertions/gate.audit.yaml::refuses"])
    assert result.ret == 0


def test_suites_are_not_picked_up_by_a_run_of_the_unit_tests(project: Project) -> None:
    project.suite(REFUSES)
    project.write("tests/test_unit.py", "def test_unit():\n    pass\n")
    result = project.run("tests", model=None)
    result.assert_outcomes(passed=1)
    assert Path("assertions").is_dir()
