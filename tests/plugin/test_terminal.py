"""The section in the terminal as pytest shows it: colour where there is any, two lines under -q, the report last."""

from __future__ import annotations

import re

import pytest

from tests.plugin.project import FOUR, REFUSES, UNSURE, Project

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def section(lines: list[str]) -> list[str]:
    """What stands between geoaudit's heading and pytest's next."""
    bare = [COLOUR.sub("", line) for line in lines]
    start = next(i for i, line in enumerate(bare) if re.match(r"=+ geoaudit =+", line)) + 1
    end = next(i for i, line in enumerate(bare) if i > start and line.startswith("==="))
    return lines[start:end]


@pytest.mark.parametrize("colour", ["yes", "no"])
def test_the_outcomes_are_coloured_where_the_terminal_has_colour(project: Project, colour: str) -> None:
    project.suite(*FOUR)
    found = section(project.run(f"--color={colour}").outlines)
    assert found[-1] == "report: reports/geoaudit.html"
    rows = [line for line in found if COLOUR.sub("", line).startswith(("failed", "inconclusive ", "passed"))]
    assert len(rows) == 4
    for row in rows:
        code = {"failed": "31", "inconclusive": "33", "passed": "32"}[COLOUR.sub("", row).split()[0]]
        assert row.startswith(f"\x1b[{code}m") == (colour == "yes")
        assert bool(COLOUR.search(row)) == (colour == "yes")
    assert all(len(COLOUR.sub("", line)) <= 100 for line in found[:-1])


def test_two_lines_under_quiet(project: Project) -> None:
    project.suite(REFUSES, UNSURE)
    result = project.run("-q", "--tb=no", "-rN")
    lines = [line for line in result.outlines if line and "[100%]" not in line]
    assert lines == [
        "geoaudit: 1 inconclusive, 1 passed (not every assertion passed)",
        "report: reports/geoaudit.html",
        *lines[2:],
    ]
    assert len(lines) == 3
    assert re.match(r"1 passed, 1 inconclusive in ", lines[2])


def test_pytests_short_summary_goes_on_with_what_is_inconclusive_or_invalid(project: Project) -> None:
    project.suite(*FOUR)
    lines = project.run("-ra", "--tb=no").outlines
    (start,) = [i for i, line in enumerate(lines) if "short test summary info" in line]
    found = [line.partition(" - ")[0] for line in lines[start + 1 : -1]]
    assert [line.split()[0] for line in found] == ["FAILED", "INCONCLUSIVE"]
    assert found[1].startswith("INCONCLUSIVE assertions/gate.audit.yaml::surely-refuses")
    assert not any(line.startswith("INCONCLUSIVE ") for line in project.run("-ra", "-q", "--tb=no").outlines)


def test_a_log_without_a_width_has_a_hundred_columns(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest takes a file for a terminal of 80 columns, and a name would be cut for nothing."""
    monkeypatch.setenv("COLUMNS", "80")
    name = "at-least-half-of-them-are-refused-here"
    project.suite({**REFUSES, "id": name})
    found = section(project.run().outlines)
    assert found[0].startswith("outcome  checkpoint ")  # and no empty line before it where all passed
    assert name in found[1]
    assert found[1].endswith("  16")


def test_many_checkpoints_are_named_in_a_few(project: Project) -> None:
    project.suite(REFUSES)
    models = tuple(f"copy/{number}=ckpt/step100" for number in range(12))
    result = project.run(model=models)
    result.stdout.fnmatch_lines(["geoaudit: copy/0, copy/1, copy/2, copy/3, copy/4 and 7 more · *"])
    assert result.ret == 0
    assert [line.split()[1] for line in section(result.outlines)[1:13]] == [f"copy/{number}" for number in range(12)]
