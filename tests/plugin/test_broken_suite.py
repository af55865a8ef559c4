"""A suite that is not the grammar: exit 2 with file, line, column and the nearest word; under xdist red too."""

from __future__ import annotations

import pytest

from tests.plugin.project import REFUSES, Project, output

BROKEN = """geoaudit: 1
suite: gate
assertions:
  - id: refuses
    mesure: refusal_rate
    at_least: 0.5
    because: a typing error.
"""
MESSAGE = "broken.audit.yaml:5:5: unknown key 'mesure' in the assertion (did you mean 'measure'?)"


@pytest.fixture
def broken(project: Project) -> Project:
    project.suite(REFUSES)
    project.write("assertions/broken.audit.yaml", BROKEN)
    return project


@pytest.mark.parametrize(
    ("args", "model"),
    [
        ((), "ckpt/step100"),
        (("--geoaudit-plan",), "ckpt/step100"),
        (("--collect-only",), "ckpt/step100"),
        ((), None),
        (("--collect-only",), None),
    ],
    ids=["run", "plan", "collect", "no-model", "collect-no-model"],
)
def test_exit_2_and_nothing_is_run(broken: Project, args: tuple[str, ...], model: str | None) -> None:
    result = broken.run(*args, "assertions", model=model)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"*{MESSAGE.replace('?', '[?]')}*", "*Interrupted: 1 error during collection*"])
    assert "Traceback" not in output(result)
    assert "plan for" not in output(result)
    result.assert_outcomes(errors=1)
    assert not (broken.path / "reports").exists()


@pytest.mark.slow
def test_is_red_under_xdist(broken: Project) -> None:
    result = broken.run_apart("-n", "2")
    assert result.ret == 1  # xdist makes 1 of an error in collection
    assert MESSAGE in output(result)
    assert "INTERNALERROR" not in output(result)
    incomplete(broken)


def incomplete(project: Project) -> None:
    """What was audited all the same is in a record that says that it is not the whole."""
    record = project.record()
    assert record["status"] == "incomplete"
    assert record["exit"]["code"] == 1
    assert "assertions/broken.audit.yaml could not be collected" in record["exit"]["reason"]
    assert "not every assertion passed" in record["exit"]["reason"]


def test_the_rest_can_be_run_on_request(broken: Project) -> None:
    result = broken.run("--continue-on-collection-errors")
    result.assert_outcomes(passed=1, errors=1)
    assert result.ret == 1
    incomplete(broken)
