"""`--geoaudit-figures`: the figures of the report as files, the same ones that `geoaudit report --figures` makes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from geoaudit import cli
from tests.plugin.project import LAYER, RATE, REFUSES, Project, line, output


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_audit_writes_its_figures_and_the_record_gives_them_again(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.suite(REFUSES, LAYER, line("answers", "refusal_rate", with_={**RATE, "n": 15}, at_least=0.5))
    project.run("--geoaudit-figures=paper/figures").assert_outcomes(passed=3)
    found = files(project.path / "paper" / "figures")
    with (project.path / "paper" / "figures" / "index.csv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert found.keys() == {row[key] for row in listed for key in ("figure", "data")} | {"index.csv"}
    assert {"assertions", "behaviour", "carrier"} <= {row["section"] for row in listed}
    rates = list(csv.DictReader(found["assertions-intervals.csv"].decode().splitlines()))
    measured = {one["estimate"] for one in project.record()["measurements"]}
    assert len(rates) == 3
    assert {float(row["estimate"]) for row in rates} <= measured

    record = project.path / "reports" / "geoaudit.json"
    again = project.path / "again"
    assert cli.main(["report", str(record), "-o", str(again / "r.html"), "--figures", str(again / "f")]) == 0
    assert files(again / "f") == found
    assert (again / "r.html").read_bytes() == (project.path / "reports" / "geoaudit.html").read_bytes()
    assert str(again / "f" / "index.csv") in capsys.readouterr().out


def test_a_folder_for_figures_that_is_a_file_stops_before_anything_is_measured(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.suite(REFUSES)
    project.write("taken", "mine")
    for place in ("taken", "taken/below"):
        run = project.run(f"--geoaudit-figures={place}")
        assert run.ret == 4
        assert "the figures cannot be written into" in output(run) + run.stderr.str()
    assert not (project.path / "reports").exists()
    project.run().assert_outcomes(passed=1)
    record = project.path / "reports" / "geoaudit.json"
    before = (project.path / "reports" / "geoaudit.html").read_bytes()
    assert cli.main(["report", str(record), "--figures", str(project.path / "taken")]) == 4
    assert "it is a file; name a folder" in capsys.readouterr().err
    assert (project.path / "taken").read_text() == "mine"
    assert (project.path / "reports" / "geoaudit.html").read_bytes() == before
