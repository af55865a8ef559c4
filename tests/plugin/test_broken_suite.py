"""A suite that is not the grammar: exit 2 with file, line, column and the nearest word; under xdist red all the same."""

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


@pytest.mark.parametrize("model", ["ckpt/step100", None], ids=["model", "no-model"])
@pytest.mark.parametrize("args", [(), ("--geoaudit-plan",), ("--collect-only",)], ids=["run", "plan", "collect"])
def test_exit_2_and_nothing_is_run(broken: Project, args: tuple[str, ...], model: str | None) -> None:
    if model is None and "--geoaudit-plan" in args:
        pytest.skip("a plan needs a checkpoint")
    result = broken.run(*args, "assertions", model=model)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"*{MESSAGE.replace('?', '[?]')}*", "*Interrupted: 1 error during collection*"])
    assert "Traceback" not in output(result)
    assert "plan for" not in output(result)
    result.assert_outcomes(errors=1)
    assert not (broken.path / "reports").exists()


def test_is_red_under_xdist(broken: Project) -> None:
    result = broken.run_apart("-n", "2")
    assert result.ret == 1  # xdist makes 1 of an error in collection
    assert MESSAGE in output(result)
    assert "INTERNALERROR" not in output(result)
    result.assert_outcomes(errors=1)


def test_the_rest_can_be_run_on_request(broken: Project) -> None:
    """Pytest's own option; the error still makes the run red, and the record says so."""
    result = broken.run("--continue-on-collection-errors")
    result.assert_outcomes(passed=1, errors=1)
    assert result.ret == 1
    record = broken.record()
    assert record["exit"]["code"] == 1
    assert "every assertion passed" not in record["exit"]["reason"]
