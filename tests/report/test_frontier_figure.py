from __future__ import annotations

import dataclasses
from typing import Any

from geoaudit.report import frontier, frontier_figure
from geoaudit.report.clean import cleaned
from geoaudit.report.svg import Uid
from tests.report.drawn import HOSTILE, drawn

Record = dict[str, Any]


def classed(element: Any, word: str) -> list[Any]:
    return [part for part in element.iter() if word in (part.get("class") or "").split()]


def test_a_cross_a_mark_and_a_label_for_each_checkpoint(trajectory: Record):
    found = frontier.frontiers(cleaned(trajectory))[0]
    element = drawn(frontier_figure.frontier(found, uid="f1"))
    assert len(classed(element, "point")) == 10
    assert len(classed(element, "error")) == 20
    assert len(classed(element, "series")) == 2
    hollow = [part for part in classed(element, "point") if "doubted" in (part.get("class") or "")]
    assert len(hollow) == 1
    description = element[1].text or ""
    assert all(place.checkpoint in description for place in found.places)
    assert "(invalid)" in description
    assert "step" not in {part.text for part in classed(element, "callout")}


def test_up_and_right_is_better(trajectory: Record):
    found = frontier.frontiers(cleaned(trajectory))[0]
    element = drawn(frontier_figure.frontier(found, uid="f1"))
    starts = [(part.get("d") or "")[1:].partition("m")[0].split() for part in classed(element, "point")]
    pixels = {place.checkpoint: (float(x), float(y)) for place, (x, y) in zip(found.places, starts, strict=True)}
    assert pixels["r2d2/step200"][1] < pixels["sft/step200"][1]  # withstands more, drawn higher
    assert pixels["r2d2/step50"][0] < pixels["sft/step200"][0]  # less useful, further left


def test_labels_do_not_cover_each_other(trajectory: Record):
    found = frontier.frontiers(cleaned(trajectory))[0]
    close = [dataclasses.replace(place, x=0.5, y=0.5) for place in found.places]
    element = drawn(frontier_figure.frontier(dataclasses.replace(found, places=close), uid="f1"))
    assert len(classed(element, "callout")) == 4  # four corners; the table has them all


def test_numbers_are_kept_and_names_stay_text(trajectory: Record):
    trajectory["trajectories"][0]["name"] = HOSTILE
    kept: list[Any] = []
    found = frontier.frontiers(cleaned(trajectory))[0]
    svg = frontier_figure.frontier(found, uid=Uid("f1", kept))
    drawn(svg)
    assert "<script" not in svg
    assert list(kept[0].data.rows) == found.data


def test_nothing_to_draw(trajectory: Record):
    found = frontier.frontiers(cleaned(trajectory))[0]
    assert frontier_figure.frontier(dataclasses.replace(found, places=[]), uid="f1") == ""
