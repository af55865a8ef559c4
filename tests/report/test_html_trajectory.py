from __future__ import annotations

import itertools
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest

from geoaudit.report import html
from tests.report.hostile import PAYLOAD, SHOWS_RECORD_TEXT, everywhere

Record = dict[str, Any]
MEANING = '<section id="meaning">'
ODD_VALUES = [None, 3, "x", [], {}, [None, 1], -1e300, float("nan")]
Make = Callable[..., Record]
Read = Callable[[str], Any]


def section(text: str, name: str) -> str:
    return text.partition(f'<section id="{name}">')[2].partition("</section>\n<section id=")[0]


def test_figures_over_steps_stand_before_those_of_single_checkpoints(trajectory: Record, read_page: Read):
    text = html.render(trajectory)
    assert text.index('<section id="assertions">') < text.index('<section id="trajectories">') < text.index(MEANING)
    page = read_page(text)
    for title in ("Attack success", "Refusal of safe requests", "Usefulness", "Where the carrier sits", "Drift"):
        assert title in text
    assert "1 point without a value" in page.text
    assert "1 value not to be trusted" in page.text
    assert "not measured: no candidate is admissible at KL 0.1" in page.text


def test_what_was_asserted_of_whole_runs_stands_with_them(trajectory: Record):
    shown = section(html.render(trajectory), "trajectories")
    assert shown.count("never above 0.2") == 2
    assert shown.index("suffixes-never-open-it") < shown.index("the-carrier-moves-early")


def test_a_change_is_shown_with_everything_that_decided_it(trajectory: Record, read_page: Read):
    shown = " ".join(read_page(html.render(trajectory)).text.split())
    for part in (
        "+0.740",
        "[+0.690, +0.790]",
        "old-release (baseline)",
        "0.0004 over 4 lines",
        "exact McNemar",
        "noise floor",
        "differs: dtype: here bfloat16, there float32 (allowed)",
    ):
        assert part in shown


def test_every_assertion_can_be_linked_to(trajectory: Record):
    text = html.render(trajectory)
    identifiers = re.findall(r'\bid="([^"]+)"', text)
    assert len(identifiers) == len(set(identifiers))
    for number in range(1, len(trajectory["assertions"]) + 1):
        assert f'id="a{number}"' in text
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(identifiers)


def test_of_many_checkpoints_all_are_decided_and_few_are_drawn_in_full(make_geometry: Make, read_page: Read):
    record = make_geometry(checkpoints=6, rows=12, layers=8)
    text = html.render(record)
    page = read_page(text)
    names = [one["name"] for one in record["checkpoints"]]
    assert "Figures of single checkpoints are shown in full for" in page.text
    for line in record["assertions"]:
        assert line["id"] in page.text
    figures = section(text, "spectrum")
    drawn = [name for name in names if name in figures]
    assert len(drawn) == 3
    assert all(name in section(text, "assertions") for name in names)


def test_a_report_of_few_checkpoints_hides_none(make_geometry: Make, read_page: Read):
    page = read_page(html.render(make_geometry(checkpoints=4, rows=8, layers=6)))
    assert "shown in full for" not in page.text


def test_ten_checkpoints_are_less_than_a_megabyte(make_geometry: Make):
    record = make_geometry(checkpoints=10, rows=64, layers=16)
    assert len(html.render(record).encode()) < 1_000_000


def test_a_record_of_hostile_strings_stays_a_report(trajectory: Record):
    record = everywhere(trajectory, PAYLOAD)
    record["geoaudit_record"] = 2
    for row in record["assertions"]:
        row["kind"] = row["kind"] if row["kind"] in ("bound", "change", "across") else "across"
    for kind in ("change", "across"):
        record["assertions"][-1]["kind"] = kind
        text = html.render(record)
        assert "<script>alert" not in text
        assert "<img" not in text
        for part in ET.fromstring(text).iter():
            assert {name for name, value in part.attrib.items() if "alert(1)" in value} <= {
                *SHOWS_RECORD_TEXT,
                "aria-label",
            }


@pytest.mark.parametrize(
    "part", ["result", "others", "kind", "bound", "comparator", "checkpoint", "measurement", "flags"]
)
def test_odd_values_of_a_line_break_nothing(make_trajectory: Make, part: str):
    record = make_trajectory(runs=("r2d2",))
    for line, value in zip(record["assertions"], itertools.cycle(ODD_VALUES), strict=False):
        line[part] = value
    text = html.render(record)
    assert "Traceback" not in text
    ET.fromstring(text)


def test_the_same_record_gives_the_same_bytes(trajectory: Record):
    assert html.render(trajectory) == html.render(json.loads(json.dumps(trajectory)))


def test_incomplete_comes_before_everything_else(trajectory: Record, read_page: Read):
    trajectory["status"] = "incomplete"
    page = read_page(html.render(trajectory))
    assert page.text.startswith("Incomplete")
    assert page.text.index("Not finished") < page.text.index("The worst of it")
