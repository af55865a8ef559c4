"""What is run: the suites and not the unit tests, the named suites, and never nothing with a green exit."""

from __future__ import annotations

import pytest

from tests.plugin.project import COMPLIES, PLAIN, REFUSES, UNSURE, XDIST, Project, line, output

NOTHING = "an audit was asked for and no assertion was decided"
TESTPATHS = "[pytest]\ntestpaths = tests\n"
UNIT_TEST = """
from pathlib import Path

def test_unit():
    Path("unit-test-ran").touch()
"""


NEVER = line("complies", "attack_success_rate", at_most=0.5)


@pytest.fixture
def with_unit_tests(project: Project) -> Project:
    project.suite(REFUSES)
    project.write("tests/test_unit.py", UNIT_TEST)
    return project


def run(project: Project, *args: str, apart: tuple[str, ...] = ()) -> pytest.RunResult:
    return project.run_apart(*apart, *args) if apart else project.run(*args)


def unit_tests_ran(project: Project) -> bool:
    return (project.path / "unit-test-ran").exists()


@pytest.mark.parametrize(
    ("args", "ini"),
    [
        ((), ""),
        ((), TESTPATHS),
        pytest.param(("-n", "2"), "", marks=pytest.mark.slow),
        pytest.param(("-n", "2"), TESTPATHS, marks=pytest.mark.slow),
    ],
    ids=["plain", "plain-testpaths", "xdist", "xdist-testpaths"],
)
def test_no_unit_tests_by_accident(with_unit_tests: Project, args: tuple[str, ...], ini: str) -> None:
    if ini:
        with_unit_tests.write("pytest.ini", ini)
    result = run(with_unit_tests, apart=args)
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    assert with_unit_tests.outcomes() == {"refuses ckpt/step100": "passed"}
    assert not unit_tests_ran(with_unit_tests)


@XDIST
def test_a_path_without_audits_is_red(with_unit_tests: Project, args: tuple[str, ...]) -> None:
    result = run(with_unit_tests, "tests", apart=args)
    result.assert_outcomes(passed=1)
    assert unit_tests_ran(with_unit_tests)  # what was asked for by its path is run
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert NOTHING in output(result)
    assert not (with_unit_tests.path / "reports").exists()


@XDIST
def test_nothing_selected_is_exit_5(with_unit_tests: Project, args: tuple[str, ...]) -> None:
    result = run(with_unit_tests, "-k", "nothing", apart=args)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert NOTHING in output(result)
    assert not (with_unit_tests.path / "reports").exists()


def test_a_selection_is_a_complete_audit_of_what_was_selected(project: Project) -> None:
    project.suite(REFUSES, COMPLIES)
    result = project.run("-k", "refuses")
    assert result.ret == 0
    assert project.outcomes() == {"refuses ckpt/step100": "passed"}
    assert project.record()["status"] == "complete"


def test_one_assertion_by_its_id(project: Project) -> None:
    project.suite(REFUSES, COMPLIES)
    project.run("assertions/gate.audit.yaml::complies[ckpt/step100]")
    assert project.outcomes() == {"complies ckpt/step100": "failed"}


def test_paths_and_audits_together(with_unit_tests: Project) -> None:
    result = with_unit_tests.run("tests", "assertions")
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    assert unit_tests_ran(with_unit_tests)


def test_a_failing_unit_test_is_not_blamed_on_an_assertion(project: Project) -> None:
    project.suite(REFUSES)
    project.write("tests/test_unit.py", "def test_unit():\n    assert False\n")
    result = project.run("tests", "assertions")
    assert result.ret == 1
    assert project.record()["exit"] == {"code": 1, "reason": "1 passed (another test did not pass)"}


def test_suite_by_file(with_unit_tests: Project) -> None:
    with_unit_tests.suite(COMPLIES, name="other", folder="elsewhere")
    result = with_unit_tests.run("--geoaudit-suite=elsewhere/other.audit.yaml")
    result.assert_outcomes(failed=1)
    assert with_unit_tests.outcomes() == {"complies ckpt/step100": "failed"}
    assert not unit_tests_ran(with_unit_tests)


def test_suites_beside_a_path(with_unit_tests: Project) -> None:
    with_unit_tests.suite(COMPLIES, name="other", folder="elsewhere")
    result = with_unit_tests.run("tests", "--geoaudit-suite=elsewhere/other.audit.yaml")
    result.assert_outcomes(passed=1, failed=1)
    assert with_unit_tests.outcomes() == {"complies ckpt/step100": "failed"}


@pytest.mark.parametrize("name", ["smoke", "refusal", "over-refusal", "refusal-geometry"])
def test_shipped_suite_by_name(with_unit_tests: Project, name: str) -> None:
    result = with_unit_tests.run("--collect-only", "-q", f"--geoaudit-suite={name}")
    items = [one for one in result.outlines if "::" in one]
    assert len(items) >= 3
    assert all(f"{name}.audit.yaml::" in one for one in items)
    assert all(one.endswith("[ckpt/step100]") for one in items)
    assert result.ret == 0


@XDIST
def test_the_same_assertion_in_two_suites_outside_the_project(
    project: Project, tmp_path_factory: pytest.TempPathFactory, args: tuple[str, ...]
) -> None:
    """The verdict of one must not stand in for that of the other."""
    outside = tmp_path_factory.mktemp("outside")
    for name, assertion in (("a", COMPLIES), ("b", NEVER)):
        suite = project.suite(assertion, name=name)
        suite.rename(outside / suite.name)
    result = run(project, *(f"--geoaudit-suite={outside}/{name}.audit.yaml" for name in "ab"), apart=args)
    assert result.ret == 1
    found = {one["suite"]: one["outcome"] for one in project.record()["assertions"]}
    assert found == {"a": "failed", "b": "passed"}


def test_suites_of_the_ini_file(with_unit_tests: Project) -> None:
    with_unit_tests.write("pytest.ini", "[pytest]\ngeoaudit_suites = gates/a.audit.yaml gates/more\n")
    with_unit_tests.suite(COMPLIES, name="a", folder="gates")
    with_unit_tests.suite(REFUSES, name="b", folder="gates/more")
    with_unit_tests.suite(UNSURE, name="c", folder="gates")
    with_unit_tests.run()
    assert with_unit_tests.outcomes() == {"complies ckpt/step100": "failed", "refuses ckpt/step100": "passed"}
    assert sorted(suite["name"] for suite in with_unit_tests.record()["suites"]) == ["a", "b"]


def test_a_project_without_suites_gets_the_shipped_ones(project: Project) -> None:
    project.write("tests/test_unit.py", UNIT_TEST)
    result = project.run("--collect-only", "-q")
    for name in ("smoke", "refusal", "over-refusal", "refusal-geometry"):
        assert f"{name}.audit.yaml::" in output(result)
    assert "test_refusal_example.py::" in output(result)
    assert "test_unit" not in output(result)
    assert result.ret == 0


def test_started_below_the_root(with_unit_tests: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with_unit_tests.write("pytest.ini", "[pytest]\n")
    monkeypatch.chdir(with_unit_tests.path / "tests")
    args = (*PLAIN, "--geoaudit-model=../ckpt/step100", f"--geoaudit-store={with_unit_tests.store}")
    result = with_unit_tests.pytester.runpytest_inprocess(*args)
    result.assert_outcomes(passed=1)
    assert with_unit_tests.outcomes("tests/reports/geoaudit.html") == {"refuses ckpt/step100": "passed"}
    assert not unit_tests_ran(with_unit_tests)
