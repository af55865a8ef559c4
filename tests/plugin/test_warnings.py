"""Warnings of other libraries while measuring land in the record and nowhere else; -W error stays usable."""

from __future__ import annotations

import logging
import warnings

import pytest

from geoaudit.measures import completing
from tests.plugin.project import FOUR, REFUSES, Project, output

NOISE = """
import logging, sys, warnings
from geoaudit.measures import completing

generate = completing._generate

def noisy(*args):
    warnings.warn("an old way of saying it", DeprecationWarning)
    logging.getLogger("transformers.generation").warning("a flag that is ignored")
    return generate(*args)

completing._generate = noisy
"""


@pytest.mark.slow
def test_cold_run_with_warnings_as_errors(project: Project) -> None:
    """From nothing, with everything that torch and transformers warn of when they are imported and used."""
    project.write("conftest.py", NOISE)
    project.suite(*FOUR)
    result = project.run_apart("-W", "error", "--geoaudit-store=store")
    assert project.outcomes()["refuses ckpt/step100"] == "passed", output(result)
    result.assert_outcomes(passed=2, failed=1)
    assert "1 inconclusive" in output(result)
    noise_is_noted(project, result)


def noise_is_noted(project: Project, result: pytest.RunResult) -> None:
    """In the record and in the report, once each, and not in the terminal; and no progress bars."""
    for words in ("an old way", "a flag that is ignored", "Writing model shards", "it/s]"):
        assert words not in output(result)
    noted = project.record()["warnings"]
    assert [one for one in noted if "an old way of saying it" in one] == ["DeprecationWarning: an old way of saying it"]
    assert noted.count("transformers.generation: a flag that is ignored") == 1
    assert "an old way of saying it" in (project.path / "reports/geoaudit.html").read_text()


def test_a_project_whose_ini_makes_errors_of_warnings(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("pytest.ini", "[pytest]\nfilterwarnings = error\n")
    generate = completing._generate

    def noisy(*args: object) -> object:
        warnings.warn("an old way of saying it", FutureWarning, stacklevel=1)
        return generate(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(completing, "_generate", noisy)
    project.suite(REFUSES)
    result = project.run("--geoaudit-store=store")
    assert result.ret == 0, output(result)
    assert "FutureWarning: an old way of saying it" in project.record()["warnings"]


def test_logging_is_put_back(project: Project) -> None:
    logger = logging.getLogger("transformers")
    before = list(logger.handlers), logger.propagate, logger.level
    project.suite(REFUSES)
    project.run("--geoaudit-store=store")
    assert (list(logger.handlers), logger.propagate, logger.level) == before
