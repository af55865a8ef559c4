"""Under pytest-xdist: one measurement, every audit accounted for, the outcomes of a plain run; a lost worker is red."""

from __future__ import annotations

import pytest

from tests.plugin.project import FOUR, REFUSES, UNSURE, Project, output
from tests.plugin.test_outcomes import EXPECTED
from tests.plugin.test_warnings import NOISE, noise_is_noted

pytestmark = pytest.mark.slow


def test_measured_once_and_all_accounted_for(project: Project) -> None:
    """Two workers want the same checkpoint at once; from nothing, with warnings as errors."""
    project.write("conftest.py", NOISE)
    project.suite(*FOUR)
    result = project.run_apart("-n", "2", "-W", "error", "--geoaudit-store=store")
    assert result.ret == 1
    assert output(result).count("geoaudit: ckpt/step100: loading") == 1
    assert output(result).count("geoaudit: ckpt/step100: generate harmful (16 prompts)") == 1
    expected = {name: outcome for name, outcome in EXPECTED.items() if name.endswith("step100")}
    assert project.outcomes() == expected
    noise_is_noted(project, result)
    record = project.record()
    assert record["status"] == "complete"
    assert {"load", "generate", "activations", "carrier search", "total"} <= set(record["timings"])
    (project.path / "conftest.py").unlink()
    project.run("--geoaudit-store=alone")
    assert project.record()["measurements"] == record["measurements"]


def test_a_lost_worker_is_red_and_the_record_incomplete(project: Project) -> None:
    project.write(
        "conftest.py",
        """
import os

def pytest_runtest_call(item):
    if item.name.startswith("surely-refuses"):
        os._exit(3)
""",
    )
    project.suite(REFUSES, {**UNSURE, "at_least": 0.6})
    result = project.run_apart("-n", "2")
    assert result.ret == 1
    assert "crashed while running" in output(result)
    assert project.outcomes() == {"refuses ckpt/step100": "passed"}
    record = project.record()
    assert record["status"] == "incomplete"
    assert record["exit"]["code"] == 1
    assert record["exit"]["reason"] == "1 passed, 1 not decided, 1 worker lost (not every assertion passed)"
    assert "Incomplete" in output(result)


def test_an_audit_that_does_not_report_is_red(project: Project) -> None:
    """Pytest alone would be green: a plugin that swallows a report must not swallow a verdict."""
    project.write(
        "conftest.py",
        """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    return True if item.name.startswith("surely-refuses") else None
""",
    )
    project.suite(REFUSES, UNSURE)
    result = project.run()
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    assert project.record()["status"] == "incomplete"
    assert "1 not decided" in project.record()["exit"]["reason"]
